//! Concurrency keys: which jobs may start now.
//!
//! The count of running jobs is the table's own, so nothing has to be counted down after a crash. Whoever starts jobs of
//! a key holds the key's advisory lock while it counts and claims (`worker::claim`).

use sqlx::PgPool;

use super::{dispatch::DueJob, job::JobId};

/// Due jobs of a queue: of each key as many of its first as the limit leaves room for. Only of `keys`, if given.
pub(super) async fn startable(
    pool: &PgPool,
    queue: &str,
    keys: Option<&[String]>,
) -> sqlx::Result<Vec<DueJob>> {
    sqlx::query_as!(
        DueJob,
        // From key to key by the index, however many jobs wait behind each.
        r#"WITH RECURSIVE waiting AS (
               (SELECT concurrency_key AS key FROM jobs
                WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NOT NULL AND queue = $1
                ORDER BY concurrency_key LIMIT 1)
               UNION ALL
               SELECT (SELECT concurrency_key FROM jobs
                       WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NOT NULL AND queue = $1
                         AND concurrency_key > waiting.key
                       ORDER BY concurrency_key LIMIT 1)
               FROM waiting WHERE waiting.key IS NOT NULL
           ), wanted AS (
               SELECT key FROM waiting WHERE $2::text[] IS NULL AND key IS NOT NULL
               UNION ALL SELECT unnest($2::text[])
           )
           SELECT first.id AS "id!: JobId", $1 AS "queue!", priority AS "priority!", flow, kind AS "kind!" FROM wanted
           CROSS JOIN LATERAL (
               SELECT *, row_number() OVER (ORDER BY priority, id) AS place FROM (
                   SELECT id, priority, flow, kind, concurrency_limit FROM jobs
                   WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key = key AND queue = $1
                     AND state = 'available'
                   ORDER BY priority, id LIMIT 1000) AS oldest
           ) AS first
           CROSS JOIN LATERAL (
               SELECT count(*) AS count FROM jobs WHERE running_key = key
           ) AS running
           WHERE place <= concurrency_limit - running.count"#,
        queue,
        keys,
    )
    .fetch_all(pool)
    .await
}
