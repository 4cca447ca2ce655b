//! Settings: JSON values by key.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{Page, Slice};
use crate::domain::{fields::SettingFields, settings::Known, time};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    pub id: i64,
    pub key: String,
    /// Any JSON.
    #[schema(value_type = Value)]
    pub value: Value,
    pub description: Option<String>,
    #[serde(serialize_with = "time::millis")]
    pub updated_at: DateTime<Utc>,
}

pub async fn list(db: &mut PgConnection, page: Page) -> sqlx::Result<Slice<Setting>> {
    let total =
        sqlx::query_scalar!(r#"SELECT count(*) AS "total!" FROM settings"#).fetch_one(&mut *db).await?;
    let rows = sqlx::query_as!(
        Setting,
        "SELECT id, key, value, description, updated_at FROM settings ORDER BY key LIMIT $1 OFFSET $2",
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await?;
    Ok(Slice { rows, total })
}

pub async fn get(db: &mut PgConnection, key: &str) -> sqlx::Result<Option<Setting>> {
    sqlx::query_as!(
        Setting,
        "SELECT id, key, value, description, updated_at FROM settings WHERE key = $1",
        key
    )
    .fetch_optional(db)
    .await
}

/// What holds of a known setting.
pub async fn effective(db: &mut PgConnection, known: &Known) -> sqlx::Result<f64> {
    let stored = get(db, known.key).await?;
    Ok(known.effective(stored.as_ref().map(|setting| &setting.value)))
}

/// Creates or updates it; a description that is not given stays.
pub async fn put(db: &mut PgConnection, key: &str, fields: &SettingFields) -> sqlx::Result<Setting> {
    sqlx::query_as!(
        Setting,
        "INSERT INTO settings (key, value, description) VALUES ($1, $2, $3)
         ON CONFLICT ON CONSTRAINT settings_key_key DO UPDATE
         SET value = excluded.value, description = COALESCE(excluded.description, settings.description),
             updated_at = now()
         RETURNING id, key, value, description, updated_at",
        key,
        fields.value,
        fields.description
    )
    .fetch_one(db)
    .await
}
