//! Assignments as operators see them; [`super::assignments`] has what the jobs do with them, [`super::closing`] their
//! early end.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use super::{Page, Slice, annotators::AnnotatorRef};
use crate::domain::{
    AnnotatorId, AssignmentId, AssignmentStatus, AssignmentTaskId, AssignmentTaskState, GoldTaskId, TaskId,
    WorkflowId, time,
};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    #[schema(value_type = i64)]
    pub id: AssignmentId,
    #[schema(value_type = i64)]
    pub workflow_id: WorkflowId,
    #[schema(value_type = i64)]
    pub annotator_id: AnnotatorId,
    /// The project in the annotator's Label Studio.
    pub ls_project_id: Option<i64>,
    /// Tasks of the workflow in this batch.
    pub task_count: i32,
    /// Gold tasks mixed in.
    pub gold_task_count: i32,
    /// Of both, how many are done or skipped.
    pub completed_task_count: i32,
    #[schema(inline)]
    pub status: AssignmentStatus,
    /// Why it failed.
    pub status_reason: Option<String>,
    /// Where the annotations lie in the bucket.
    pub export_key: Option<String>,
    pub export_bytes: Option<i64>,
    #[serde(serialize_with = "time::optional_millis")]
    pub exported_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time::optional_millis")]
    pub completed_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time::millis")]
    pub updated_at: DateTime<Utc>,
    #[schema(value_type = AnnotatorRef)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotator: Option<Json<AnnotatorRef>>,
    #[schema(value_type = WorkflowRef)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Json<WorkflowRef>>,
}

/// A workflow as others show it.
#[derive(Debug, Clone, Serialize, serde::Deserialize, ToSchema)]
pub struct WorkflowRef {
    #[schema(value_type = i64)]
    pub id: WorkflowId,
    pub name: String,
}

/// A place in a batch.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentTask {
    #[schema(value_type = i64)]
    pub id: AssignmentTaskId,
    pub position: i32,
    /// Null for a gold task.
    #[schema(value_type = Option<i64>)]
    pub task_id: Option<TaskId>,
    #[schema(value_type = Option<i64>)]
    pub gold_task_id: Option<GoldTaskId>,
    pub image_key: String,
    pub ls_task_id: Option<i64>,
    #[schema(inline)]
    pub status: AssignmentTaskState,
    pub lead_time_ms: Option<i64>,
    #[serde(serialize_with = "time::optional_millis")]
    pub completed_at: Option<DateTime<Utc>>,
}

/// How a gold task was answered.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoldResult {
    pub id: i64,
    #[schema(value_type = i64)]
    pub assignment_task_id: AssignmentTaskId,
    #[schema(value_type = i64)]
    pub gold_task_id: GoldTaskId,
    pub gold_task_name: Option<String>,
    /// 0 to 1; null when it was skipped.
    pub score: Option<f64>,
    /// The annotator skipped it: no score, and in no average.
    pub skipped: bool,
    /// Why: by control, what was matched, missing and extra.
    #[schema(value_type = Object)]
    pub details: Value,
    /// The job that scored it.
    pub job_id: Option<i64>,
    #[serde(serialize_with = "time::millis")]
    pub evaluated_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    pub id: Option<AssignmentId>,
    pub workflow: Option<WorkflowId>,
    pub annotator: Option<AnnotatorId>,
    pub status: Option<AssignmentStatus>,
}

/// The newest first, each with its annotator and workflow.
pub async fn list(db: &mut PgConnection, filter: Filter, page: Page) -> sqlx::Result<Slice<Assignment>> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM assignments
           WHERE ($1::bigint IS NULL OR id = $1) AND ($2::bigint IS NULL OR workflow_id = $2)
             AND ($3::bigint IS NULL OR annotator_id = $3) AND ($4::text IS NULL OR status = $4)"#,
        filter.id.map(|id| id.0),
        filter.workflow.map(|id| id.0),
        filter.annotator.map(|id| id.0),
        filter.status.map(AssignmentStatus::as_str)
    )
    .fetch_one(&mut *db)
    .await?;
    let rows = sqlx::query_as!(
        Assignment,
        r#"SELECT assignments.id AS "id: AssignmentId", workflow_id AS "workflow_id: WorkflowId",
                  annotator_id AS "annotator_id: AnnotatorId", ls_project_id, task_count, gold_task_count,
                  done_count AS completed_task_count, assignments.status AS "status: AssignmentStatus",
                  assignments.status_reason, export_key, export_bytes, exported_at, completed_at,
                  assignments.created_at, assignments.updated_at,
                  jsonb_build_object('id', annotators.id, 'name', annotators.name, 'email', annotators.email)
                      AS "annotator: Json<AnnotatorRef>",
                  jsonb_build_object('id', workflows.id, 'name', workflows.name)
                      AS "workflow: Json<WorkflowRef>"
           FROM assignments
           JOIN annotators ON annotators.id = annotator_id
           JOIN workflows ON workflows.id = workflow_id
           WHERE ($1::bigint IS NULL OR assignments.id = $1) AND ($2::bigint IS NULL OR workflow_id = $2)
             AND ($3::bigint IS NULL OR annotator_id = $3) AND ($4::text IS NULL OR assignments.status = $4)
           ORDER BY assignments.id DESC LIMIT $5 OFFSET $6"#,
        filter.id.map(|id| id.0),
        filter.workflow.map(|id| id.0),
        filter.annotator.map(|id| id.0),
        filter.status.map(AssignmentStatus::as_str),
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await?;
    Ok(Slice { rows, total })
}

pub async fn get(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Option<Assignment>> {
    let only = Filter { id: Some(id), ..Filter::default() };
    Ok(list(db, only, Page { limit: 1, offset: 0 }).await?.rows.pop())
}

/// In the order in which the annotator gets them.
pub async fn tasks(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Vec<AssignmentTask>> {
    sqlx::query_as!(
        AssignmentTask,
        r#"SELECT assignment_tasks.id AS "id: AssignmentTaskId", position, task_id AS "task_id: TaskId",
                  gold_task_id AS "gold_task_id: GoldTaskId",
                  COALESCE(tasks.image_key, gold_tasks.s3_image_key) AS "image_key!", ls_task_id,
                  state AS "status: AssignmentTaskState", lead_time_ms, done_at AS completed_at
           FROM assignment_tasks
           LEFT JOIN tasks ON tasks.id = task_id
           LEFT JOIN gold_tasks ON gold_tasks.id = gold_task_id
           WHERE assignment_id = $1 ORDER BY position"#,
        id.0
    )
    .fetch_all(db)
    .await
}

pub async fn gold_results(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Vec<GoldResult>> {
    sqlx::query_as!(
        GoldResult,
        r#"SELECT gold_results.id, assignment_task_id AS "assignment_task_id: AssignmentTaskId",
                  gold_task_id AS "gold_task_id: GoldTaskId", name AS gold_task_name, score, skipped,
                  details, job_id, evaluated_at
           FROM gold_results JOIN gold_tasks ON gold_tasks.id = gold_task_id
           WHERE assignment_id = $1 ORDER BY gold_results.id"#,
        id.0
    )
    .fetch_all(db)
    .await
}
