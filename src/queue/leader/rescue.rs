//! Takes over what dead workers left behind.
//!
//! A lost run counts against the attempts, so that a job that kills its worker ends in the dead set and not in a
//! loop. A worker that only seemed dead finds its fence refused.

use crate::queue::{client::Client, dispatch::DueJob, job::JobId};

use super::relay;

pub(super) async fn rescue(client: &Client) -> sqlx::Result<()> {
    let rescued = sqlx::query!(
        r#"WITH lost AS MATERIALIZED (
               SELECT id, worker_id FROM jobs
               WHERE id IN (SELECT unnest(ids) FROM job_claims AS claim
                            WHERE NOT EXISTS (SELECT FROM workers WHERE id = claim.worker_id AND lease_until > now()))
                 AND state = 'running'
                 AND NOT EXISTS (SELECT FROM workers WHERE workers.id = jobs.worker_id AND lease_until > now())
               ORDER BY id
               LIMIT 5000
               FOR UPDATE SKIP LOCKED
           ), rescued AS (
               UPDATE jobs
               SET state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                                WHEN attempt < max_attempts THEN 'available' ELSE 'discarded' END,
                   finalized_at = CASE WHEN cancel_requested_at IS NULL AND attempt < max_attempts THEN NULL
                                       ELSE now() END,
                   worker_id = NULL, running_key = NULL,
                   dispatched_at = CASE WHEN cancel_requested_at IS NULL AND attempt < max_attempts THEN now() END
               FROM lost WHERE jobs.id = lost.id
               RETURNING jobs.id, queue, priority, flow, kind, attempt, attempted_at, jobs.state, lost.worker_id
           ), recorded AS (
               INSERT INTO job_attempts (job_id, attempt, worker_id, started_at, outcome, error)
               SELECT id, attempt, worker_id, attempted_at, 'lost', 'the worker was lost' FROM rescued
           )
           SELECT id AS "id: JobId", queue, priority, flow, kind, attempt, worker_id, state FROM rescued"#
    )
    .fetch_all(client.pool())
    .await?;
    for job in rescued.iter() {
        let (id, kind, attempt, worker) = (job.id.0, &job.kind, job.attempt, job.worker_id);
        match job.state.as_str() {
            "available" => {
                tracing::warn!(job = id, kind, attempt, ?worker, "the worker was lost: the job runs again")
            }
            "cancelled" => {
                tracing::info!(job = id, kind, attempt, ?worker, "job cancelled: its worker was lost")
            }
            _ => tracing::error!(job = id, kind, attempt, ?worker, "job discarded: its workers were lost"),
        }
    }
    metrics::counter!("jobs_rescued_total").increment(rescued.len() as u64);
    let due = rescued.into_iter().filter(|job| job.state == "available");
    relay::send(
        client,
        due.map(|job| DueJob {
            id: job.id,
            queue: job.queue,
            priority: job.priority,
            flow: job.flow,
            kind: job.kind,
        }),
    );
    sqlx::query!(
        "DELETE FROM job_claims AS claim
         WHERE NOT EXISTS (SELECT FROM workers WHERE id = claim.worker_id AND lease_until > now())
           AND NOT EXISTS (SELECT FROM jobs WHERE id = ANY (claim.ids) AND state = 'running' AND worker_id = claim.worker_id)"
    )
    .execute(client.pool())
    .await?;
    // One that comes back registers again.
    sqlx::query!(
        "DELETE FROM workers WHERE lease_until < now() - interval '1 minute'
           AND NOT EXISTS (SELECT FROM job_claims WHERE worker_id = workers.id)"
    )
    .execute(client.pool())
    .await?;
    Ok(())
}
