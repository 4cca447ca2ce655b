//! Gold tasks: create, change, delete.

use super::{Error, Result, input::GoldTaskChanges};
use crate::{
    domain::{
        GoldTaskId,
        check::Issue,
        fields::{Fields, GoldTaskFields},
        interface::{self, misfits},
    },
    queue::{self, Tx},
    store::{
        gold_tasks::{self, GoldTask},
        labeling_configs,
    },
};

const NOT_FOUND: Error = Error::NotFound("Gold task");

pub async fn create(queue: &queue::Client, fields: &GoldTaskFields) -> Result<GoldTask> {
    let mut tx = queue.begin().await?;
    check(&mut tx, fields).await?;
    let id = gold_tasks::insert(&mut tx, fields).await?;
    let gold = gold_tasks::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(gold)
}

pub async fn update(queue: &queue::Client, id: GoldTaskId, changes: GoldTaskChanges) -> Result<GoldTask> {
    let mut tx = queue.begin().await?;
    let current = gold_tasks::get_locked(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    let fields = changes.over(&current)?;
    check(&mut tx, &fields).await?;
    gold_tasks::update(&mut tx, id, &fields).await?;
    let gold = gold_tasks::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(gold)
}

/// Tells every bad field. The labeling config stays as it is until the transaction ends, so the expected labels
/// fit it also when someone changes it at the same time.
async fn check(tx: &mut Tx, fields: &GoldTaskFields) -> Result<()> {
    let mut issues = fields.check().err().unwrap_or_default();
    match labeling_configs::xml_for_gold(tx, fields.labeling_config_id).await? {
        Some(xml) => {
            issues.extend(misfits(&interface::read(&xml), "expectedLabels", &fields.expected_labels));
        }
        None => issues.push(Issue::new("labelingConfigId", "no such labeling config")),
    }
    if issues.is_empty() { Ok(()) } else { Err(Error::Invalid(issues)) }
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
