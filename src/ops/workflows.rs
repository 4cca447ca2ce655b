//! Workflows: create, change, delete. A new source is listed into the pool by a job.

use super::{Error, Result, input::WorkflowChanges, jobs::SyncSource};
use crate::{
    domain::{
        WorkflowId,
        fields::{Fields, WorkflowFields},
    },
    lock::{Key, lock_in},
    queue,
    store::{
        tasks,
        workflows::{self, Workflow},
    },
};

const NOT_FOUND: Error = Error::NotFound("Workflow");

pub async fn create(queue: &queue::Client, fields: &WorkflowFields) -> Result<Workflow> {
    fields.check().map_err(Error::Invalid)?;
    let mut tx = queue.begin().await?;
    let id = workflows::insert(&mut tx, fields).await?;
    tx.enqueue(&SyncSource { workflow_id: id }).await?;
    let workflow = workflows::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(workflow)
}

pub async fn update(queue: &queue::Client, id: WorkflowId, changes: WorkflowChanges) -> Result<Workflow> {
    let mut tx = queue.begin().await?;
    let lock = lock_in(&mut tx, Key::Workflow(id.0)).await?;
    let current = workflows::get_locked(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    let fields = changes.onto(&current)?;
    if let Some(previous) = fields.previous_workflow_id
        && workflows::is_upstream(&mut tx, id, previous).await?
    {
        return Err(Error::invalid("previousWorkflowId", "a workflow can't come before itself"));
    }
    workflows::update(&mut tx, id, &fields).await?;
    if fields.s3_source_path != current.s3_source_path {
        tasks::forget_unassigned_outside(&mut tx, &lock, id, &fields.s3_source_path).await?;
        tx.enqueue(&SyncSource { workflow_id: id }).await?;
    }
    let workflow = workflows::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(workflow)
}

pub async fn delete(queue: &queue::Client, id: WorkflowId) -> Result<()> {
    let mut tx = queue.begin().await?;
    lock_in(&mut tx, Key::Workflow(id.0)).await?;
    let deleted = workflows::delete(&mut tx, id).await.map_err(|error| {
        Error::in_use(error, "Cannot delete: assignments or other workflows reference this workflow")
    })?;
    if !deleted {
        return Err(NOT_FOUND);
    }
    Ok(tx.commit().await?)
}
