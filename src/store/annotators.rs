//! Annotators as operators keep them, and the transitions that operators ask for. What jobs make of those
//! transitions (`starting -> active` and the like) lies with the instances.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use super::{Page, Slice, roles::RoleRef};
use crate::domain::{AnnotatorId, AnnotatorStatus, RoleId, fields::AnnotatorFields, time};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Annotator {
    #[schema(value_type = i64)]
    pub id: AnnotatorId,
    pub name: String,
    pub email: String,
    #[schema(value_type = Option<i64>)]
    pub role_id: Option<RoleId>,
    #[schema(inline)]
    pub status: AnnotatorStatus,
    pub container_id: Option<String>,
    pub container_ip: Option<String>,
    pub container_port: Option<i32>,
    pub subdomain: Option<String>,
    pub database_name: Option<String>,
    /// Of the annotator's Label Studio; null for callers who may only read.
    pub api_token: Option<String>,
    pub ls_user_id: Option<i64>,
    pub notes: Option<String>,
    #[serde(serialize_with = "time::optional_millis")]
    pub last_active_at: Option<DateTime<Utc>>,
    pub rejection_count: i32,
    pub reviewed_count: i32,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time::millis")]
    pub updated_at: DateTime<Utc>,
    #[schema(value_type = Option<RoleRef>)]
    pub role: Option<Json<RoleRef>>,
}

/// An annotator as others show it.
#[derive(Debug, Clone, Serialize, serde::Deserialize, ToSchema)]
pub struct AnnotatorRef {
    #[schema(value_type = i64)]
    pub id: AnnotatorId,
    pub name: String,
    pub email: String,
}

async fn select(
    db: &mut PgConnection,
    id: Option<AnnotatorId>,
    with_deleted: bool,
    page: Page,
) -> sqlx::Result<Vec<Annotator>> {
    sqlx::query_as!(
        Annotator,
        r#"SELECT annotators.id AS "id: AnnotatorId", annotators.name, email,
                  role_id AS "role_id: RoleId", status AS "status: AnnotatorStatus", container_id,
                  container_ip, container_port, subdomain, database_name, api_token, ls_user_id, notes,
                  last_active_at, rejection_count, reviewed_count, annotators.created_at, updated_at,
                  CASE WHEN roles.id IS NOT NULL THEN
                      jsonb_build_object('id', roles.id, 'name', roles.name, 'color', roles.color)
                  END AS "role: Json<RoleRef>"
           FROM annotators LEFT JOIN roles ON roles.id = role_id
           WHERE ($1::bigint IS NULL OR annotators.id = $1) AND ($2 OR status <> 'deleted')
           ORDER BY annotators.id LIMIT $3 OFFSET $4"#,
        id.map(|id| id.0),
        with_deleted,
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await
}

/// Deleted ones are not listed.
pub async fn list(db: &mut PgConnection, page: Page) -> sqlx::Result<Slice<Annotator>> {
    let total =
        sqlx::query_scalar!(r#"SELECT count(*) AS "total!" FROM annotators WHERE status <> 'deleted'"#)
            .fetch_one(&mut *db)
            .await?;
    Ok(Slice { rows: select(db, None, false, page).await?, total })
}

/// None for a deleted one, too.
pub async fn get(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<Annotator>> {
    Ok(select(db, Some(id), false, Page { limit: 1, offset: 0 }).await?.pop())
}

/// Deleted or not.
pub async fn get_any(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<Annotator>> {
    Ok(select(db, Some(id), true, Page { limit: 1, offset: 0 }).await?.pop())
}

/// [`get`], and nobody changes it before the transaction ends.
pub async fn get_locked(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<Annotator>> {
    sqlx::query!("SELECT FROM annotators WHERE id = $1 FOR NO KEY UPDATE", id.0)
        .fetch_optional(&mut *db)
        .await?;
    get(db, id).await
}

/// In which state the annotator is and, for `error`, why.
#[derive(Debug)]
pub struct Lifecycle {
    pub status: AnnotatorStatus,
    pub status_reason: Option<String>,
}

pub async fn lifecycle(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<Lifecycle>> {
    sqlx::query_as!(
        Lifecycle,
        r#"SELECT status AS "status: AnnotatorStatus", status_reason
           FROM annotators WHERE id = $1 AND status <> 'deleted'"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// Subdomains that begin with `base`, those of deleted annotators too: a name is not given out twice.
pub async fn subdomains(db: &mut PgConnection, base: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"SELECT subdomain AS "subdomain!" FROM annotators WHERE starts_with(subdomain, $1)"#,
        base
    )
    .fetch_all(db)
    .await
}

/// None if the subdomain was taken meanwhile.
pub async fn insert(
    db: &mut PgConnection,
    fields: &AnnotatorFields,
    subdomain: &str,
) -> sqlx::Result<Option<AnnotatorId>> {
    sqlx::query_scalar!(
        r#"INSERT INTO annotators (name, email, role_id, notes, subdomain) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT ON CONSTRAINT annotators_subdomain_key DO NOTHING RETURNING id AS "id: AnnotatorId""#,
        fields.name,
        fields.email,
        fields.role_id.map(|id| id.0),
        fields.notes,
        subdomain
    )
    .fetch_optional(db)
    .await
}

pub async fn update(db: &mut PgConnection, id: AnnotatorId, fields: &AnnotatorFields) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE annotators SET name = $2, email = $3, role_id = $4, notes = $5, updated_at = now() WHERE id = $1",
        id.0,
        fields.name,
        fields.email,
        fields.role_id.map(|id| id.0),
        fields.notes
    )
    .execute(db)
    .await?;
    Ok(())
}

/// created | stopped | error -> starting.
pub async fn begin_start(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<bool> {
    let begun = sqlx::query!(
        "UPDATE annotators
         SET status = 'starting', status_reason = NULL, status_at = now(), updated_at = now()
         WHERE id = $1 AND status IN ('created', 'stopped', 'error')",
        id.0
    )
    .execute(db)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// active | starting | error -> stopping.
pub async fn begin_stop(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<bool> {
    let begun = sqlx::query!(
        "UPDATE annotators
         SET status = 'stopping', status_reason = NULL, status_at = now(), updated_at = now()
         WHERE id = $1 AND status IN ('active', 'starting', 'error')",
        id.0
    )
    .execute(db)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// Any state -> deleted. False if there was none, or it was deleted before.
pub async fn mark_deleted(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<bool> {
    let deleted = sqlx::query!(
        "UPDATE annotators
         SET status = 'deleted', status_reason = NULL, status_at = now(), updated_at = now()
         WHERE id = $1 AND status <> 'deleted'",
        id.0
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

pub async fn set_api_token(db: &mut PgConnection, id: AnnotatorId, token: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE annotators SET api_token = $2, updated_at = now() WHERE id = $1 AND status <> 'deleted'",
        id.0,
        token
    )
    .execute(db)
    .await?;
    Ok(())
}
