//! Routing of rejected work: what decides about it, and what it leaves behind.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use crate::domain::{JobRef, RejectionId, RejectionMode, RejectionStatus, WorkflowId};

/// A rejection that waits to be routed, and what its workflow asks for now.
#[derive(Debug)]
pub struct Pending {
    /// Changes whenever the rejection does.
    pub version: DateTime<Utc>,
    pub iteration: i32,
    pub mode: RejectionMode,
    pub max_rework_iterations: Option<i32>,
    pub archive_path: Option<String>,
    pub export_path: String,
    pub route_workflow_id: Option<WorkflowId>,
}

/// None if it was routed already, or taken back.
pub async fn pending(db: &mut PgConnection, id: RejectionId) -> sqlx::Result<Option<Pending>> {
    sqlx::query_as!(
        Pending,
        r#"SELECT rejections.updated_at AS version, iteration, rejection_mode AS "mode: RejectionMode",
                  max_rework_iterations, rejection_archive_bucket AS archive_path, s3_export_path AS export_path,
                  rejection_route_workflow_id AS "route_workflow_id: WorkflowId"
           FROM rejections JOIN workflows ON workflows.id = workflow_id
           WHERE rejections.id = $1 AND status = 'pending'"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// What is archived of a rejection: the task, the rejected annotation, the review and who made them. The same from
/// call to call as long as none of them changes.
pub async fn archive(db: &mut PgConnection, id: RejectionId) -> sqlx::Result<Value> {
    sqlx::query_scalar!(
        r#"SELECT jsonb_build_object(
               'rejection', jsonb_build_object(
                   'id', rejections.id, 'reason', reason, 'iteration', rejections.iteration,
                   'workflowId', rejections.workflow_id, 'createdAt', rejections.created_at),
               'task', jsonb_build_object(
                   'id', tasks.id, 'uid', tasks.uid, 'workflowId', tasks.workflow_id, 'imageKey', tasks.image_key,
                   'origin', tasks.origin, 'iteration', tasks.iteration),
               'annotation', original.payload,
               'annotator', jsonb_build_object('id', annotator.id, 'name', annotator.name, 'email', annotator.email),
               'review', review.payload,
               'reviewer', jsonb_build_object('id', reviewer.id, 'name', reviewer.name, 'email', reviewer.email)
           ) AS "document!"
           FROM rejections
           JOIN tasks ON tasks.id = task_id
           JOIN annotations AS original ON original.id = original_annotation_id
           JOIN annotations AS review ON review.id = annotation_id
           JOIN annotators AS annotator ON annotator.id = original_annotator_id
           JOIN annotators AS reviewer ON reviewer.id = reviewer_annotator_id
           WHERE rejections.id = $1"#,
        id.0
    )
    .fetch_one(db)
    .await
}

/// pending -> routed | escalated; false if the rejection changed since `version` was read. First in the transaction
/// that routes: whoever wants to take the rejection back waits for its end.
pub async fn set_routed(
    db: &mut PgConnection,
    id: RejectionId,
    version: DateTime<Utc>,
    status: RejectionStatus,
    action: RejectionMode,
    archive_key: Option<&str>,
    job: JobRef,
) -> sqlx::Result<bool> {
    let set = sqlx::query!(
        "UPDATE rejections
         SET status = $3, action_taken = $4, archive_key = $5, job_id = $6, routed_at = now(),
             updated_at = clock_timestamp()
         WHERE id = $1 AND status = 'pending' AND updated_at = $2",
        id.0,
        version,
        status.as_str(),
        action.as_str(),
        archive_key,
        job.0
    )
    .execute(db)
    .await?;
    Ok(set.rows_affected() == 1)
}

/// The rework that a rejection calls for, once: it goes on with the rejected annotation and, where the reviewing
/// workflow wants it so, waits for whoever made that.
pub async fn make_rework(db: &mut PgConnection, id: RejectionId, target: WorkflowId) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO tasks
             (workflow_id, origin, image_key, size_bytes, source_task_id, source_annotation_id, rejection_id, iteration,
              reserved_for)
         SELECT $2, 'rework', rejections.image_key, size_bytes, task_id, original_annotation_id, rejections.id,
                rejections.iteration, CASE WHEN rejection_return_to_original THEN original_annotator_id END
         FROM rejections
         JOIN tasks ON tasks.id = task_id
         JOIN workflows ON workflows.id = rejections.workflow_id
         WHERE rejections.id = $1
         ON CONFLICT (rejection_id) WHERE rejection_id IS NOT NULL DO UPDATE
         SET status = 'available', workflow_id = excluded.workflow_id, reserved_for = excluded.reserved_for,
             updated_at = now()
         WHERE tasks.status = 'withdrawn'",
        id.0,
        target.0
    )
    .execute(db)
    .await?;
    Ok(())
}

/// completed -> escalated, for the task whose work was rejected.
pub async fn escalate(db: &mut PgConnection, id: RejectionId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE tasks SET status = 'escalated', updated_at = now()
         WHERE id = (SELECT task_id FROM rejections WHERE id = $1) AND status = 'completed'",
        id.0
    )
    .execute(db)
    .await?;
    Ok(())
}
