//! What an export is written from.

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use crate::domain::AssignmentId;

#[derive(Debug)]
pub struct Target {
    pub s3_export_path: String,
    /// Changes whenever something of the assignment does.
    pub version: DateTime<Utc>,
}

/// Where an assignment's export goes; none unless it is completed.
pub async fn target(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Option<Target>> {
    sqlx::query_as!(
        Target,
        "SELECT s3_export_path, assignments.updated_at AS version
         FROM assignments JOIN workflows ON workflows.id = workflow_id
         WHERE assignments.id = $1 AND status = 'completed'",
        id.0
    )
    .fetch_optional(db)
    .await
}

/// One task of the deliverable with its standing annotations, as Label Studio gave them.
#[derive(Debug)]
pub struct Row {
    pub task_uid: uuid::Uuid,
    pub image_key: String,
    pub ls_task_id: Option<i64>,
    pub ls_project_id: Option<i64>,
    pub annotations: Value,
}

/// In the batch's order, gold left out: it is not the customer's.
pub fn rows(pool: &PgPool, id: AssignmentId) -> BoxStream<'_, sqlx::Result<Row>> {
    sqlx::query_as!(
        Row,
        r#"SELECT tasks.uid AS task_uid, tasks.image_key, ls_task_id, ls_project_id,
                  COALESCE((SELECT jsonb_agg(payload ORDER BY ls_annotation_id) FROM annotations
                            WHERE assignment_task_id = assignment_tasks.id AND deleted_at IS NULL),
                           '[]') AS "annotations!"
           FROM assignment_tasks
           JOIN assignments ON assignments.id = assignment_id
           JOIN tasks ON tasks.id = task_id
           WHERE assignment_id = $1 AND state <> 'released'
           ORDER BY position"#,
        id.0
    )
    .fetch(pool)
}
