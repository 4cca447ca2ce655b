//! Reconciliation on request: runs the job that the schedule runs, and waits for its report.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Error, Result, jobs::Reconcile};
use crate::queue::{
    self,
    admin::{self, JobState},
};

/// What a run came to; the job's result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Assignments whose state was brought up to date.
    pub reconciled: u32,
    /// Those that turned out to be complete.
    pub completed: u32,
    /// What could not be compared, and why.
    pub errors: Vec<String>,
}

/// Waits for a run, one under way if there is one: two at once would do the same.
pub async fn run(queue: &queue::Client, patience: Duration) -> Result<Report> {
    let mut tx = queue.begin().await?;
    let id = tx.enqueue(&Reconcile {}).await?.id;
    tx.commit().await?;
    let job = admin::wait_for(queue.pool(), id, patience).await.map_err(|error| match error {
        admin::AdminError::Database(error) => error.into(),
        other => Error::Internal(other.into()),
    })?;
    match (job.state, job.result) {
        (JobState::Completed, Some(result)) => {
            serde_json::from_value(result).map_err(|error| Error::Internal(error.into()))
        }
        (JobState::Discarded | JobState::Cancelled, _) => Err(Error::Unavailable(format!(
            "reconciliation failed (job {id}): {}",
            job.last_error.as_deref().unwrap_or("no cause was recorded")
        ))),
        _ => Err(Error::Unavailable(format!(
            "reconciliation goes on (job {id} is {}); is a labelfleet-worker running?",
            job.state
        ))),
    }
}
