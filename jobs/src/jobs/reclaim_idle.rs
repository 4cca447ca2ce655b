//! Takes back batches in which nothing happened for the time that the setting `assignments.idleHours` names.
//!
//! Each batch is a transaction of its own that looks again under the batch's row lock, so an annotator who answers at
//! this very moment keeps theirs.

use std::sync::Arc;

use labelfleet::{
    domain::{AssignmentStatus, JobRef},
    ops::{assignments, jobs::ReclaimIdle, outputs::Reclaimed},
    queue::{JobContext, JobResult, OrRetry, Run},
};

use crate::Deps;

impl Run<Deps> for ReclaimIdle {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Reclaimed> {
        let Some(idle) = assignments::idle_time(&deps.queue).await.or_retry()? else {
            return Ok(Reclaimed::Off);
        };
        let (mut completed, mut cancelled) = (0, 0);
        for id in assignments::idle(&deps.queue, idle).await.or_retry()? {
            match assignments::reclaim(&deps.queue, id, idle, JobRef(context.id.0)).await.or_retry()? {
                None => continue,
                Some(AssignmentStatus::Completed) => completed += 1,
                Some(_) => cancelled += 1,
            }
            tracing::info!(assignment = %id, "reclaimed an idle batch");
        }
        Ok(Reclaimed::Batches { completed, cancelled })
    }
}
