//! A batch at a glance: how far its jobs are, and who waits for it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::view::Until;
use crate::{
    domain::time,
    queue::{batches::BatchId, job::JobId},
};

/// Of those that wait for a batch, so many are named.
const NAMED: i64 = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchView {
    #[schema(value_type = i64)]
    pub id: BatchId,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    #[schema(inline)]
    pub jobs: BatchJobs,
    /// The oldest first, a hundred at most.
    pub waiting: Vec<WaitingJob>,
}

/// How many jobs of a batch are in each state. Those that were removed after their end are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchJobs {
    pub scheduled: i64,
    pub available: i64,
    pub running: i64,
    pub retryable: i64,
    pub completed: i64,
    pub cancelled: i64,
    pub discarded: i64,
}

/// A job that waits for a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WaitingJob {
    #[schema(value_type = i64)]
    pub id: JobId,
    pub kind: String,
    #[schema(inline)]
    pub until: Until,
}

/// None: there is no such batch, or it was removed after its end.
pub async fn get(pool: &PgPool, id: BatchId) -> sqlx::Result<Option<BatchView>> {
    let created_at = sqlx::query_scalar!("SELECT created_at FROM job_batches WHERE id = $1", id as BatchId)
        .fetch_optional(pool)
        .await?;
    let Some(created_at) = created_at else { return Ok(None) };
    let jobs = sqlx::query_as!(
        BatchJobs,
        r#"SELECT count(*) FILTER (WHERE state = 'scheduled') AS "scheduled!",
                  count(*) FILTER (WHERE state = 'available') AS "available!",
                  count(*) FILTER (WHERE state = 'running') AS "running!",
                  count(*) FILTER (WHERE state = 'retryable') AS "retryable!",
                  count(*) FILTER (WHERE state = 'completed') AS "completed!",
                  count(*) FILTER (WHERE state = 'cancelled') AS "cancelled!",
                  count(*) FILTER (WHERE state = 'discarded') AS "discarded!"
           FROM jobs WHERE batch_id = $1"#,
        id as BatchId,
    )
    .fetch_one(pool)
    .await?;
    let waiting = sqlx::query_as!(
        WaitingJob,
        r#"SELECT id AS "id: JobId", kind, until AS "until: Until" FROM job_waits JOIN jobs ON jobs.id = job_id
           WHERE on_batch = $1 AND state = 'scheduled' ORDER BY id LIMIT $2"#,
        id as BatchId,
        NAMED,
    )
    .fetch_all(pool)
    .await?;
    Ok(Some(BatchView { id, created_at, jobs, waiting }))
}
