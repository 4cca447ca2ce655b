//! Removes all that a deleted annotator had outside our tables: instance, database, role.

use std::sync::Arc;

use labelfleet::{
    domain::AnnotatorStatus,
    lock::Held,
    ops::{jobs::RemoveInstance, outputs::NothingToDo},
    queue::{JobContext, JobResult, OrRetry, Run},
    store::instances,
};
use serde_json::json;

use crate::{Deps, instance};

impl Run<Deps> for RemoveInstance {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Option<NothingToDo>> {
        let lock = instance::lock(&deps, self.annotator_id).await?;
        let outcome = remove(self, lock.held(), &context, &deps).await;
        lock.release().await;
        outcome
    }
}

async fn remove(
    job: RemoveInstance,
    lock: &Held,
    context: &JobContext,
    deps: &Deps,
) -> JobResult<Option<NothingToDo>> {
    let id = job.annotator_id;
    let mut db = deps.pool.acquire().await.or_retry()?;
    let status = instances::status(&mut db, id).await.or_retry()?;
    drop(db);
    if !is_gone(status) {
        return instance::end_quietly::<RemoveInstance>(deps, context, id, is_gone).await;
    }
    instance::tear_down(deps, lock, id).await.or_retry()?;
    let mut tx = deps.queue.begin().await.or_retry()?;
    if instances::removed(&mut tx, id).await.or_retry()? {
        instances::record(&mut tx, id, "removed", json!({})).await.or_retry()?;
    }
    context.finish_in::<RemoveInstance>(&mut tx, &None).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(None)
}

/// Names are derived, so even one whose row is gone can be cleaned up after.
fn is_gone(status: Option<AnnotatorStatus>) -> bool {
    matches!(status, Some(AnnotatorStatus::Deleted) | None)
}
