//! What a job is, for those who enqueue one and those who run one.

use std::{future::Future, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct JobId(pub i64);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The arguments of a kind of job, and what the kind promises. Arguments are ids: a handler reloads its state.
pub trait JobArgs: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Stable: it is stored.
    const KIND: &'static str;
    const QUEUE: &'static str;
    /// How long one attempt may take.
    const TIMEOUT: Duration = Duration::from_secs(60);
    const MAX_ATTEMPTS: i32 = 10;

    /// While a job of this kind with this key is open, enqueueing another returns the first.
    fn unique_key(&self) -> Option<String> {
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

/// A small JSON value that is kept with the job; `Null` for most.
pub type JobResult = Result<serde_json::Value, JobError>;

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
    fn run(self, context: JobContext, state: Arc<S>) -> impl Future<Output = JobResult> + Send;
}

/// What a handler may know of its own run.
#[derive(Debug, Clone)]
pub struct JobContext {
    pub id: JobId,
    /// The first is 1. With the id, the fence.
    pub attempt: i32,
    pub max_attempts: i32,
}
