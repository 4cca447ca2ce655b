//! The job engine: Postgres holds the job, Redis carries its id. It knows nothing of labeling.
//!
//! - [`job`]: what a job is: arguments, kinds, states, and how a handler's end is judged
//! - [`client`]: enqueueing inside the caller's transaction, dispatch right after its commit

pub mod client;
pub mod job;

pub use client::{Client, Enqueued, Tx};
pub use job::{JobArgs, JobContext, JobError, JobId, JobResult, OrDiscard, OrRetry, Run};
