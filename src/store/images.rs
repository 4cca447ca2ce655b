//! From the opaque part of an image URL to the image.

use sqlx::PgConnection;
use uuid::Uuid;

/// The S3 key behind a token, of a task or a gold task alike; none for a token that never was or is released.
pub async fn key(db: &mut PgConnection, token: Uuid) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"SELECT COALESCE(tasks.image_key, gold_tasks.s3_image_key) AS "key!"
           FROM assignment_tasks
           LEFT JOIN tasks ON tasks.id = task_id
           LEFT JOIN gold_tasks ON gold_tasks.id = gold_task_id
           WHERE token = $1 AND state <> 'released'"#,
        token
    )
    .fetch_optional(db)
    .await
}
