//! Unique keys that are held for a time from their job's enqueue on, also after it ended (`JobArgs::UNIQUE_FOR`).
//!
//! A key is a row of `job_holds`. Whoever enqueues locks it first, so of two at once one waits for the other's commit and
//! then finds the other's job; if the other rolls back, it goes on itself. While a job is open the key is held by the
//! index of open jobs besides, whatever the row says. The time is that of the database's clock.

use std::{collections::HashSet, time::Duration};

use sqlx::{PgConnection, PgPool};

use super::{durations::span, job::JobId};

/// Rows removed in one statement.
const BATCH: i64 = 1_000;

/// Locks the keys' rows. Returns the keys that nobody holds for a time.
pub(super) async fn take(
    db: &mut PgConnection,
    kind: &str,
    keys: &[String],
) -> sqlx::Result<HashSet<String>> {
    let free = sqlx::query_scalar!(
        // In one order, so that no two callers wait for each other. A row that is not updated is locked all the same.
        "INSERT INTO job_holds (kind, key)
         SELECT $1, key FROM (SELECT DISTINCT unnest($2::text[]) AS key) AS asked ORDER BY key
         ON CONFLICT (kind, key) DO UPDATE SET until = job_holds.until WHERE job_holds.until <= clock_timestamp()
         RETURNING key",
        kind,
        keys,
    )
    .fetch_all(db)
    .await?;
    Ok(free.into_iter().collect())
}

/// Whose enqueue took a key that is held.
pub(super) async fn holder(db: &mut PgConnection, kind: &str, key: &str) -> sqlx::Result<JobId> {
    sqlx::query_scalar!(
        r#"SELECT job_id AS "id!: JobId" FROM job_holds WHERE kind = $1 AND key = $2"#,
        kind,
        key,
    )
    .fetch_one(db)
    .await
}

/// Holds keys that were taken in this transaction for new jobs.
pub(super) async fn hold(
    db: &mut PgConnection,
    kind: &str,
    jobs: &[(JobId, &str)],
    time: Duration,
) -> sqlx::Result<()> {
    let (ids, keys): (Vec<JobId>, Vec<String>) =
        jobs.iter().map(|(id, key)| (*id, (*key).to_owned())).unzip();
    sqlx::query!(
        "UPDATE job_holds SET job_id = new.id, until = clock_timestamp() + $4
         FROM unnest($2::bigint[], $3::text[]) AS new (id, key)
         WHERE kind = $1 AND job_holds.key = new.key",
        kind,
        &ids as &[JobId],
        &keys,
        span(time),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes some of the rows that hold nothing any more. Returns whether there may be more.
pub(super) async fn remove(pool: &PgPool) -> sqlx::Result<bool> {
    let removed = sqlx::query!(
        "DELETE FROM job_holds WHERE (kind, key) IN (
             SELECT kind, key FROM job_holds WHERE until <= now() ORDER BY until LIMIT $1 FOR UPDATE SKIP LOCKED)",
        BATCH,
    )
    .execute(pool)
    .await?;
    Ok(removed.rows_affected() >= BATCH.unsigned_abs())
}
