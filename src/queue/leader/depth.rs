//! How many jobs wait and for how long, for the metrics: one measure for all workers.

use metrics::gauge;
use sqlx::PgPool;

use crate::queue::admin::queues;

/// A queue that workers take from tells of each state, so that its gauges fall to zero.
pub(super) async fn measure(pool: &PgPool) -> sqlx::Result<()> {
    for (queue, depth) in queues::depths(pool).await? {
        let open = [
            ("scheduled", depth.scheduled),
            ("available", depth.available),
            ("running", depth.running),
            ("retryable", depth.retryable),
        ];
        for (state, count) in open {
            gauge!("jobs_waiting", "queue" => queue.clone(), "state" => state).set(count as f64);
        }
        gauge!("jobs_dead", "queue" => queue).set(depth.discarded as f64);
    }
    for due in queues::oldest_due(pool).await? {
        gauge!("jobs_oldest_seconds", "queue" => due.queue).set(due.seconds.unwrap_or_default());
    }
    Ok(())
}
