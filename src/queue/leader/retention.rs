//! Removes what nobody will ask for again, a little at a time and beside the leader's other duties.
//!
//! Jobs are looked through by id from the oldest on, up to those that are too young to be over. That needs no index but
//! the primary key. In a table long in use an index of when jobs ended is slower (docs/QUEUE.md, "Retention"), and a summary
//! of blocks (BRIN) is of no use, since old and new rows share blocks once the room of removed ones is filled again.
//!
//! Each statement is short and leaves out what others hold, and a pause as long as itself follows. After all were looked
//! at, it rests for nine times what was looked at in vain, which is long where the dead set is large.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use sqlx::PgPool;
use tokio::time::sleep;

use crate::queue::{durations::span, holds};

/// Jobs looked at in one statement, and removed at most; as the statement has it, which is planned for so many.
const LOOKED_AT: i64 = 1_000;
/// Between looks through all, at least.
const EVERY: Duration = Duration::from_secs(10);
/// After an error.
const PAUSE: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long jobs are kept after their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub completed: Duration,
    pub cancelled: Duration,
    /// The dead set.
    pub discarded: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { completed: DAY, cancelled: DAY, discarded: 30 * DAY }
    }
}

/// Goes on until it is dropped.
pub(super) async fn run(pool: PgPool, keep: Retention) -> Infallible {
    loop {
        match remove_all(&pool, keep).await {
            Ok(in_vain) => sleep(EVERY.max(9 * in_vain)).await,
            Err(error) => {
                tracing::warn!(%error, "old jobs can't be removed now: it is tried again");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Returns for how long it looked at jobs of which none was over.
async fn remove_all(pool: &PgPool, keep: Retention) -> sqlx::Result<Duration> {
    let (mut after, mut in_vain) = (Some(i64::MIN), Duration::ZERO);
    while let Some(id) = after {
        let started = Instant::now();
        let look = remove_jobs(pool, keep, id).await?;
        let took = started.elapsed();
        in_vain += if look.removed == 0 { took } else { Duration::ZERO };
        after = look.next;
        sleep(took).await;
    }
    while holds::remove(pool).await? {
        sleep(EVERY / 1_000).await;
    }
    remove_batches(pool).await?;
    sqlx::query!("DELETE FROM schedule_ticks WHERE fired_at < now() - interval '1 day'")
        .execute(pool)
        .await?;
    Ok(in_vain)
}

struct Look {
    removed: i64,
    /// After which job the next look begins; none: those that follow are too young.
    next: Option<i64>,
}

/// Looks at the next jobs by id and removes those whose time is over.
async fn remove_jobs(pool: &PgPool, keep: Retention, after: i64) -> sqlx::Result<Look> {
    let shortest = keep.completed.min(keep.cancelled).min(keep.discarded);
    let looked = sqlx::query!(
        r#"WITH looked_at AS MATERIALIZED (
               SELECT id, state, created_at, finalized_at,
                      finalized_at < now() - CASE state WHEN 'completed' THEN $2::interval
                                                        WHEN 'cancelled' THEN $3::interval
                                                        ELSE $4::interval END AS is_over
               FROM jobs WHERE id > $1 ORDER BY id LIMIT 1000
           ), over AS MATERIALIZED (
               -- As they were seen: one that an operator has just retried stays.
               SELECT jobs.id FROM jobs JOIN looked_at USING (id, state, finalized_at)
               WHERE is_over
                 -- Who waits for its end hears of it first.
                 AND NOT EXISTS (SELECT FROM job_waits WHERE on_job = jobs.id AND state = 'completed')
                 AND NOT EXISTS (SELECT FROM job_waits
                                 WHERE on_batch = jobs.batch_id AND until = 'failed' AND state <> 'completed')
                 AND NOT EXISTS (SELECT FROM job_batch_others AS others JOIN job_waits ON on_batch = others.batch_id
                                 WHERE others.job_id = jobs.id AND until = 'failed' AND state <> 'completed')
               ORDER BY jobs.id FOR UPDATE OF jobs SKIP LOCKED
           ), removed AS (
               DELETE FROM jobs WHERE id IN (SELECT id FROM over) RETURNING id
           )
           SELECT max(id) AS last, count(*) AS "count!", (SELECT count(*) FROM removed) AS "removed!",
                  coalesce(bool_or(created_at < now() - $5::interval), false) AS "is_old!"
           FROM looked_at"#,
        after,
        span(keep.completed),
        span(keep.cancelled),
        span(keep.discarded),
        span(shortest),
    )
    .fetch_one(pool)
    .await?;
    let next = looked.last.filter(|_| looked.is_old && looked.count == LOOKED_AT);
    Ok(Look { removed: looked.removed, next })
}

/// Batches of which no job is left and for which nobody waits, a day after they were made. Those that stay are few: what is
/// left of them is open or of the dead set.
async fn remove_batches(pool: &PgPool) -> sqlx::Result<()> {
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
            LOOKED_AT,
        )
        .fetch_one(pool)
        .await?;
        match last {
            Some(last) => looked_at = last,
            None => return Ok(()),
        }
    }
}
