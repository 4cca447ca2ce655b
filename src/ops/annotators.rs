//! Annotators: create, change, and what operators ask of their instances. The work itself is done by jobs.

use serde_json::json;

use super::{
    Error, Result, annotators_bulk, assignments,
    input::AnnotatorChanges,
    jobs::{ProvisionInstance, RemoveInstance, StopInstance},
};
use crate::{
    domain::{
        AnnotatorId, AnnotatorStatus,
        check::Checks,
        fields::{AnnotatorFields, Fields},
    },
    queue,
    store::{
        annotators::{self, Annotator},
        instances,
    },
};

const NOT_FOUND: Error = Error::NotFound("Annotator");

pub async fn create(queue: &queue::Client, fields: &AnnotatorFields) -> Result<Annotator> {
    fields.check().map_err(Error::Invalid)?;
    let mut tx = queue.begin().await?;
    let ids = annotators_bulk::insert(&mut tx, std::slice::from_ref(fields)).await?;
    let annotator = annotators::of(&mut tx, &ids).await?.pop().ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(annotator)
}

pub async fn update(queue: &queue::Client, id: AnnotatorId, changes: AnnotatorChanges) -> Result<Annotator> {
    let mut tx = queue.begin().await?;
    let current = annotators::get_locked(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    annotators::update(&mut tx, id, &changes.onto(&current)?).await?;
    let annotator = annotators::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(annotator)
}

/// Has the instance provisioned and started, unless there is an active one.
pub async fn start(queue: &queue::Client, id: AnnotatorId) -> Result<AnnotatorStatus> {
    let mut tx = queue.begin().await?;
    if !annotators::begin_start(&mut tx, id).await? {
        let status = annotators::get(&mut tx, id).await?.ok_or(NOT_FOUND)?.status;
        return Err(Error::Refused(match status {
            AnnotatorStatus::Stopping => {
                "The annotator's container is still stopping; try again shortly".into()
            }
            status => format!("Annotator already has an active container (status: {status})"),
        }));
    }
    instances::record(&mut tx, id, "provisioning", json!({})).await?;
    tx.enqueue(&ProvisionInstance { annotator_id: id }).await?;
    tx.commit().await?;
    Ok(AnnotatorStatus::Starting)
}

/// Has the instance stopped. Asking again is no error; it also revives a stop that was given up.
pub async fn stop(queue: &queue::Client, id: AnnotatorId) -> Result<()> {
    let mut tx = queue.begin().await?;
    if annotators::begin_stop(&mut tx, id).await? {
        instances::record(&mut tx, id, "stopping", json!({})).await?;
    } else {
        match annotators::get(&mut tx, id).await?.ok_or(NOT_FOUND)?.status {
            AnnotatorStatus::Stopped => return Ok(()),
            AnnotatorStatus::Stopping => {}
            status => {
                return Err(Error::Refused(format!("Annotator has no container to stop (status: {status})")));
            }
        }
    }
    tx.enqueue(&StopInstance { annotator_id: id }).await?;
    Ok(tx.commit().await?)
}

/// Deletes the annotator: their open batches go back to the pool, their instance is removed by a job.
pub async fn delete(queue: &queue::Client, id: AnnotatorId) -> Result<()> {
    let mut tx = queue.begin().await?;
    assignments::cancel_open(&mut tx, &[id]).await?;
    if annotators::mark_deleted(&mut tx, &[id]).await?.is_empty() {
        return Err(NOT_FOUND);
    }
    tx.enqueue(&RemoveInstance { annotator_id: id }).await?;
    Ok(tx.commit().await?)
}

/// Takes the API token that an instance reports of itself, once it has shown the annotator's secret.
pub async fn report_token(queue: &queue::Client, id: AnnotatorId, token: &str) -> Result<()> {
    let mut checks = Checks::default();
    checks.text("token", token, 1..=1000);
    checks.done().map_err(Error::Invalid)?;
    let mut db = queue.pool().acquire().await?;
    annotators::set_api_token(&mut db, id, token).await?;
    Ok(())
}
