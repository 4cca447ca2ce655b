//! Keys of programs, by their hashes.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{Page, Slice};
use crate::domain::{ApiKeyId, Scope, fields::ApiKeyFields, time};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
pub struct ApiKeyRow {
    #[schema(value_type = i64)]
    pub id: ApiKeyId,
    pub name: String,
    /// The key's beginning.
    #[schema(example = "lf_3f9c01be")]
    pub prefix: String,
    #[schema(inline)]
    pub scopes: Vec<Scope>,
    /// An email, `key NAME`, or `command line`.
    pub created_by: String,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time::optional_millis")]
    pub expires_at: Option<DateTime<Utc>>,
    /// To the minute.
    #[serde(serialize_with = "time::optional_millis")]
    pub last_used_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time::optional_millis")]
    pub revoked_at: Option<DateTime<Utc>>,
}

/// The newest first; revoked and expired ones too.
pub async fn list(db: &mut PgConnection, page: Page) -> sqlx::Result<Slice<ApiKeyRow>> {
    let total =
        sqlx::query_scalar!(r#"SELECT count(*) AS "total!" FROM api_keys"#).fetch_one(&mut *db).await?;
    let rows = sqlx::query_as!(
        ApiKeyRow,
        r#"SELECT id AS "id: ApiKeyId", name, prefix, scopes AS "scopes: Vec<Scope>", created_by, created_at,
                  expires_at, last_used_at, revoked_at
           FROM api_keys ORDER BY id DESC LIMIT $1 OFFSET $2"#,
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await?;
    Ok(Slice { rows, total })
}

pub async fn insert(
    db: &mut PgConnection,
    fields: &ApiKeyFields,
    prefix: &str,
    key_sha256: &[u8],
    created_by: &str,
) -> sqlx::Result<ApiKeyRow> {
    let scopes: Vec<&str> = fields.scopes.iter().map(|scope| scope.as_str()).collect();
    sqlx::query_as!(
        ApiKeyRow,
        r#"INSERT INTO api_keys (name, prefix, key_sha256, scopes, created_by, expires_at)
           VALUES ($1, $2, $3, $4::text[], $5, $6)
           RETURNING id AS "id: ApiKeyId", name, prefix, scopes AS "scopes: Vec<Scope>", created_by,
                     created_at, expires_at, last_used_at, revoked_at"#,
        fields.name,
        prefix,
        key_sha256,
        &scopes as &[&str],
        created_by,
        fields.expires_at
    )
    .fetch_one(db)
    .await
}

/// False if there is no such key. One that is revoked already stays as it is.
pub async fn revoke(db: &mut PgConnection, id: ApiKeyId) -> sqlx::Result<bool> {
    let found =
        sqlx::query!("UPDATE api_keys SET revoked_at = COALESCE(revoked_at, now()) WHERE id = $1", id.0)
            .execute(db)
            .await?;
    Ok(found.rows_affected() == 1)
}

/// A key that opens something now.
#[derive(Debug, Clone)]
pub struct Valid {
    pub id: ApiKeyId,
    pub name: String,
    pub scopes: Vec<Scope>,
    /// Whether `last_used_at` is more than a minute old.
    pub is_use_due: bool,
}

/// None if the key is unknown, revoked or expired.
pub async fn valid(db: &mut PgConnection, key_sha256: &[u8]) -> sqlx::Result<Option<Valid>> {
    sqlx::query_as!(
        Valid,
        r#"SELECT id AS "id: ApiKeyId", name, scopes AS "scopes: Vec<Scope>",
                  (last_used_at IS NULL OR last_used_at <= now() - interval '1 minute') AS "is_use_due!"
           FROM api_keys
           WHERE key_sha256 = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"#,
        key_sha256
    )
    .fetch_optional(db)
    .await
}

/// Keeps that the key was used, once a minute at most however many processes ask.
pub async fn record_use(db: &mut PgConnection, id: ApiKeyId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE api_keys SET last_used_at = now()
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= now() - interval '1 minute')",
        id.0
    )
    .execute(db)
    .await?;
    Ok(())
}
