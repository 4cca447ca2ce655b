//! Brings the counters of an annotator whose work was reviewed to what the review says. Not in the webhook's own
//! transaction: two who review each other would wait for each other's row.

use std::sync::Arc;

use labelfleet::{
    ops::jobs::CountReview,
    queue::{JobContext, JobResult, OrRetry, Run},
    store,
};

use crate::Deps;

impl Run<Deps> for CountReview {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult {
        let mut tx = deps.queue.begin().await.or_retry()?;
        store::reviews::count(&mut tx, self.assignment_task_id).await.or_retry()?;
        context.finish_in::<Self>(&mut tx, &()).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(())
    }
}
