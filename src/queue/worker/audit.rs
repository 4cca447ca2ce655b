//! Finds jobs that Postgres has given to this worker and the worker never heard of, because the answer to the
//! claim was lost, and hands them back. Without it they would stay `running` as long as the worker lives.
//!
//! It also removes the notes of claims (`job_claims`) whose jobs have all ended.

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::slots::Held;
use crate::queue::{durations, job::JobId};

const EVERY: Duration = Duration::from_secs(2);

pub(super) struct Audit {
    pub pool: PgPool,
    pub worker: Uuid,
    pub held: Arc<Held>,
}

impl Audit {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.release_unheard().await {
                Ok(0) => {}
                Ok(released) => tracing::warn!(released, "jobs whose claim was never answered are released"),
                // Whoever works on jobs says so too.
                Err(error) => tracing::debug!(%error, "the audit could not look into Postgres"),
            }
            if let Err(error) = forget_ended(&self.pool, self.worker, EVERY * 5).await {
                tracing::debug!(%error, "the notes of ended claims can't be removed now");
            }
        }
    }

    async fn release_unheard(&self) -> sqlx::Result<usize> {
        // An answer that comes later than this finds its job released, and the fence refuses the run's end.
        let running = sqlx::query!(
            r#"SELECT id AS "id: JobId", attempt FROM jobs
               WHERE id IN (SELECT unnest(ids) FROM job_claims
                            WHERE worker_id = $1 AND claimed_at < now() - interval '3 seconds')
                 AND state = 'running' AND worker_id = $1 AND attempted_at < now() - interval '3 seconds'"#,
            self.worker
        )
        .fetch_all(&self.pool)
        .await?;
        let mut released = 0;
        for job in running {
            if !self.held.contains(job.id, job.attempt) {
                released += release(&self.pool, self.worker, Some((job.id, job.attempt))).await?;
            }
        }
        Ok(released)
    }
}

/// Hands back one run of the worker, or all of them, at no attempt's cost.
pub(super) async fn release(pool: &PgPool, worker: Uuid, run: Option<(JobId, i32)>) -> sqlx::Result<usize> {
    let (id, attempt) = run.unzip();
    let done = sqlx::query!(
        "WITH released AS (
             UPDATE jobs SET state = CASE WHEN cancel_requested_at IS NULL THEN 'available' ELSE 'cancelled' END,
                             finalized_at = CASE WHEN cancel_requested_at IS NOT NULL THEN now() END,
                             dispatched_at = CASE WHEN cancel_requested_at IS NULL THEN dispatched_at END,
                             worker_id = NULL, running_key = NULL, max_attempts = max_attempts + 1
             WHERE id IN (SELECT unnest(ids) FROM job_claims WHERE worker_id = $1)
               AND state = 'running' AND worker_id = $1 AND ($2::bigint IS NULL OR (id = $2 AND attempt = $3))
             RETURNING id, attempt, attempted_at,
                       CASE state WHEN 'cancelled' THEN 'cancelled' ELSE 'released' END AS outcome
         )
         INSERT INTO job_attempts (job_id, attempt, worker_id, started_at, outcome)
         SELECT id, attempt, $1, attempted_at, outcome FROM released",
        worker,
        id as Option<JobId>,
        attempt,
    )
    .execute(pool)
    .await?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

/// Removes the notes of the worker's claims of at least this age of which no job runs any more. Most are removed before
/// that (`slots::Note`).
pub(super) async fn forget_ended(pool: &PgPool, worker: Uuid, age: Duration) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM job_claims AS claim
         WHERE worker_id = $1 AND claimed_at <= now() - $2::interval
           AND NOT EXISTS (SELECT FROM jobs WHERE id = ANY (claim.ids) AND state = 'running' AND worker_id = $1)",
        worker,
        durations::interval(age),
    )
    .execute(pool)
    .await?;
    Ok(())
}
