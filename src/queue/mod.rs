//! The job engine: Postgres holds the job, Redis carries its id. It knows nothing of labeling.
//!
//! - [`job`]: what a job is: arguments, kinds, states, and how a handler's end is judged
//! - `limits`: levels, flows, concurrency and rates
//! - [`client`]: enqueueing inside the caller's transaction
//! - `insert`, `payload`: how they are written, and what they may carry
//! - [`cipher`]: their arguments encrypted at rest
//! - `holds`: unique keys that are held for a time
//! - `batches`, `waits`: jobs that wait for others
//! - `results`: what jobs left behind
//! - [`dispatch`]: ids to Redis, right after the commit
//! - `turns`: the order in which they start
//! - [`registry`]: which kinds a worker runs, and what it starts by schedule
//! - [`worker`]: takes due jobs, runs them, writes how they ended
//! - `leader`: what one worker does for all: retries, lost ids, dead workers, schedules
//! - [`signals`]: how a process is told to stop
//! - [`admin`]: what operators do with jobs
//! - [`queues`]: what they do with queues
//!
//! docs/QUEUE.md has the state machine and what is promised.

pub mod admin;
mod backoff;
mod batches;
pub mod cipher;
pub mod client;
pub mod dispatch;
mod durations;
mod holds;
mod insert;
pub mod job;
mod keyed;
mod leader;
mod limits;
mod metrics;
mod notes;
mod payload;
pub mod queues;
pub mod registry;
mod results;
pub mod signals;
mod successors;
mod turns;
mod waits;
pub mod worker;

pub use admin::{AdminError, Job, JobAttempt, JobFilter, JobState};
pub use batches::{Batch, BatchId, WaitError};
pub use cipher::ArgsCipher;
pub use client::{Client, Tx};
pub use dispatch::Dispatcher;
pub use insert::{Enqueued, NewJob};
pub use job::{FinishError, JobArgs, JobContext, JobError, JobId, JobResult, OrDiscard, OrRetry, Run};
pub use leader::Retention;
pub use limits::{Concurrency, Priority, Rate};
pub use registry::{CatchUp, Registry, Timing};
pub use results::ResultError;
pub use worker::{Worker, WorkerOptions};
