//! Removes what nobody will ask for again, a little at a time.

use sqlx::PgPool;

use crate::queue::holds;

/// Rows removed in one statement: short enough to hold up nobody.
const BATCH: i64 = 2_000;

/// Finished jobs are kept for a day, the dead set for a month, ticks of schedules for a day.
pub(super) async fn remove(pool: &PgPool) -> sqlx::Result<()> {
    loop {
        let removed = sqlx::query!(
            "DELETE FROM jobs WHERE id IN (
                 (SELECT id FROM jobs
                  WHERE dispatched_at IS NOT NULL AND finalized_at < now() - interval '1 day' LIMIT $1)
                 UNION ALL
                 (SELECT id FROM jobs
                  WHERE dispatched_at IS NULL AND state = 'cancelled' AND finalized_at < now() - interval '1 day' LIMIT $1)
                 UNION ALL
                 (SELECT id FROM jobs
                  WHERE dispatched_at IS NULL AND state = 'discarded' AND finalized_at < now() - interval '30 days' LIMIT $1))",
            BATCH
        )
        .execute(pool)
        .await?
        .rows_affected();
        if removed < BATCH.unsigned_abs() {
            break;
        }
    }
    sqlx::query!("DELETE FROM schedule_ticks WHERE fired_at < now() - interval '1 day'")
        .execute(pool)
        .await?;
    while holds::remove(pool).await? {}
    Ok(())
}
