//! Gold tasks: create, change, delete.

use super::{Error, Result, input::GoldTaskChanges};
use crate::{
    domain::{
        GoldTaskId,
        fields::{Fields, GoldTaskFields},
    },
    queue,
    store::gold_tasks::{self, GoldTask},
};

const NOT_FOUND: Error = Error::NotFound("Gold task");

pub async fn create(queue: &queue::Client, fields: &GoldTaskFields) -> Result<GoldTask> {
    fields.check().map_err(Error::Invalid)?;
    let mut tx = queue.begin().await?;
    let id = gold_tasks::insert(&mut tx, fields).await?;
    let gold = gold_tasks::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(gold)
}

pub async fn update(queue: &queue::Client, id: GoldTaskId, changes: GoldTaskChanges) -> Result<GoldTask> {
    let mut tx = queue.begin().await?;
    let current = gold_tasks::get_locked(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    gold_tasks::update(&mut tx, id, &changes.onto(&current)?).await?;
    let gold = gold_tasks::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(gold)
}

pub async fn delete(queue: &queue::Client, id: GoldTaskId) -> Result<()> {
    let mut tx = queue.begin().await?;
    let deleted = gold_tasks::delete(&mut tx, id)
        .await
        .map_err(|error| Error::in_use(error, "Cannot delete: gold task was given out in assignments"))?;
    if !deleted {
        return Err(NOT_FOUND);
    }
    Ok(tx.commit().await?)
}
