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
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::{
    batches::BatchId,
    cipher::ArgsCipher,
    dispatch::Dispatcher,
    insert::{self, Due, Enqueued, NewJob},
    job::{JobArgs, JobId},
    limits::Lane,
    payload,
};

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
        let enqueued = insert::one(&mut *self.pool.acquire().await?, self.cipher(), args, None).await?;
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
        insert::one(&mut self.inner, self.cipher.as_ref(), args, due).await
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
            &payload::spellings(args, self.cipher.as_ref())?,
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
        let new = insert::many(&mut self.inner, self.cipher.as_ref(), batch, all).await?;
        let mut lanes: BTreeMap<Option<&str>, Vec<JobId>> = BTreeMap::new();
        for job in &new {
            lanes.entry(job.flow.as_deref()).or_default().push(job.id);
        }
        self.enqueued.extend(lanes.into_iter().map(|(flow, ids)| (lane::<J>(flow.map(str::to_owned)), ids)));
        Ok(new)
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

fn lane<J: JobArgs>(flow: Option<String>) -> Lane {
    Lane::new(Cow::Borrowed(J::QUEUE), J::PRIORITY.level(), flow.map(Cow::Owned), Cow::Borrowed(J::KIND))
}
