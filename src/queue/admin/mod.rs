//! What operators do with jobs. Each change is one guarded UPDATE.
//!
//! - [`state`]: the states of a job
//! - [`filter`]: which jobs are meant, and how they are found without an index for each question
//! - [`jobs`]: list, look, retry, cancel, delete, count, wait
//! - [`bulk`]: retry and delete by filter
//! - [`queues`], [`workers`], [`schedules`]: each at a glance

pub mod bulk;
pub mod filter;
pub mod jobs;
pub mod queues;
pub mod schedules;
pub mod state;
pub mod workers;

use super::job::JobId;

pub use filter::JobFilter;
pub use jobs::{
    Count, Job, JobAttempt, JobDetail, JobLine, Listed, attempts, cancel, counts, delete, detail, get, list,
    retry, wait_for,
};
pub use state::JobState;

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("there is no job {0}")]
    NotFound(JobId),
    /// The job's state forbids it.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}
