//! Taking jobs in Postgres: one statement checks the state, raises the attempt and names the worker.
//!
//! Rows are locked in the order of their ids and locked ones are left out, so two workers never wait for each
//! other; an id that is stale, taken or delivered twice claims nothing. A worker without a lease claims nothing
//! either. Claims need not be durable: if a crash of Postgres undoes one, the job is due again.

use sqlx::PgPool;
use uuid::Uuid;

use super::super::job::JobId;

pub(super) struct Claim {
    pub id: JobId,
    pub kind: String,
    pub args: String,
    pub attempt: i32,
    pub max_attempts: i32,
    /// Seconds between the job being due and this claim.
    pub waited: f64,
}

/// What one worker claims for one queue.
pub(super) struct Claimer {
    pub pool: PgPool,
    pub worker: Uuid,
    pub queue: &'static str,
    /// Others are left to those who know them.
    pub kinds: Vec<String>,
}

impl Claimer {
    /// Those of `ids` that are due.
    pub async fn by_id(&self, ids: &[i64]) -> sqlx::Result<Vec<Claim>> {
        sqlx::query_as!(
            Claim,
            r#"WITH due AS MATERIALIZED (
                   SELECT id FROM jobs
                   -- So compared, the index of due jobs is no way in: each id is looked up by the primary key.
                   WHERE id = ANY ($1) AND state IS NOT DISTINCT FROM 'available'
                     AND queue = $2 AND kind = ANY ($3)
                     AND EXISTS (SELECT FROM workers WHERE workers.id = $4 AND lease_until > now())
                   ORDER BY id
                   FOR UPDATE SKIP LOCKED
               )
               UPDATE jobs SET state = 'running', attempt = attempt + 1, worker_id = $4, attempted_at = now()
               FROM due WHERE jobs.id = due.id
               RETURNING jobs.id AS "id: JobId", kind, args::text AS "args!", attempt, max_attempts,
                         greatest(0, extract(epoch FROM now() - scheduled_at))::float8 AS "waited!""#,
            ids,
            self.queue,
            &self.kinds,
            self.worker,
        )
        .fetch_all(&self.pool)
        .await
    }

    /// The oldest due ones, without Redis.
    pub async fn oldest(&self, limit: usize) -> sqlx::Result<Vec<Claim>> {
        sqlx::query_as!(
            Claim,
            r#"WITH due AS MATERIALIZED (
                   SELECT id FROM jobs
                   WHERE state = 'available' AND queue = $2 AND kind = ANY ($3)
                     AND EXISTS (SELECT FROM workers WHERE workers.id = $4 AND lease_until > now())
                   ORDER BY id
                   LIMIT $1
                   FOR UPDATE SKIP LOCKED
               )
               UPDATE jobs SET state = 'running', attempt = attempt + 1, worker_id = $4, attempted_at = now()
               FROM due WHERE jobs.id = due.id
               RETURNING jobs.id AS "id: JobId", kind, args::text AS "args!", attempt, max_attempts,
                         greatest(0, extract(epoch FROM now() - scheduled_at))::float8 AS "waited!""#,
            i64::try_from(limit).unwrap_or(i64::MAX),
            self.queue,
            &self.kinds,
            self.worker,
        )
        .fetch_all(&self.pool)
        .await
    }
}
