//! The job engine: Postgres holds the job, Redis carries its id. It knows nothing of labeling.
//!
//! - [`job`]: what a job is: arguments, kinds, states, and how a handler's end is judged
//! - [`client`]: enqueueing inside the caller's transaction
//! - [`dispatch`]: ids to Redis, right after the commit
//! - [`admin`]: what operators do with jobs

pub mod admin;
pub mod client;
pub mod dispatch;
pub mod job;

pub use admin::{AdminError, Job, JobAttempt, JobFilter, JobState};
pub use client::{Client, Enqueued, Tx};
pub use dispatch::Dispatcher;
pub use job::{FinishError, JobArgs, JobContext, JobError, JobId, JobResult, OrDiscard, OrRetry, Run};
