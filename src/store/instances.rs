//! An annotator's instance: what provisioning needs to know, and the transitions that only its jobs make.
//!
//! starting -> active | error, and stopping -> stopped. What asks for them (created | stopped | error ->
//! starting, active -> stopping, any -> deleted) belongs to the annotators' own use cases.

use serde_json::Value;
use sqlx::PgConnection;

use crate::domain::{AnnotatorId, AnnotatorStatus};

/// What an instance is made from.
#[derive(Debug, Clone)]
pub struct Owner {
    pub id: AnnotatorId,
    pub email: String,
    pub status: AnnotatorStatus,
    pub subdomain: Option<String>,
    pub secret_version: i32,
}

pub async fn owner(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<Owner>> {
    sqlx::query_as!(
        Owner,
        r#"SELECT id AS "id: AnnotatorId", email, status AS "status: AnnotatorStatus", subdomain, secret_version
           FROM annotators WHERE id = $1"#,
        id as AnnotatorId,
    )
    .fetch_optional(db)
    .await
}

pub async fn status(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<AnnotatorStatus>> {
    sqlx::query_scalar!(
        r#"SELECT status AS "status: AnnotatorStatus" FROM annotators WHERE id = $1"#,
        id as AnnotatorId,
    )
    .fetch_optional(db)
    .await
}

/// The status, which stays as it is until the transaction ends.
pub async fn lock_status(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<AnnotatorStatus>> {
    sqlx::query_scalar!(
        r#"SELECT status AS "status: AnnotatorStatus" FROM annotators WHERE id = $1 FOR UPDATE"#,
        id as AnnotatorId,
    )
    .fetch_optional(db)
    .await
}

/// The largest ids of each kind that an annotator's Label Studio gave and we hold; 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargestIds {
    pub project: i64,
    pub task: i64,
    pub annotation: i64,
}

pub async fn largest_ids(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<LargestIds> {
    sqlx::query_as!(
        LargestIds,
        r#"SELECT
               COALESCE((SELECT max(ls_project_id) FROM assignments WHERE annotator_id = $1), 0) AS "project!",
               COALESCE((SELECT max(ls_task_id) FROM assignment_tasks
                         JOIN assignments ON assignments.id = assignment_id
                         WHERE annotator_id = $1), 0) AS "task!",
               -- Of deleted ones, and of those on tasks of no batch, only the events remain.
               COALESCE((SELECT max(ls_annotation_id) FROM annotation_events WHERE annotator_id = $1), 0)
                   AS "annotation!""#,
        id as AnnotatorId,
    )
    .fetch_one(db)
    .await
}

/// Where and as whom an instance serves.
#[derive(Debug, Clone)]
pub struct Serving<'a> {
    pub container_id: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub database_name: &'a str,
    pub api_token: &'a str,
    pub ls_user_id: i64,
}

/// What a report of a serving instance changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// starting -> active.
    Activated,
    /// It was active before; its address may be a new one.
    WasActive,
    /// Nothing: stopped or deleted meanwhile.
    Unwanted,
}

/// starting -> active, and the address of one that is active already.
pub async fn serves(db: &mut PgConnection, id: AnnotatorId, at: &Serving<'_>) -> sqlx::Result<Served> {
    let was = sqlx::query_scalar!(
        r#"UPDATE annotators SET
               status = 'active', status_reason = NULL, silent_since = NULL, updated_at = now(),
               status_at = CASE WHEN old.was = 'active' THEN status_at ELSE now() END,
               container_id = $2, container_ip = $3, container_port = $4,
               database_name = $5, api_token = $6, ls_user_id = $7
           FROM (SELECT id AS old_id, status AS was FROM annotators WHERE id = $1 FOR UPDATE) AS old
           WHERE id = old.old_id AND old.was IN ('starting', 'active')
           RETURNING old.was AS "was!: AnnotatorStatus""#,
        id as AnnotatorId,
        at.container_id,
        at.host,
        i32::from(at.port),
        at.database_name,
        at.api_token,
        at.ls_user_id,
    )
    .fetch_optional(db)
    .await?;
    Ok(match was {
        Some(AnnotatorStatus::Starting) => Served::Activated,
        Some(_) => Served::WasActive,
        None => Served::Unwanted,
    })
}

/// starting -> error, with a reason for an operator. False: it is not starting any more.
pub async fn failed(db: &mut PgConnection, id: AnnotatorId, reason: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE annotators SET status = 'error', status_reason = $2, status_at = now(), updated_at = now()
         WHERE id = $1 AND status = 'starting'",
        id as AnnotatorId,
        reason,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// stopping -> stopped. False: it is not stopping (any more).
pub async fn stopped(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE annotators SET status = 'stopped', status_at = now(), updated_at = now(),
             container_ip = NULL, container_port = NULL
         WHERE id = $1 AND status = 'stopping'",
        id as AnnotatorId,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets the instance of a deleted annotator. False: there was nothing to forget.
pub async fn removed(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE annotators SET container_id = NULL, container_ip = NULL, container_port = NULL,
             database_name = NULL, api_token = NULL, ls_user_id = NULL, updated_at = now()
         WHERE id = $1 AND status = 'deleted'
           AND (container_id IS NOT NULL OR database_name IS NOT NULL OR api_token IS NOT NULL)",
        id as AnnotatorId,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps what happened to an instance.
pub async fn record(db: &mut PgConnection, id: AnnotatorId, event: &str, details: Value) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO container_events (annotator_id, event_type, details) VALUES ($1, $2, $3)",
        id as AnnotatorId,
        event,
        details,
    )
    .execute(db)
    .await
    .map(drop)
}
