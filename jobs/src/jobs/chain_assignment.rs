//! Hands what is done in a completed batch on to the workflows that follow.

use std::sync::Arc;

use labelfleet::{
    ops::{chaining::go_on, jobs::ChainAssignment},
    queue::{JobContext, JobResult, OrRetry, Run},
};
use serde_json::json;

use crate::Deps;

impl Run<Deps> for ChainAssignment {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult {
        let mut tx = deps.queue.begin().await.or_retry()?;
        let made = go_on(&mut tx, self.assignment_id).await.or_retry()?;
        let outcome = json!({"newTasks": made});
        context.finish_in(&mut tx, outcome.clone()).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(outcome)
    }
}
