//! What a job is, for those who enqueue one and those who run one.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    client::Tx,
    limits::{Concurrency, Priority, Rate},
    notes::{self, Draft, Notes},
    payload,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct JobId(pub i64);

impl From<i64> for JobId {
    fn from(id: i64) -> Self {
        Self(id)
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The arguments of a kind of job, and what the kind promises. Arguments are ids: a handler reloads its state.
pub trait JobArgs: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What a run that succeeds leaves with its job, to be read by [`super::Client::result`]: small, or `()`, which costs
    /// nothing. As it is stored, what an older version wrote should still be read.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Stable: it is stored.
    const KIND: &'static str;
    const QUEUE: &'static str;
    /// How long one attempt may take.
    const TIMEOUT: Duration = Duration::from_secs(60);
    const MAX_ATTEMPTS: i32 = 10;
    const PRIORITY: Priority = Priority::Normal;
    /// For how long a job holds its unique key from its enqueue on, also after its end; in any case while it is open. None:
    /// no longer than that.
    const UNIQUE_FOR: Option<Duration> = None;

    /// While a job of this kind holds this key, enqueueing another returns the first.
    fn unique_key(&self) -> Option<String> {
        None
    }

    /// Jobs of one flow take turns with those of others, so that ten of one don't wait for ten thousand of another. By
    /// default the kind is the flow.
    fn flow(&self) -> Option<String> {
        None
    }

    /// How many jobs of a key may run at once.
    fn concurrency(&self) -> Option<Concurrency> {
        None
    }

    /// How often jobs of a key may start. One that may not yet waits without a slot and at no attempt's cost.
    fn rate(&self) -> Option<Rate> {
        None
    }
}

/// How a handler ends when it does not succeed. There is no conversion from other errors: each `?` says
/// which it means ([`OrRetry`], [`OrDiscard`]).
#[derive(Debug)]
pub enum JobError {
    /// Try again after a backoff, until the attempts are used up.
    Retry(anyhow::Error),
    /// Trying again can't help: into the dead set.
    Discard(anyhow::Error),
    /// Not yet: run again after this time, at no attempt's cost.
    Snooze(Duration),
}

/// With what is kept with the job.
pub type JobResult<T = ()> = Result<T, JobError>;

pub trait OrRetry<T> {
    fn or_retry(self) -> Result<T, JobError>;
}

pub trait OrDiscard<T> {
    fn or_discard(self) -> Result<T, JobError>;
}

impl<T, E: Into<anyhow::Error>> OrRetry<T> for Result<T, E> {
    fn or_retry(self) -> Result<T, JobError> {
        self.map_err(|error| JobError::Retry(error.into()))
    }
}

impl<T, E: Into<anyhow::Error>> OrDiscard<T> for Result<T, E> {
    fn or_discard(self) -> Result<T, JobError> {
        self.map_err(|error| JobError::Discard(error.into()))
    }
}

/// Runs jobs of this kind against the application's state `S`.
pub trait Run<S>: JobArgs {
    fn run(self, context: JobContext, state: Arc<S>) -> impl Future<Output = JobResult<Self::Output>> + Send;
}

/// What a handler may know of its own run, and its means to end it in its own transaction.
#[derive(Debug, Clone)]
pub struct JobContext {
    pub id: JobId,
    /// The first is 1. With the id, the fence.
    pub attempt: i32,
    pub max_attempts: i32,
    worker: Uuid,
    finished: Arc<AtomicBool>,
    run: Arc<State>,
}

/// What the handler and the worker tell each other during the run.
#[derive(Debug, Default)]
struct State {
    cancel: CancellationToken,
    notes: Mutex<Notes>,
    /// The handler's transaction writes the notes, and holds the job's row meanwhile.
    is_finishing: AtomicBool,
}

/// Why a run could not be finished in the handler's transaction.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// Another worker has taken the job over, or it was ended otherwise: roll back.
    #[error("job {id}: attempt {attempt} has lost its lease")]
    LeaseLost { id: JobId, attempt: i32 },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl JobContext {
    pub fn new(id: JobId, attempt: i32, max_attempts: i32, worker: Uuid) -> Self {
        Self { id, attempt, max_attempts, worker, finished: Arc::default(), run: Arc::default() }
    }

    /// Returns once an operator has asked the job to stop. Then the handler should end soon, in whatever way: after 5 s it is
    /// dropped where it waits. If it succeeds all the same, the job is completed; else it is cancelled.
    pub async fn cancelled(&self) {
        self.run.cancel.cancelled().await;
    }

    pub fn is_cancelled(&self) -> bool {
        self.run.cancel.is_cancelled()
    }

    /// Tells operators how far the run has come, from 0 to 1. They see it within a second.
    pub fn progress(&self, done: f32) {
        self.notes().progress(done);
    }

    /// Tells operators a line, within a second. Of a job the newest 1,000 lines are kept, of a line the first 2,000
    /// characters. Lines after [`JobContext::finish_in`] are lost.
    pub fn log(&self, line: impl AsRef<str>) {
        self.notes().log(line.as_ref());
    }

    /// Fails if this run is no longer the job's: another has taken it over, or it was ended otherwise. For effects outside of
    /// Postgres, asked once the lock that orders them is held: who waited for it may have been taken for dead meanwhile.
    pub async fn ensure_current(&self, db: &mut PgConnection) -> Result<(), FinishError> {
        let is_current = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM jobs WHERE id = $1 AND attempt = $2 AND worker_id = $3)
                   AS "is_current!""#,
            self.id as JobId,
            self.attempt,
            self.worker,
        )
        .fetch_one(db)
        .await?;
        if is_current { Ok(()) } else { Err(FinishError::LeaseLost { id: self.id, attempt: self.attempt }) }
    }

    /// Completes the job in the transaction of its effects: they and the completion are committed together or
    /// not at all. After the commit the handler returns `Ok`, whose value is not stored again.
    ///
    /// On [`FinishError::LeaseLost`] the handler must not commit: what replaced this run counts.
    ///
    /// Once finished, the job no longer is open: the same transaction may enqueue its successor by the same
    /// unique key.
    pub async fn finish_in<J: JobArgs>(&self, tx: &mut Tx, output: &J::Output) -> Result<(), FinishError> {
        let result = payload::result(output).map_err(|error| sqlx::Error::Encode(error.into()))?;
        self.run.is_finishing.store(true, Ordering::Release);
        let draft = self.last_notes();
        if let Some(draft) = draft {
            notes::write(&mut **tx, self.worker, &[draft]).await?;
        }
        let done = sqlx::query!(
            "UPDATE jobs SET state = 'completed', worker_id = NULL, running_key = NULL, finalized_at = now(),
                 result = $3::text::jsonb
             WHERE id = $1 AND attempt = $2 AND worker_id = $4",
            self.id as JobId,
            self.attempt,
            result,
            self.worker,
        )
        .execute(&mut **tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(FinishError::LeaseLost { id: self.id, attempt: self.attempt });
        }
        tx.on_commit(self.finished.clone());
        Ok(())
    }

    pub(super) fn cancel(&self) {
        self.run.cancel.cancel();
    }

    /// What the control task may write now.
    pub(super) fn notes_while_running(&self) -> Option<Draft> {
        if self.run.is_finishing.load(Ordering::Acquire) { None } else { self.last_notes() }
    }

    /// What is not written yet.
    pub(super) fn last_notes(&self) -> Option<Draft> {
        self.notes().draft(self.id, self.attempt)
    }

    pub(super) fn notes_written(&self, draft: &Draft) {
        self.notes().written(draft);
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // They are whole after each operation.
        self.run.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether [`JobContext::finish_in`] was committed.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}
