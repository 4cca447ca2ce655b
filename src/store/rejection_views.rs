//! Rejections as operators see them: the audit trail of reviews.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use super::{Page, Slice, annotators::AnnotatorRef};
use crate::domain::{
    AnnotatorId, AssignmentId, RejectionId, RejectionMode, RejectionStatus, TaskId, WorkflowId, time,
};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    #[schema(value_type = i64)]
    pub id: RejectionId,
    /// The reviewer's workflow.
    #[schema(value_type = i64)]
    pub workflow_id: WorkflowId,
    /// The task whose work was rejected.
    #[schema(value_type = i64)]
    pub task_id: TaskId,
    pub image_key: String,
    pub reason: Option<String>,
    /// The first rejection of a piece of work is 1, that of its first rework 2.
    pub iteration: i32,
    // `pending` until something was done, `withdrawn` when the review was taken back.
    #[schema(inline)]
    pub status: RejectionStatus,
    /// It came back more often than `maxReworkIterations` allows, and was not routed again.
    pub escalated: bool,
    // While it is pending, what the workflow asks for.
    #[schema(inline)]
    pub action_taken: RejectionMode,
    /// Where the archived rejection lies.
    pub archive_key: Option<String>,
    /// Whether it counts among the annotator's rejections.
    pub flagged: bool,
    #[schema(value_type = i64)]
    pub original_annotator_id: AnnotatorId,
    #[schema(value_type = i64)]
    pub original_assignment_id: AssignmentId,
    #[schema(value_type = i64)]
    pub reviewer_annotator_id: AnnotatorId,
    #[schema(value_type = i64)]
    pub reviewer_assignment_id: AssignmentId,
    /// The task that does the work again.
    #[schema(value_type = Option<i64>)]
    pub rework_task_id: Option<TaskId>,
    /// The assignment that this task is in, once it was handed out.
    #[schema(value_type = Option<i64>)]
    pub routed_to_assignment_id: Option<AssignmentId>,
    #[serde(serialize_with = "time::optional_millis")]
    pub routed_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    #[schema(value_type = AnnotatorRef)]
    pub original_annotator: Json<AnnotatorRef>,
    #[schema(value_type = AnnotatorRef)]
    pub reviewer_annotator: Json<AnnotatorRef>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    pub id: Option<RejectionId>,
    pub workflow: Option<WorkflowId>,
    pub original_annotator: Option<AnnotatorId>,
    pub action: Option<RejectionMode>,
}

/// The newest first.
pub async fn list(db: &mut PgConnection, filter: Filter, page: Page) -> sqlx::Result<Slice<Rejection>> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM rejections
           WHERE ($1::bigint IS NULL OR id = $1) AND ($2::bigint IS NULL OR workflow_id = $2)
             AND ($3::bigint IS NULL OR original_annotator_id = $3) AND ($4::text IS NULL OR action_taken = $4)"#,
        filter.id.map(|id| id.0),
        filter.workflow.map(|id| id.0),
        filter.original_annotator.map(|id| id.0),
        filter.action.map(RejectionMode::as_str)
    )
    .fetch_one(&mut *db)
    .await?;
    let rows = sqlx::query_as!(
        Rejection,
        r#"SELECT rejections.id AS "id: RejectionId", rejections.workflow_id AS "workflow_id: WorkflowId",
                  rejections.task_id AS "task_id: TaskId", rejections.image_key, reason, rejections.iteration,
                  rejections.status AS "status: RejectionStatus", rejections.status = 'escalated' AS "escalated!",
                  action_taken AS "action_taken: RejectionMode", archive_key, is_flagged AS flagged,
                  original_annotator_id AS "original_annotator_id: AnnotatorId",
                  original_assignment_id AS "original_assignment_id: AssignmentId",
                  reviewer_annotator_id AS "reviewer_annotator_id: AnnotatorId",
                  reviewer_assignment_id AS "reviewer_assignment_id: AssignmentId",
                  rework.id AS "rework_task_id?: TaskId",
                  place.assignment_id AS "routed_to_assignment_id?: AssignmentId", routed_at, rejections.created_at,
                  jsonb_build_object('id', original.id, 'name', original.name, 'email', original.email)
                      AS "original_annotator!: Json<AnnotatorRef>",
                  jsonb_build_object('id', reviewer.id, 'name', reviewer.name, 'email', reviewer.email)
                      AS "reviewer_annotator!: Json<AnnotatorRef>"
           FROM rejections
           JOIN annotators AS original ON original.id = original_annotator_id
           JOIN annotators AS reviewer ON reviewer.id = reviewer_annotator_id
           LEFT JOIN tasks AS rework ON rework.rejection_id = rejections.id AND rework.status <> 'withdrawn'
           LEFT JOIN assignment_tasks AS place ON place.task_id = rework.id AND place.state <> 'released'
           WHERE ($1::bigint IS NULL OR rejections.id = $1) AND ($2::bigint IS NULL OR rejections.workflow_id = $2)
             AND ($3::bigint IS NULL OR original_annotator_id = $3) AND ($4::text IS NULL OR action_taken = $4)
           ORDER BY rejections.id DESC LIMIT $5 OFFSET $6"#,
        filter.id.map(|id| id.0),
        filter.workflow.map(|id| id.0),
        filter.original_annotator.map(|id| id.0),
        filter.action.map(RejectionMode::as_str),
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await?;
    Ok(Slice { rows, total })
}

pub async fn get(db: &mut PgConnection, id: RejectionId) -> sqlx::Result<Option<Rejection>> {
    let only = Filter { id: Some(id), ..Filter::default() };
    Ok(list(db, only, Page { limit: 1, offset: 0 }).await?.rows.pop())
}
