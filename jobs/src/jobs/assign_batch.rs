//! Hands the annotator their next batch, and takes up what a crash left half prepared.

use std::sync::Arc;

use labelfleet::{
    domain::JobRef,
    ops::{
        assign::{Next, assign_next, resume_pending},
        assignments::close_what_is_over,
        jobs::AssignBatch,
    },
    queue::{JobContext, JobResult, OrRetry, Run},
};

use crate::Deps;

impl Run<Deps> for AssignBatch {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Next> {
        let mut tx = deps.queue.begin().await.or_retry()?;
        resume_pending(&mut tx, self.annotator_id).await.or_retry()?;
        close_what_is_over(&mut tx, self.annotator_id).await.or_retry()?;
        let next = assign_next(&mut tx, self.annotator_id, JobRef(context.id.0)).await.or_retry()?;
        context.finish_in::<Self>(&mut tx, &next).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(next)
    }
}
