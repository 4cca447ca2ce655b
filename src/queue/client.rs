//! Enqueueing: a job exists exactly when the change that called for it was committed.
//!
//! [`Client::begin`] opens a transaction that remembers the jobs enqueued in it; [`Tx::commit`] commits and
//! then hands their ids to the [`Dispatcher`]. The push may fail: the relay finds what was missed.

use std::{
    borrow::{Borrow, Cow},
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction, postgres::types::PgInterval};

use super::{
    batches::BatchId,
    cipher::{self, ArgsCipher},
    dispatch::Dispatcher,
    holds,
    job::{JobArgs, JobId},
    limits::{Concurrency, Lane, Rate},
    payload,
};
use crate::trace;

/// Handle on the queue: cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pool: PgPool,
    dispatcher: Option<Dispatcher>,
    cipher: Option<ArgsCipher>,
}

impl Client {
    /// Enqueues without Redis: jobs start when a worker looks into Postgres, about two seconds later.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, dispatcher: None, cipher: None }
    }

    /// Enqueues and wakes a waiting worker through Redis.
    pub fn with_dispatcher(pool: PgPool, dispatcher: Dispatcher) -> Self {
        Self { pool, dispatcher: Some(dispatcher), cipher: None }
    }

    /// Encrypts the arguments of what it enqueues, if there is a cipher.
    #[must_use]
    pub fn with_cipher(self, cipher: Option<ArgsCipher>) -> Self {
        Self { cipher, ..self }
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub async fn begin(&self) -> sqlx::Result<Tx> {
        Ok(Tx {
            inner: begin(&self.pool).await?,
            dispatcher: self.dispatcher.clone(),
            cipher: self.cipher.clone(),
            enqueued: Vec::new(),
            finishes: Vec::new(),
        })
    }

    /// Enqueues one job by one statement, where nothing else belongs into its transaction.
    pub async fn enqueue<J: JobArgs>(&self, args: &J) -> sqlx::Result<Enqueued> {
        if J::UNIQUE_FOR.is_some() {
            // A key that is held for a time takes several.
            let mut tx = self.begin().await?;
            let enqueued = tx.enqueue(args).await?;
            tx.commit().await?;
            return Ok(enqueued);
        }
        let enqueued = insert(&mut *self.pool.acquire().await?, self.cipher(), args, None).await?;
        if enqueued.is_new {
            self.dispatch(lane::<J>(args.flow()), vec![enqueued.id]);
        }
        Ok(enqueued)
    }

    pub(super) fn cipher(&self) -> Option<&ArgsCipher> {
        self.cipher.as_ref()
    }

    /// Hands ids that are due and committed to the dispatcher.
    pub(super) fn dispatch(&self, lane: Lane, ids: Vec<JobId>) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.push(lane, ids);
        }
    }
}

/// sqlx 0.9 gives a connection back inside of the transaction that a dropped future was about to begin, and what the next
/// one writes on it is never committed. So it begins in a task of its own, which nobody drops.
pub(super) async fn begin(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    match tokio::spawn(async move { pool.begin().await }).await {
        Ok(begun) => begun,
        // The runtime ends.
        Err(_) => Err(sqlx::Error::WorkerCrashed),
    }
}

/// A transaction in which jobs can be enqueued. Dropped without [`Tx::commit`] it is rolled back.
#[derive(Debug)]
pub struct Tx {
    pub(super) inner: Transaction<'static, Postgres>,
    dispatcher: Option<Dispatcher>,
    cipher: Option<ArgsCipher>,
    enqueued: Vec<(Lane, Vec<JobId>)>,
    /// Runs that end with this transaction: told once it is committed.
    finishes: Vec<Arc<AtomicBool>>,
}

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

impl Tx {
    pub async fn enqueue<J: JobArgs>(&mut self, args: &J) -> sqlx::Result<Enqueued> {
        let enqueued = self.insert(args, None).await?;
        if enqueued.is_new {
            self.enqueued.push((lane::<J>(args.flow()), vec![enqueued.id]));
        }
        Ok(enqueued)
    }

    /// One job, of which no id is sent.
    pub(super) async fn insert<J: JobArgs>(&mut self, args: &J, due: Option<Due>) -> sqlx::Result<Enqueued> {
        insert(&mut self.inner, self.cipher.as_ref(), args, due).await
    }

    /// Enqueues unless a job of this kind with these very arguments is open; false: one is. For callers that look
    /// again and again. Two at once may both enqueue, which every job bears.
    pub async fn enqueue_unless_open<J: JobArgs>(&mut self, args: &J) -> sqlx::Result<bool> {
        let is_open = sqlx::query_scalar!(
            // As the partial indexes of open jobs are written, which are all that is read.
            r#"SELECT EXISTS (
                   SELECT FROM jobs WHERE kind = $1 AND args = ANY ($2::text[]::jsonb[]) AND finalized_at IS NULL
                     AND (dispatched_at IS NOT NULL AND concurrency_key IS NULL
                          OR dispatched_at IS NOT NULL AND concurrency_key IS NOT NULL OR dispatched_at IS NULL)
               ) AS "open!""#,
            J::KIND,
            &spellings(args, self.cipher.as_ref())?,
        )
        .fetch_one(&mut *self.inner)
        .await?;
        if is_open {
            return Ok(false);
        }
        Ok(self.enqueue(args).await?.is_new)
    }

    /// Enqueues for later: the job becomes due at `at`.
    pub async fn enqueue_at<J: JobArgs>(&mut self, args: &J, at: DateTime<Utc>) -> sqlx::Result<Enqueued> {
        self.insert(args, Some(Due::At(at))).await
    }

    /// Enqueues for later: the job becomes due after `delay`, by the database's clock.
    pub async fn enqueue_in<J: JobArgs>(&mut self, args: &J, delay: Duration) -> sqlx::Result<Enqueued> {
        self.insert(args, Some(Due::In(delay))).await
    }

    /// Enqueues all of them in one statement. Returns the new jobs, in no order; those whose unique key another job
    /// holds are left out.
    pub async fn enqueue_many<J: JobArgs>(&mut self, all: &[J]) -> sqlx::Result<Vec<NewJob>> {
        self.enqueue_into::<J>(None, all).await
    }

    pub(super) async fn enqueue_into<J: JobArgs>(
        &mut self,
        batch: Option<BatchId>,
        all: &[impl Borrow<J>],
    ) -> sqlx::Result<Vec<NewJob>> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let row = |args: &_| Row::of::<J>(Borrow::borrow(args), self.cipher.as_ref());
        let mut rows = all.iter().map(row).collect::<sqlx::Result<Vec<Row>>>()?;
        if J::UNIQUE_FOR.is_some() {
            let keys: Vec<String> = rows.iter().filter_map(|row| row.unique_key.clone()).collect();
            let free = holds::take(&mut self.inner, J::KIND, &keys).await?;
            rows.retain(|row| row.unique_key.as_ref().is_none_or(|key| free.contains(key)));
        }
        // Two callers that insert the same keys in different orders would wait for each other.
        rows.sort_by(|one, other| one.unique_key.cmp(&other.unique_key));
        let new = if batch.is_none() && rows.iter().all(Row::is_plain) {
            self.insert_plain::<J>(rows).await?
        } else {
            self.insert_all::<J>(rows, batch).await?
        };
        if let Some(time) = J::UNIQUE_FOR {
            let held: Vec<_> =
                new.iter().filter_map(|job| Some((job.id, job.unique_key.as_deref()?))).collect();
            holds::hold(&mut self.inner, J::KIND, &held, time).await?;
        }
        let mut lanes: BTreeMap<Option<&str>, Vec<JobId>> = BTreeMap::new();
        for job in &new {
            lanes.entry(job.flow.as_deref()).or_default().push(job.id);
        }
        self.enqueued.extend(lanes.into_iter().map(|(flow, ids)| (lane::<J>(flow.map(str::to_owned)), ids)));
        Ok(new)
    }

    /// Jobs that ask for nothing more than to run: the short way, for the sake of speed.
    async fn insert_plain<J: JobArgs>(&mut self, rows: Vec<Row>) -> sqlx::Result<Vec<NewJob>> {
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
        .fetch_all(&mut *self.inner)
        .await
    }

    async fn insert_all<J: JobArgs>(
        &mut self,
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
        .fetch_all(&mut *self.inner)
        .await
    }

    /// Has the id of a job that is due now sent when this transaction is committed.
    pub(super) fn send<J: JobArgs>(&mut self, id: JobId, flow: Option<String>) {
        self.enqueued.push((lane::<J>(flow), vec![id]));
    }

    /// Has `flag` raised when this transaction is committed.
    pub(super) fn on_commit(&mut self, flag: Arc<AtomicBool>) {
        self.finishes.push(flag);
    }

    pub async fn commit(self) -> sqlx::Result<()> {
        self.inner.commit().await?;
        for flag in self.finishes {
            flag.store(true, Ordering::Release);
        }
        if let Some(dispatcher) = self.dispatcher {
            for (lane, ids) in self.enqueued {
                dispatcher.push(lane, ids);
            }
        }
        Ok(())
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

/// One job; the one that holds its key is found instead.
pub(super) async fn insert<J: JobArgs>(
    db: &mut PgConnection,
    cipher: Option<&ArgsCipher>,
    args: &J,
    due: Option<Due>,
) -> sqlx::Result<Enqueued> {
    match J::UNIQUE_FOR.zip(args.unique_key()) {
        Some((time, key)) => holds::insert(db, cipher, args, due, (key, time)).await,
        None => insert_open(db, cipher, args, due).await,
    }
}

/// One job; an open one with its key is found instead.
pub(super) async fn insert_open<J: JobArgs>(
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
            args: encode(args, cipher)?,
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

fn lane<J: JobArgs>(flow: Option<String>) -> Lane {
    Lane::new(Cow::Borrowed(J::QUEUE), J::PRIORITY.level(), flow.map(Cow::Owned), Cow::Borrowed(J::KIND))
}

pub(super) enum Due {
    At(DateTime<Utc>),
    In(Duration),
    /// It waits for others: at the end of time, since what reads times knows no infinity.
    Never,
}

/// As they are stored.
fn encode<J: JobArgs>(args: &J, cipher: Option<&ArgsCipher>) -> sqlx::Result<String> {
    let json = plain(args)?;
    match cipher {
        Some(cipher) => cipher.seal(J::KIND, &json).map_err(refused),
        None => Ok(json),
    }
}

/// All that they may be stored as.
fn spellings<J: JobArgs>(args: &J, cipher: Option<&ArgsCipher>) -> sqlx::Result<Vec<String>> {
    let json = plain(args)?;
    match cipher {
        Some(cipher) => cipher.all_seals(J::KIND, json).map_err(refused),
        None => Ok(vec![json]),
    }
}

fn plain<J: JobArgs>(args: &J) -> sqlx::Result<String> {
    let json = serde_json::to_string(args).map_err(|error| sqlx::Error::Encode(error.into()))?;
    if json.len() > payload::MOST_BYTES {
        let (kind, bytes, most) = (J::KIND, json.len(), payload::MOST_BYTES);
        return Err(refused(format!(
            "the arguments of a {kind} job are {bytes} bytes of JSON: at most {most} are allowed"
        )));
    }
    if cipher::is_reserved(&json) {
        return Err(refused(format!("the arguments of a {} job look like encrypted ones", J::KIND)));
    }
    Ok(json)
}

fn refused(why: String) -> sqlx::Error {
    sqlx::Error::Encode(why.into())
}

/// The same for a time that is added to now or taken from it: a thousand years stand for ever.
pub(super) fn span(duration: Duration) -> PgInterval {
    const EVER: Duration = Duration::from_secs(1_000 * 365 * 24 * 60 * 60);
    interval(duration.min(EVER))
}

/// To the microsecond, which is what Postgres holds; longer than Postgres can count is its longest.
pub(super) fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}
