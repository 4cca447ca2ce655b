//! Stops an annotator's Label Studio; database, role and data stay for the next start.

use std::sync::Arc;

use labelfleet::{
    domain::AnnotatorStatus,
    ops::{jobs::StopInstance, outputs::NothingToDo},
    queue::{JobContext, JobResult, OrRetry, Run},
    store::instances,
};
use serde_json::json;

use crate::{Deps, instance};

impl Run<Deps> for StopInstance {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Option<NothingToDo>> {
        let lock = instance::lock(&deps, self.annotator_id).await?;
        let outcome = stop(self, &context, &deps).await;
        lock.release().await;
        outcome
    }
}

async fn stop(job: StopInstance, context: &JobContext, deps: &Deps) -> JobResult<Option<NothingToDo>> {
    let id = job.annotator_id;
    let mut db = deps.pool.acquire().await.or_retry()?;
    let status = instances::status(&mut db, id).await.or_retry()?;
    drop(db);
    if !is_stopping(status) {
        return instance::end_quietly::<StopInstance>(deps, context, id, is_stopping).await;
    }
    deps.runtime.stop(id).await.or_retry()?;
    let mut tx = deps.queue.begin().await.or_retry()?;
    if instances::stopped(&mut tx, id).await.or_retry()? {
        instances::record(&mut tx, id, "stopped", json!({})).await.or_retry()?;
    }
    context.finish_in::<StopInstance>(&mut tx, &None).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(None)
}

fn is_stopping(status: Option<AnnotatorStatus>) -> bool {
    status == Some(AnnotatorStatus::Stopping)
}
