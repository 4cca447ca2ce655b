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

/// Batches of which no job is left and for which nobody waits, a day after they were made. Those that stay are few: what is
/// left of them is open or of the dead set.
pub(super) async fn remove_batches(pool: &PgPool) -> sqlx::Result<()> {
    let mut looked_at = 0;
    loop {
        let last = sqlx::query_scalar!(
            r#"WITH looked_at AS (
                   SELECT id FROM job_batches WHERE id > $1 AND created_at < now() - interval '1 day'
                   ORDER BY id LIMIT $2
               ), gone AS (
                   DELETE FROM job_batches WHERE id IN (
                       SELECT id FROM job_batches AS batch
                       WHERE id IN (SELECT id FROM looked_at)
                         AND NOT EXISTS (SELECT FROM jobs WHERE batch_id = batch.id)
                         AND NOT EXISTS (SELECT FROM job_waits WHERE on_batch = batch.id)
                       -- Somebody who starts to wait for it just now keeps it.
                       FOR UPDATE SKIP LOCKED)
               )
               SELECT max(id) FROM looked_at"#,
            looked_at,
            BATCH
        )
        .fetch_one(pool)
        .await?;
        match last {
            Some(last) => looked_at = last,
            None => return Ok(()),
        }
    }
}
