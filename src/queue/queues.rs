//! Pausing: from a paused queue no worker takes jobs. What runs goes on, what is enqueued waits. It is said in
//! Postgres, so it outlives workers; each of them looks twice a second (`worker::control`).

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;

/// A queue that is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    pub queue: String,
    pub paused_at: DateTime<Utc>,
    /// Who paused it, in the operator's words.
    pub paused_by: Option<String>,
}

/// Workers take no more jobs from the queue, within a second. Of a queue that is paused already, the first to have said so
/// stays on record.
pub async fn pause(pool: &PgPool, queue: &str, by: &str) -> sqlx::Result<Paused> {
    sqlx::query_as!(
        Paused,
        r#"INSERT INTO queues (name, paused_at, paused_by) VALUES ($1, now(), $2)
           ON CONFLICT (name) DO UPDATE SET
               paused_by = CASE WHEN queues.paused_at IS NULL THEN excluded.paused_by ELSE queues.paused_by END,
               paused_at = coalesce(queues.paused_at, excluded.paused_at)
           RETURNING name AS queue, paused_at AS "paused_at!", paused_by"#,
        queue,
        by,
    )
    .fetch_one(pool)
    .await
}

/// Workers take jobs from the queue again, within a second. False: it was not paused.
pub async fn resume(pool: &PgPool, queue: &str) -> sqlx::Result<bool> {
    let resumed = sqlx::query!(
        "UPDATE queues SET paused_at = NULL, paused_by = NULL WHERE name = $1 AND paused_at IS NOT NULL",
        queue
    )
    .execute(pool)
    .await?;
    Ok(resumed.rows_affected() > 0)
}

/// By name.
pub async fn paused(pool: &PgPool) -> sqlx::Result<Vec<Paused>> {
    sqlx::query_as!(
        Paused,
        r#"SELECT name AS queue, paused_at AS "paused_at!", paused_by FROM queues
           WHERE paused_at IS NOT NULL ORDER BY name"#
    )
    .fetch_all(pool)
    .await
}
