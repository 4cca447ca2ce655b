//! Enqueueing: a job exists exactly when the change that called for it was committed.
//!
//! [`Client::begin`] opens a transaction that remembers the jobs enqueued in it; [`Tx::commit`] commits and
//! then hands their ids to the [`Dispatcher`]. The push may fail: the relay finds what was missed.

use std::{
    borrow::Cow,
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
    dispatch::Dispatcher,
    job::{JobArgs, JobId},
};

/// Handle on the queue: cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pool: PgPool,
    dispatcher: Option<Dispatcher>,
}

impl Client {
    /// Enqueues without Redis: jobs start when a worker looks into Postgres, about two seconds later.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, dispatcher: None }
    }

    /// Enqueues and wakes a waiting worker through Redis.
    pub fn with_dispatcher(pool: PgPool, dispatcher: Dispatcher) -> Self {
        Self { pool, dispatcher: Some(dispatcher) }
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub async fn begin(&self) -> sqlx::Result<Tx> {
        Ok(Tx {
            inner: self.pool.begin().await?,
            dispatcher: self.dispatcher.clone(),
            enqueued: Vec::new(),
            finishes: Vec::new(),
        })
    }

    /// Hands ids that are due and committed to the dispatcher.
    pub(super) fn dispatch(&self, queue: Cow<'static, str>, ids: Vec<JobId>) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.push(queue, ids);
        }
    }
}

/// A transaction in which jobs can be enqueued. Dropped without [`Tx::commit`] it is rolled back.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    dispatcher: Option<Dispatcher>,
    enqueued: Vec<(&'static str, Vec<JobId>)>,
    /// Runs that end with this transaction: told once it is committed.
    finishes: Vec<Arc<AtomicBool>>,
}

/// What enqueueing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    pub id: JobId,
    /// False: an open job with the same unique key was there already, and this is its id.
    pub is_new: bool,
}

/// One of several jobs that were enqueued at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub id: JobId,
    pub unique_key: Option<String>,
}

impl Tx {
    pub async fn enqueue<J: JobArgs>(&mut self, args: &J) -> sqlx::Result<Enqueued> {
        let enqueued = self.insert(args, None).await?;
        if enqueued.is_new {
            self.enqueued.push((J::QUEUE, vec![enqueued.id]));
        }
        Ok(enqueued)
    }

    /// Enqueues unless a job of this kind with these very arguments is open; false: one is. For callers that look
    /// again and again. Two at once may both enqueue, which every job bears.
    pub async fn enqueue_unless_open<J: JobArgs>(&mut self, args: &J) -> sqlx::Result<bool> {
        let is_open = sqlx::query_scalar!(
            // As the partial indexes of open jobs are written, which are all that is read.
            r#"SELECT EXISTS (
                   SELECT FROM jobs WHERE kind = $1 AND args = $2::text::jsonb
                     AND (state = 'available' OR state IN ('scheduled', 'retryable') OR state = 'running')
               ) AS "open!""#,
            J::KIND,
            encode(args)?,
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

    /// Enqueues all of them in one statement. Returns the new jobs, in no order; those whose unique key an open job
    /// holds are left out.
    pub async fn enqueue_many<J: JobArgs>(&mut self, all: &[J]) -> sqlx::Result<Vec<NewJob>> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = all
            .iter()
            .map(|args| Ok((args.unique_key(), encode(args)?)))
            .collect::<sqlx::Result<Vec<(Option<String>, String)>>>()?;
        // Two callers that insert the same keys in different orders would wait for each other.
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        let (keys, args): (Vec<Option<String>>, Vec<String>) = rows.into_iter().unzip();
        let new = sqlx::query_as!(
            NewJob,
            r#"INSERT INTO jobs (kind, queue, max_attempts, args, unique_key)
               SELECT $1, $2, $3, new.args::jsonb, new.unique_key
               FROM unnest($4::text[], $5::text[]) AS new (args, unique_key)
               ON CONFLICT (kind, unique_key)
                   WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'available', 'running', 'retryable')
                   DO NOTHING
               RETURNING id AS "id: JobId", unique_key"#,
            J::KIND,
            J::QUEUE,
            J::MAX_ATTEMPTS,
            &args,
            &keys as &[Option<String>],
        )
        .fetch_all(&mut *self.inner)
        .await?;
        self.enqueued.push((J::QUEUE, new.iter().map(|job| job.id).collect()));
        Ok(new)
    }

    async fn insert<J: JobArgs>(&mut self, args: &J, due: Option<Due>) -> sqlx::Result<Enqueued> {
        let json = encode(args)?;
        let unique_key = args.unique_key();
        let (at, delay) = match due {
            None => (None, None),
            Some(Due::At(at)) => (Some(at), None),
            Some(Due::In(delay)) => (None, Some(interval(delay))),
        };
        loop {
            let inserted = sqlx::query_scalar!(
                r#"INSERT INTO jobs (kind, queue, max_attempts, args, unique_key, scheduled_at, state)
                   SELECT $1, $2, $3, $4::text::jsonb, $5, due.at,
                          CASE WHEN due.at > now() THEN 'scheduled' ELSE 'available' END
                   FROM (SELECT coalesce($6, now() + $7, now()) AS at) AS due
                   ON CONFLICT (kind, unique_key)
                       WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'available', 'running', 'retryable')
                       DO NOTHING
                   RETURNING id AS "id: JobId""#,
                J::KIND,
                J::QUEUE,
                J::MAX_ATTEMPTS,
                json,
                unique_key,
                at,
                delay as Option<PgInterval>,
            )
            .fetch_optional(&mut *self.inner)
            .await?;
            if let Some(id) = inserted {
                return Ok(Enqueued { id, is_new: true });
            }
            let open = sqlx::query_scalar!(
                r#"SELECT id AS "id: JobId" FROM jobs
                   WHERE kind = $1 AND unique_key = $2
                     AND state IN ('scheduled', 'available', 'running', 'retryable')"#,
                J::KIND,
                unique_key,
            )
            .fetch_optional(&mut *self.inner)
            .await?;
            if let Some(id) = open {
                return Ok(Enqueued { id, is_new: false });
            }
            // The one in the way was closed between the two statements: insert again.
        }
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
            for (queue, ids) in self.enqueued {
                dispatcher.push(Cow::Borrowed(queue), ids);
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

enum Due {
    At(DateTime<Utc>),
    In(Duration),
}

fn encode<J: JobArgs>(args: &J) -> sqlx::Result<String> {
    serde_json::to_string(args).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// To the microsecond, which is what Postgres holds; longer than Postgres can count is its longest.
pub(super) fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}
