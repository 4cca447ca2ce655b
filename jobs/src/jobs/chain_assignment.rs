//! Hands what is done in a completed batch on to the workflows that follow.

use std::sync::Arc;

use labelfleet::{
    ops::{chaining::go_on, jobs::ChainAssignment, outputs::Chained},
    queue::{JobContext, JobResult, OrRetry, Run},
};

use crate::Deps;

impl Run<Deps> for ChainAssignment {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Chained> {
        let mut tx = deps.queue.begin().await.or_retry()?;
        let new_tasks = go_on(&mut tx, self.assignment_id).await.or_retry()?;
        let outcome = Chained { new_tasks };
        context.finish_in::<Self>(&mut tx, &outcome).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(outcome)
    }
}
