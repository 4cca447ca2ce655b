//! Gold tasks as operators keep them; [`super::gold`] has what batches need of them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use super::{Page, Slice};
use crate::domain::{Difficulty, GoldTaskId, LabelingConfigId, fields::GoldTaskFields, time};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoldTask {
    #[schema(value_type = i64)]
    pub id: GoldTaskId,
    pub name: Option<String>,
    pub s3_image_key: String,
    #[schema(value_type = Vec<Object>)]
    pub expected_labels: Value,
    #[schema(value_type = i64)]
    pub labeling_config_id: LabelingConfigId,
    pub category: Option<String>,
    #[schema(inline)]
    pub difficulty: Option<Difficulty>,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
}

pub async fn list(
    db: &mut PgConnection,
    config: Option<LabelingConfigId>,
    category: Option<&str>,
    page: Page,
) -> sqlx::Result<Slice<GoldTask>> {
    let config = config.map(|config| config.0);
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM gold_tasks
           WHERE ($1::bigint IS NULL OR labeling_config_id = $1) AND ($2::text IS NULL OR category = $2)"#,
        config,
        category
    )
    .fetch_one(&mut *db)
    .await?;
    let rows = sqlx::query_as!(
        GoldTask,
        r#"SELECT id AS "id: GoldTaskId", name, s3_image_key, expected_labels,
                  labeling_config_id AS "labeling_config_id: LabelingConfigId", category,
                  difficulty AS "difficulty: Difficulty", created_at
           FROM gold_tasks
           WHERE ($1::bigint IS NULL OR labeling_config_id = $1) AND ($2::text IS NULL OR category = $2)
           ORDER BY id LIMIT $3 OFFSET $4"#,
        config,
        category,
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await?;
    Ok(Slice { rows, total })
}

pub async fn get(db: &mut PgConnection, id: GoldTaskId) -> sqlx::Result<Option<GoldTask>> {
    sqlx::query_as!(
        GoldTask,
        r#"SELECT id AS "id: GoldTaskId", name, s3_image_key, expected_labels,
                  labeling_config_id AS "labeling_config_id: LabelingConfigId", category,
                  difficulty AS "difficulty: Difficulty", created_at
           FROM gold_tasks WHERE id = $1"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// [`get`], and nobody changes it before the transaction ends.
pub async fn get_locked(db: &mut PgConnection, id: GoldTaskId) -> sqlx::Result<Option<GoldTask>> {
    sqlx::query!("SELECT FROM gold_tasks WHERE id = $1 FOR NO KEY UPDATE", id.0)
        .fetch_optional(&mut *db)
        .await?;
    get(db, id).await
}

pub async fn insert(db: &mut PgConnection, fields: &GoldTaskFields) -> sqlx::Result<GoldTaskId> {
    sqlx::query_scalar!(
        r#"INSERT INTO gold_tasks (name, s3_image_key, expected_labels, labeling_config_id, category, difficulty)
           VALUES ($1, $2, $3, $4, $5, $6) RETURNING id AS "id: GoldTaskId""#,
        fields.name,
        fields.s3_image_key,
        Json(&fields.expected_labels) as _,
        fields.labeling_config_id.0,
        fields.category,
        fields.difficulty.map(Difficulty::as_str)
    )
    .fetch_one(db)
    .await
}

pub async fn update(db: &mut PgConnection, id: GoldTaskId, fields: &GoldTaskFields) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE gold_tasks
         SET name = $2, s3_image_key = $3, expected_labels = $4, labeling_config_id = $5, category = $6,
             difficulty = $7, updated_at = now()
         WHERE id = $1",
        id.0,
        fields.name,
        fields.s3_image_key,
        Json(&fields.expected_labels) as _,
        fields.labeling_config_id.0,
        fields.category,
        fields.difficulty.map(Difficulty::as_str)
    )
    .execute(db)
    .await?;
    Ok(())
}

pub async fn delete(db: &mut PgConnection, id: GoldTaskId) -> sqlx::Result<bool> {
    let deleted = sqlx::query!("DELETE FROM gold_tasks WHERE id = $1", id.0).execute(db).await?;
    Ok(deleted.rows_affected() == 1)
}
