//! Annotators as operators keep them, and the transitions that operators ask for. What jobs make of those
//! transitions (`starting -> active` and the like) lies with the instances.

use std::collections::HashMap;

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
    /// Only with status `error`: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub status_reason: Option<String>,
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
    ids: Option<&[AnnotatorId]>,
    with_deleted: bool,
    page: Page,
) -> sqlx::Result<Vec<Annotator>> {
    let ids: Option<Vec<i64>> = ids.map(|ids| ids.iter().map(|id| id.0).collect());
    sqlx::query_as!(
        Annotator,
        r#"SELECT annotators.id AS "id: AnnotatorId", annotators.name, email,
                  role_id AS "role_id: RoleId", status AS "status: AnnotatorStatus", status_reason, container_id,
                  container_ip, container_port, subdomain, database_name, api_token, ls_user_id, notes,
                  last_active_at, rejection_count, reviewed_count, annotators.created_at, updated_at,
                  CASE WHEN roles.id IS NOT NULL THEN
                      jsonb_build_object('id', roles.id, 'name', roles.name, 'color', roles.color)
                  END AS "role: Json<RoleRef>"
           FROM annotators LEFT JOIN roles ON roles.id = role_id
           WHERE ($1::bigint[] IS NULL OR annotators.id = ANY($1)) AND ($2 OR status <> 'deleted')
           ORDER BY annotators.id LIMIT $3 OFFSET $4"#,
        ids.as_deref(),
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
    Ok(select(db, Some(&[id]), false, Page { limit: 1, offset: 0 }).await?.pop())
}

/// These, by id.
pub async fn of(db: &mut PgConnection, ids: &[AnnotatorId]) -> sqlx::Result<Vec<Annotator>> {
    select(db, Some(ids), false, Page { limit: i64::MAX, offset: 0 }).await
}

/// Deleted or not.
pub async fn get_any(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<Annotator>> {
    Ok(select(db, Some(&[id]), true, Page { limit: 1, offset: 0 }).await?.pop())
}

/// [`get`], and nobody changes it before the transaction ends.
pub async fn get_locked(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<Annotator>> {
    sqlx::query!("SELECT FROM annotators WHERE id = $1 FOR NO KEY UPDATE", id.0)
        .fetch_optional(&mut *db)
        .await?;
    get(db, id).await
}

/// Subdomains that begin with one of `bases`, those of deleted annotators too: a name is not given out twice.
pub async fn subdomains(db: &mut PgConnection, bases: &[String]) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"SELECT subdomain AS "subdomain!" FROM annotators
           WHERE EXISTS (SELECT FROM unnest($1::text[]) AS base WHERE starts_with(subdomain, base))"#,
        bases
    )
    .fetch_all(db)
    .await
}

/// Which of these emails, all in lower case, annotators have who are not deleted.
pub async fn known_emails(db: &mut PgConnection, emails: &[String]) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"SELECT lower(email) AS "email!" FROM annotators
           WHERE lower(email) = ANY($1) AND status <> 'deleted'"#,
        emails
    )
    .fetch_all(db)
    .await
}

/// Inserts each under its subdomain, in order; answers the ids by subdomain. One whose subdomain was taken
/// meanwhile is left out.
pub async fn insert(
    db: &mut PgConnection,
    all: &[(&AnnotatorFields, &String)],
) -> sqlx::Result<HashMap<String, AnnotatorId>> {
    let column = |of: fn(&AnnotatorFields) -> &str| -> Vec<String> {
        all.iter().map(|(fields, _)| of(fields).to_owned()).collect()
    };
    let roles: Vec<Option<i64>> = all.iter().map(|(fields, _)| Some(fields.role_id?.0)).collect();
    let notes: Vec<Option<String>> = all.iter().map(|(fields, _)| fields.notes.clone()).collect();
    let subdomains: Vec<String> = all.iter().map(|(_, subdomain)| (*subdomain).clone()).collect();
    let rows = sqlx::query!(
        r#"INSERT INTO annotators (name, email, role_id, notes, subdomain)
           SELECT name, email, role_id, notes, subdomain
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
                WITH ORDINALITY AS new (name, email, role_id, notes, subdomain, place)
           ORDER BY place
           ON CONFLICT ON CONSTRAINT annotators_subdomain_key DO NOTHING
           RETURNING id AS "id: AnnotatorId", subdomain AS "subdomain!""#,
        &column(|fields| &fields.name),
        &column(|fields| &fields.email),
        &roles as &[Option<i64>],
        &notes as &[Option<String>],
        &subdomains
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.subdomain, row.id)).collect())
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

/// Any state -> deleted. Answers those that were not deleted before.
pub async fn mark_deleted(db: &mut PgConnection, ids: &[AnnotatorId]) -> sqlx::Result<Vec<AnnotatorId>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    sqlx::query_scalar!(
        r#"UPDATE annotators
           SET status = 'deleted', status_reason = NULL, status_at = now(), updated_at = now()
           WHERE id = ANY($1) AND status <> 'deleted' RETURNING id AS "id: AnnotatorId""#,
        &ids
    )
    .fetch_all(db)
    .await
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
