//! Does with rejected work what the reviewing workflow asks for: nothing, archive it, have it done again, or leave it
//! to a person when it came back too often.
//!
//! The archive's key is derived from the rejection and its bytes from what is stored, so a run that was cut off after
//! it wrote them writes the same again.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use aws_sdk_s3::{error::DisplayErrorContext, primitives::ByteStream};
use labelfleet::{
    domain::{
        JobRef, RejectionId, RejectionMode, RejectionStatus,
        rejection::{Action, action, archive_place},
    },
    ops::{assign::offer, jobs::RouteRejection, outputs::Routed},
    queue::{JobContext, JobError, JobResult, OrDiscard, OrRetry, Run},
    store::rejections::{self, Pending},
};

use crate::Deps;

impl Run<Deps> for RouteRejection {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Routed> {
        let id = self.rejection_id;
        let mut db = deps.pool.acquire().await.or_retry()?;
        let Some(pending) = rejections::pending(&mut db, id).await.or_retry()? else {
            return Ok(Routed::Before);
        };
        drop(db);
        let action = action(pending.mode, pending.iteration, pending.max_rework_iterations);
        let archive_key = match action {
            Action::Archive => Some(write_archive(id, &pending, &deps).await?),
            _ => None,
        };
        let (status, taken) = match action {
            Action::None => (RejectionStatus::Routed, RejectionMode::None),
            Action::Archive => (RejectionStatus::Routed, RejectionMode::Archive),
            Action::Rework => (RejectionStatus::Routed, RejectionMode::RouteToWorkflow),
            Action::Escalate => (RejectionStatus::Escalated, RejectionMode::None),
        };
        let (key, job) = (archive_key.as_deref(), JobRef(context.id.0));
        let mut tx = deps.queue.begin().await.or_retry()?;
        if !rejections::set_routed(&mut tx, id, pending.version, status, taken, key, job).await.or_retry()? {
            // The review was changed meanwhile: look again.
            return Err(JobError::Snooze(Duration::ZERO));
        }
        match action {
            Action::None | Action::Archive => {}
            Action::Rework => {
                let target = pending
                    .route_workflow_id
                    .context("the workflow has no rejectionRouteWorkflowId")
                    .or_discard()?;
                rejections::make_rework(&mut tx, id, target).await.or_retry()?;
                offer(&mut tx, target).await.or_retry()?;
            }
            Action::Escalate => rejections::escalate(&mut tx, id).await.or_retry()?,
        }
        let outcome = Routed::Now { status, action_taken: taken, archive_key };
        context.finish_in::<Self>(&mut tx, &outcome).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(outcome)
    }
}

/// Returns the key.
async fn write_archive(id: RejectionId, pending: &Pending, deps: &Deps) -> Result<String, JobError> {
    let mut db = deps.pool.acquire().await.or_retry()?;
    let document = rejections::archive(&mut db, id).await.or_retry()?;
    drop(db);
    let body = serde_json::to_vec_pretty(&document).or_discard()?;
    let own = format!("{}/rejected", pending.export_path.trim_matches('/'));
    let path = pending.archive_path.as_deref().map(str::trim).filter(|path| !path.is_empty()).unwrap_or(&own);
    let (bucket, prefix) = archive_place(path, &deps.s3.bucket);
    let key = format!("{}/rejection-{id}.json", prefix.trim_matches('/')).trim_start_matches('/').to_owned();
    let put = deps.s3.client.put_object().bucket(bucket).key(&key).content_type("application/json");
    put.body(ByteStream::from(body)).send().await.map_err(|error| {
        JobError::Retry(anyhow::anyhow!("writing s3://{bucket}/{key}: {}", DisplayErrorContext(&error)))
    })?;
    Ok(key)
}
