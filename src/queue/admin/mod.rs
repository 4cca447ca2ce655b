//! What operators do with jobs. Each change is one guarded UPDATE.
//!
//! - [`state`], [`view`]: a job as operators see it
//! - [`filter`]: which jobs are meant, and how they are found without an index for each question
//! - [`jobs`]: list, look, wait; [`change`]: retry, cancel, delete; [`bulk`]: retry and delete by filter
//! - [`watch`]: what changes, as it changes
//! - [`batches`], [`queues`], [`workers`], [`schedules`]: each at a glance

pub mod batches;
pub mod bulk;
pub mod change;
pub mod filter;
pub mod jobs;
pub mod queues;
pub mod schedules;
pub mod state;
pub mod view;
pub mod watch;
pub mod workers;

use super::job::JobId;

pub use change::{cancel, delete, retry};
pub use filter::JobFilter;
pub use jobs::{attempts, detail, get, list, wait_for};
pub use state::JobState;
pub use view::{Job, JobAttempt, JobDetail, JobLine, Listed, Until, WaitsFor};

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
