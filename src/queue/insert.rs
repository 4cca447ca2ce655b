//! How new jobs are written: one, or many in one statement.

use std::{borrow::Borrow, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, postgres::types::PgInterval};

use super::{
    batches::BatchId,
    cipher::ArgsCipher,
    durations::interval,
    holds,
    job::{JobArgs, JobId},
    limits::{Concurrency, Rate},
    payload,
};
use crate::trace;

/// What enqueueing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    pub id: JobId,
    /// False: another job holds the unique key, and this is its id. One that holds it for a time may have been removed.
    pub is_new: bool,
}

/// One of several jobs that were enqueued at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub id: JobId,
    pub unique_key: Option<String>,
    pub flow: Option<String>,
}

/// When a job may run, if not now.
pub(super) enum Due {
    At(DateTime<Utc>),
    In(Duration),
    /// It waits for others: at the end of time, since what reads times knows no infinity.
    Never,
}

/// One job; the one that holds its key is found instead.
pub(super) async fn one<J: JobArgs>(
    db: &mut PgConnection,
    cipher: Option<&ArgsCipher>,
    args: &J,
    due: Option<Due>,
) -> sqlx::Result<Enqueued> {
    let Some((time, key)) = J::UNIQUE_FOR.zip(args.unique_key()) else {
        return one_open(db, cipher, args, due).await;
    };
    let key = [key];
    if holds::take(db, J::KIND, &key).await?.is_empty() {
        return Ok(Enqueued { id: holds::holder(db, J::KIND, &key[0]).await?, is_new: false });
    }
    let enqueued = one_open(db, cipher, args, due).await?;
    if enqueued.is_new {
        holds::hold(db, J::KIND, &[(enqueued.id, &key[0])], time).await?;
    }
    Ok(enqueued)
}

/// One job; an open one with its key is found instead.
async fn one_open<J: JobArgs>(
    db: &mut PgConnection,
    cipher: Option<&ArgsCipher>,
    args: &J,
    due: Option<Due>,
) -> sqlx::Result<Enqueued> {
    let row = Row::of(args, cipher)?;
    let trace_context = trace::current();
    let (concurrency_key, concurrency_limit) = row.concurrency.map(|one| (one.key, one.limit)).unzip();
    let (rate_key, rate) = row.rate.map(|one| (one.key, (interval(one.interval), one.burst))).unzip();
    let (rate_interval, rate_burst) = rate.unzip();
    let (at, delay, is_never) = match due {
        None => (None, None, false),
        Some(Due::At(at)) => (Some(at), None, false),
        Some(Due::In(delay)) => (None, Some(interval(delay)), false),
        Some(Due::Never) => (None, None, true),
    };
    loop {
        let inserted = sqlx::query_scalar!(
            r#"INSERT INTO jobs (kind, queue, max_attempts, args, unique_key, scheduled_at, state, dispatched_at, priority,
                                 flow, concurrency_key, concurrency_limit, rate_key, rate_interval, rate_burst,
                                 trace_context)
               SELECT $1, $2, $3, $4::text::jsonb, $5, due.at,
                      CASE WHEN due.at > now() THEN 'scheduled' ELSE 'available' END,
                      CASE WHEN due.at > now() THEN NULL ELSE now() END,
                      $8, $9, $10, $11, $12, $13, $14, $16
               FROM (SELECT CASE WHEN $15 THEN '9999-12-31Z' ELSE coalesce($6, now() + $7, now()) END AS at) AS due
               ON CONFLICT (kind, unique_key)
                   WHERE unique_key IS NOT NULL AND finalized_at IS NULL
                   DO NOTHING
               RETURNING id AS "id: JobId""#,
            J::KIND,
            J::QUEUE,
            J::MAX_ATTEMPTS,
            row.args,
            row.unique_key,
            at,
            delay as Option<PgInterval>,
            J::PRIORITY.level(),
            row.flow,
            concurrency_key,
            concurrency_limit,
            rate_key,
            rate_interval as Option<PgInterval>,
            rate_burst,
            is_never,
            trace_context,
        )
        .fetch_optional(&mut *db)
        .await?;
        if let Some(id) = inserted {
            return Ok(Enqueued { id, is_new: true });
        }
        let open = sqlx::query_scalar!(
            r#"SELECT id AS "id: JobId" FROM jobs
               WHERE kind = $1 AND unique_key = $2 AND finalized_at IS NULL"#,
            J::KIND,
            row.unique_key,
        )
        .fetch_optional(&mut *db)
        .await?;
        if let Some(id) = open {
            return Ok(Enqueued { id, is_new: false });
        }
        // The one in the way was closed between the two statements: insert again.
    }
}

/// All of them in one statement, but for those whose unique key another job holds.
pub(super) async fn many<J: JobArgs>(
    db: &mut PgConnection,
    cipher: Option<&ArgsCipher>,
    batch: Option<BatchId>,
    all: &[impl Borrow<J>],
) -> sqlx::Result<Vec<NewJob>> {
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let row = |args: &_| Row::of::<J>(Borrow::borrow(args), cipher);
    let mut rows = all.iter().map(row).collect::<sqlx::Result<Vec<Row>>>()?;
    if J::UNIQUE_FOR.is_some() {
        let keys: Vec<String> = rows.iter().filter_map(|row| row.unique_key.clone()).collect();
        let free = holds::take(db, J::KIND, &keys).await?;
        rows.retain(|row| row.unique_key.as_ref().is_none_or(|key| free.contains(key)));
    }
    // Two callers that insert the same keys in different orders would wait for each other.
    rows.sort_by(|one, other| one.unique_key.cmp(&other.unique_key));
    let new = if batch.is_none() && rows.iter().all(Row::is_plain) {
        many_plain::<J>(db, rows).await?
    } else {
        many_with_limits::<J>(db, rows, batch).await?
    };
    if let Some(time) = J::UNIQUE_FOR {
        let held: Vec<_> = new.iter().filter_map(|job| Some((job.id, job.unique_key.as_deref()?))).collect();
        holds::hold(db, J::KIND, &held, time).await?;
    }
    Ok(new)
}

/// Jobs that ask for nothing more than to run: the short way, for the sake of speed.
async fn many_plain<J: JobArgs>(db: &mut PgConnection, rows: Vec<Row>) -> sqlx::Result<Vec<NewJob>> {
    let (keys, args): (Vec<_>, Vec<_>) = rows.into_iter().map(|row| (row.unique_key, row.args)).unzip();
    sqlx::query_as!(
        NewJob,
        r#"INSERT INTO jobs (kind, queue, max_attempts, priority, args, unique_key, trace_context)
           SELECT $1, $2, $3, $4, new.args::jsonb, new.unique_key, $7
           FROM unnest($5::text[], $6::text[]) AS new (args, unique_key)
           ON CONFLICT (kind, unique_key)
               WHERE unique_key IS NOT NULL AND finalized_at IS NULL
               DO NOTHING
           RETURNING id AS "id: JobId", unique_key, flow"#,
        J::KIND,
        J::QUEUE,
        J::MAX_ATTEMPTS,
        J::PRIORITY.level(),
        &args,
        &keys as &[Option<String>],
        trace::current(),
    )
    .fetch_all(db)
    .await
}

async fn many_with_limits<J: JobArgs>(
    db: &mut PgConnection,
    rows: Vec<Row>,
    batch: Option<BatchId>,
) -> sqlx::Result<Vec<NewJob>> {
    let mut new = Columns::default();
    rows.into_iter().for_each(|row| new.push(row));
    sqlx::query_as!(
        NewJob,
        r#"INSERT INTO jobs (kind, queue, max_attempts, priority, args, unique_key, flow, concurrency_key,
                             concurrency_limit, rate_key, rate_interval, rate_burst, batch_id, is_awaited,
                             trace_context)
           SELECT $1, $2, $3, $4, new.args::jsonb, new.unique_key, new.flow, new.concurrency_key,
                  new.concurrency_limit, new.rate_key, new.rate_interval, new.rate_burst, $13::bigint, $13 IS NOT NULL,
                  $14
           FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::int[], $10::text[], $11::interval[],
                       $12::int[])
               AS new (args, unique_key, flow, concurrency_key, concurrency_limit, rate_key, rate_interval,
                       rate_burst)
           ON CONFLICT (kind, unique_key)
               WHERE unique_key IS NOT NULL AND finalized_at IS NULL
               DO NOTHING
           RETURNING id AS "id: JobId", unique_key, flow"#,
        J::KIND,
        J::QUEUE,
        J::MAX_ATTEMPTS,
        J::PRIORITY.level(),
        &new.args,
        &new.unique_keys as &[Option<String>],
        &new.flows as &[Option<String>],
        &new.concurrency_keys as &[Option<String>],
        &new.concurrency_limits as &[Option<i32>],
        &new.rate_keys as &[Option<String>],
        &new.rate_intervals as &[Option<PgInterval>],
        &new.rate_bursts as &[Option<i32>],
        batch.map(|batch| batch.0),
        trace::current(),
    )
    .fetch_all(db)
    .await
}

/// A job as it is stored.
struct Row {
    args: String,
    unique_key: Option<String>,
    flow: Option<String>,
    concurrency: Option<Concurrency>,
    rate: Option<Rate>,
}

impl Row {
    fn of<J: JobArgs>(args: &J, cipher: Option<&ArgsCipher>) -> sqlx::Result<Self> {
        Ok(Self {
            args: payload::args(args, cipher)?,
            unique_key: args.unique_key(),
            flow: args.flow(),
            concurrency: args.concurrency(),
            rate: args.rate(),
        })
    }

    fn is_plain(&self) -> bool {
        self.flow.is_none() && self.concurrency.is_none() && self.rate.is_none()
    }
}

/// Rows as one statement takes them.
#[derive(Default)]
struct Columns {
    args: Vec<String>,
    unique_keys: Vec<Option<String>>,
    flows: Vec<Option<String>>,
    concurrency_keys: Vec<Option<String>>,
    concurrency_limits: Vec<Option<i32>>,
    rate_keys: Vec<Option<String>>,
    rate_intervals: Vec<Option<PgInterval>>,
    rate_bursts: Vec<Option<i32>>,
}

impl Columns {
    fn push(&mut self, row: Row) {
        self.args.push(row.args);
        self.unique_keys.push(row.unique_key);
        self.flows.push(row.flow);
        self.concurrency_limits.push(row.concurrency.as_ref().map(|one| one.limit));
        self.concurrency_keys.push(row.concurrency.map(|one| one.key));
        self.rate_intervals.push(row.rate.as_ref().map(|one| interval(one.interval)));
        self.rate_bursts.push(row.rate.as_ref().map(|one| one.burst));
        self.rate_keys.push(row.rate.map(|one| one.key));
    }
}
