//! How far the listing of a workflow's S3 source has come.

use sqlx::PgConnection;

use crate::domain::WorkflowId;

#[derive(Debug)]
pub struct Source {
    pub prefix: String,
    /// The last key of the listing under way; none between two listings.
    pub cursor: Option<String>,
}

/// None for a workflow that goes on with the work of another: its tasks come from there.
pub async fn get(db: &mut PgConnection, workflow: WorkflowId) -> sqlx::Result<Option<Source>> {
    sqlx::query_as!(
        Source,
        "SELECT s3_source_path AS prefix, sync_cursor AS cursor FROM workflows
         WHERE id = $1 AND previous_workflow_id IS NULL",
        workflow.0
    )
    .fetch_optional(db)
    .await
}

/// Moves the cursor, unless the prefix was changed meanwhile; false then.
pub async fn advance(
    db: &mut PgConnection,
    workflow: WorkflowId,
    prefix: &str,
    last_key: &str,
) -> sqlx::Result<bool> {
    let moved = sqlx::query!(
        "UPDATE workflows SET sync_cursor = $3
         WHERE id = $1 AND s3_source_path = $2 AND previous_workflow_id IS NULL",
        workflow.0,
        prefix,
        last_key
    )
    .execute(db)
    .await?;
    Ok(moved.rows_affected() == 1)
}

pub async fn finish(db: &mut PgConnection, workflow: WorkflowId, prefix: &str) -> sqlx::Result<bool> {
    let finished = sqlx::query!(
        "UPDATE workflows SET sync_cursor = NULL, synced_at = now()
         WHERE id = $1 AND s3_source_path = $2 AND previous_workflow_id IS NULL",
        workflow.0,
        prefix
    )
    .execute(db)
    .await?;
    Ok(finished.rows_affected() == 1)
}
