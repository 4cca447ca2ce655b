//! How many jobs wait and for how long, for the metrics: one measure for all workers.

use metrics::gauge;
use sqlx::PgPool;

use crate::queue::admin::queues;

/// A queue without such jobs reports none, so that its gauge falls to zero.
pub(super) async fn measure(pool: &PgPool) -> sqlx::Result<()> {
    let depths = sqlx::query!(
        r#"WITH counted AS (
               -- Each part has an index that holds just these rows.
               SELECT queue, state, count(*) FROM jobs
               WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NULL AND state = 'available' GROUP BY queue, state
               UNION ALL
               SELECT queue, state, count(*) FROM jobs
               WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NOT NULL AND state = 'available' GROUP BY queue, state
               UNION ALL
               SELECT queue, state, count(*) FROM jobs
               WHERE id IN (SELECT unnest(ids) FROM job_claims) AND state = 'running' GROUP BY queue, state
               UNION ALL
               SELECT queue, state, count(*) FROM jobs WHERE dispatched_at IS NULL AND finalized_at IS NULL
               GROUP BY queue, state
           )
           SELECT queue AS "queue!", state AS "state!", coalesce(sum(count), 0)::bigint AS "count!"
           FROM (SELECT DISTINCT unnest(queues) AS queue FROM workers) AS known
           CROSS JOIN unnest(ARRAY ['scheduled', 'available', 'running', 'retryable']) AS open (state)
           LEFT JOIN counted USING (queue, state)
           GROUP BY queue, state"#
    )
    .fetch_all(pool)
    .await?;
    for depth in depths {
        gauge!("jobs_waiting", "queue" => depth.queue, "state" => depth.state).set(depth.count as f64);
    }
    for due in queues::oldest_due(pool).await? {
        gauge!("jobs_oldest_seconds", "queue" => due.queue).set(due.seconds.unwrap_or_default());
    }
    Ok(())
}
