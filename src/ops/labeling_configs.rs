//! Labeling configs: create, change, delete; gold tasks lock the XML that they were made for.

use super::{Error, Result, input::LabelingConfigChanges};
use crate::{
    domain::{
        LabelingConfigId,
        fields::{Fields, LabelingConfigFields},
    },
    queue,
    store::labeling_configs::{self, LabelingConfigUsage},
};

const NOT_FOUND: Error = Error::NotFound("Labeling config");

pub async fn create(queue: &queue::Client, fields: &LabelingConfigFields) -> Result<LabelingConfigUsage> {
    fields.check().map_err(Error::Invalid)?;
    let mut tx = queue.begin().await?;
    let id = labeling_configs::insert(&mut tx, fields).await?;
    let config = labeling_configs::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(config)
}

pub async fn update(
    queue: &queue::Client,
    id: LabelingConfigId,
    changes: LabelingConfigChanges,
) -> Result<LabelingConfigUsage> {
    let mut tx = queue.begin().await?;
    let current = labeling_configs::get_locked(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    let fields = changes.onto(&current)?;
    if current.is_locked && fields.config_xml != current.config.config_xml {
        return Err(Error::Conflict(format!(
            "Cannot update configXml: {} gold tasks reference this config",
            current.gold_task_count
        )));
    }
    labeling_configs::update(&mut tx, id, &fields).await?;
    let config = labeling_configs::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(config)
}

pub async fn delete(queue: &queue::Client, id: LabelingConfigId) -> Result<()> {
    let mut tx = queue.begin().await?;
    let deleted = labeling_configs::delete(&mut tx, id).await.map_err(|error| {
        Error::in_use(error, "Cannot delete: config is referenced by workflows or gold tasks")
    })?;
    if !deleted {
        return Err(NOT_FOUND);
    }
    Ok(tx.commit().await?)
}
