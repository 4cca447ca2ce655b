//! Labeling configs: Label Studio XML, and who uses it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{Page, Slice};
use crate::domain::{
    LabelingConfigId,
    fields::LabelingConfigFields,
    interface::{self, Interface},
    time,
};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelingConfig {
    #[schema(value_type = i64)]
    pub id: LabelingConfigId,
    pub name: String,
    pub description: Option<String>,
    pub config_xml: String,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
}

/// A labeling config, what its XML shows and asks for, and its users.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelingConfigUsage {
    #[serde(flatten)]
    pub config: LabelingConfig,
    #[serde(flatten)]
    pub interface: Interface,
    pub workflow_count: i64,
    pub gold_task_count: i64,
    /// Gold tasks reference this config: its XML stays, so that scores keep their meaning.
    pub is_locked: bool,
}

/// A labeling config as others show it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LabelingConfigRef {
    #[schema(value_type = i64)]
    pub id: LabelingConfigId,
    pub name: String,
}

pub async fn list(db: &mut PgConnection, page: Page) -> sqlx::Result<Slice<LabelingConfig>> {
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "total!" FROM labeling_configs"#)
        .fetch_one(&mut *db)
        .await?;
    let rows = sqlx::query_as!(
        LabelingConfig,
        r#"SELECT id AS "id: LabelingConfigId", name, description, config_xml, created_at
           FROM labeling_configs ORDER BY id LIMIT $1 OFFSET $2"#,
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await?;
    Ok(Slice { rows, total })
}

pub async fn get(db: &mut PgConnection, id: LabelingConfigId) -> sqlx::Result<Option<LabelingConfigUsage>> {
    let row = sqlx::query!(
        r#"SELECT name, description, config_xml, created_at,
                  (SELECT count(*) FROM workflows WHERE labeling_config_id = $1) AS "workflow_count!",
                  (SELECT count(*) FROM gold_tasks WHERE labeling_config_id = $1) AS "gold_task_count!"
           FROM labeling_configs WHERE id = $1"#,
        id.0
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| LabelingConfigUsage {
        interface: interface::read(&row.config_xml),
        config: LabelingConfig {
            id,
            name: row.name,
            description: row.description,
            config_xml: row.config_xml,
            created_at: row.created_at,
        },
        workflow_count: row.workflow_count,
        gold_task_count: row.gold_task_count,
        is_locked: row.gold_task_count > 0,
    }))
}

/// [`get`], and until the transaction ends nobody changes it, nor adds a workflow or gold task that uses it.
pub async fn get_locked(
    db: &mut PgConnection,
    id: LabelingConfigId,
) -> sqlx::Result<Option<LabelingConfigUsage>> {
    sqlx::query!("SELECT FROM labeling_configs WHERE id = $1 FOR UPDATE", id.0)
        .fetch_optional(&mut *db)
        .await?;
    get(db, id).await
}

/// The XML, which nobody changes before the transaction ends: gold tasks are made for it.
pub async fn xml_for_gold(db: &mut PgConnection, id: LabelingConfigId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("SELECT config_xml FROM labeling_configs WHERE id = $1 FOR KEY SHARE", id.0)
        .fetch_optional(db)
        .await
}

pub async fn insert(db: &mut PgConnection, fields: &LabelingConfigFields) -> sqlx::Result<LabelingConfigId> {
    sqlx::query_scalar!(
        r#"INSERT INTO labeling_configs (name, description, config_xml) VALUES ($1, $2, $3)
           RETURNING id AS "id: LabelingConfigId""#,
        fields.name,
        fields.description,
        fields.config_xml
    )
    .fetch_one(db)
    .await
}

pub async fn update(
    db: &mut PgConnection,
    id: LabelingConfigId,
    fields: &LabelingConfigFields,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE labeling_configs SET name = $2, description = $3, config_xml = $4, updated_at = now()
         WHERE id = $1",
        id.0,
        fields.name,
        fields.description,
        fields.config_xml
    )
    .execute(db)
    .await?;
    Ok(())
}

pub async fn delete(db: &mut PgConnection, id: LabelingConfigId) -> sqlx::Result<bool> {
    let deleted = sqlx::query!("DELETE FROM labeling_configs WHERE id = $1", id.0).execute(db).await?;
    Ok(deleted.rows_affected() == 1)
}
