//! Who runs jobs now.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::time;

/// A worker that runs, or whose lease ran out a short while ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerView {
    pub id: Uuid,
    pub name: String,
    pub queues: Vec<String>,
    #[serde(serialize_with = "time::millis")]
    pub started_at: DateTime<Utc>,
    #[serde(serialize_with = "time::millis")]
    pub heartbeat_at: DateTime<Utc>,
    /// If it shows no life until then, others take over its jobs.
    #[serde(serialize_with = "time::millis")]
    pub lease_until: DateTime<Utc>,
    /// Whether its lease holds.
    pub is_alive: bool,
    pub running_jobs: i64,
}

/// The oldest first.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<WorkerView>> {
    sqlx::query_as!(
        WorkerView,
        r#"SELECT id, name, queues, started_at, heartbeat_at, lease_until, lease_until > now() AS "is_alive!",
                  (SELECT count(*) FROM jobs
                   WHERE id IN (SELECT unnest(ids) FROM job_claims WHERE worker_id = workers.id)
                     AND state = 'running' AND worker_id = workers.id) AS "running_jobs!"
           FROM workers ORDER BY started_at, id"#
    )
    .fetch_all(pool)
    .await
}

/// How many living workers take from each queue.
pub(super) async fn by_queue(pool: &PgPool) -> sqlx::Result<HashMap<String, i64>> {
    let rows = sqlx::query!(
        r#"SELECT queue AS "queue!", count(*) AS "count!" FROM workers CROSS JOIN unnest(queues) AS queue
           WHERE lease_until > now() GROUP BY queue"#
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.queue, row.count)).collect())
}
