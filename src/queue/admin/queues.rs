//! The queues at a glance. Counted is what indexes hold alone: of jobs that went well, of which there may be millions,
//! only the newest are looked at.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::workers;
use crate::{domain::time, queue::queues as control};

/// How many jobs a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Depth {
    pub scheduled: i64,
    pub available: i64,
    pub running: i64,
    pub retryable: i64,
    /// The dead set.
    pub discarded: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    pub name: String,
    pub depth: Depth,
    /// Living workers that take from it.
    pub workers: i64,
    /// For how long the first due job of the level that waits longest has been due; null: none is due.
    pub oldest_due_seconds: Option<f64>,
    /// Since when workers take nothing from it; null: they do.
    #[serde(serialize_with = "time::optional_millis")]
    pub paused_at: Option<DateTime<Utc>>,
    pub paused_by: Option<String>,
    /// In the last minute, or in the shorter time in which the fleet completed its last 20,000 jobs.
    pub completed_per_second: f64,
    /// Of those; null: none.
    pub mean_run_seconds: Option<f64>,
    /// From being due to the start of the run that completed it.
    pub mean_wait_seconds: Option<f64>,
}

/// By name: those that workers take from, that were paused, or that hold jobs.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<Queue>> {
    let mut depths = depths(pool).await?;
    let mut pace_of = HashMap::new();
    for pace in paces(pool).await? {
        depths.entry(pace.queue.clone()).or_default();
        pace_of.insert(pace.queue.clone(), pace);
    }
    let mut oldest: HashMap<_, _> =
        oldest_due(pool).await?.into_iter().map(|due| (due.queue, due.seconds)).collect();
    let mut paused: HashMap<_, _> =
        control::paused(pool).await?.into_iter().map(|paused| (paused.queue.clone(), paused)).collect();
    let mut workers = workers::by_queue(pool).await?;
    let queues = depths.into_iter().map(|(name, depth)| {
        let (pace, paused) = (pace_of.remove(&name), paused.remove(&name));
        Queue {
            depth,
            workers: workers.remove(&name).unwrap_or_default(),
            oldest_due_seconds: oldest.remove(&name).flatten(),
            paused_at: paused.as_ref().map(|paused| paused.paused_at),
            paused_by: paused.and_then(|paused| paused.paused_by),
            completed_per_second: pace.as_ref().map_or(0.0, |pace| pace.per_second),
            mean_run_seconds: pace.as_ref().and_then(|pace| pace.run),
            mean_wait_seconds: pace.and_then(|pace| pace.wait),
            name,
        }
    });
    Ok(queues.collect())
}

/// Of each queue that workers take from, that was paused once, or that holds jobs which have not gone well.
pub(in crate::queue) async fn depths(pool: &PgPool) -> sqlx::Result<BTreeMap<String, Depth>> {
    let rows = sqlx::query!(
        r#"WITH counted AS (
               -- Each part has an index that holds just these rows.
               SELECT queue, state, count(*) FROM jobs
               WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NULL AND state = 'available'
               GROUP BY queue, state
               UNION ALL
               SELECT queue, state, count(*) FROM jobs
               WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NOT NULL AND state = 'available'
               GROUP BY queue, state
               UNION ALL
               SELECT queue, state, count(*) FROM jobs
               WHERE id IN (SELECT unnest(ids) FROM job_claims) AND state = 'running' GROUP BY queue, state
               UNION ALL
               SELECT queue, state, count(*) FROM jobs
               WHERE dispatched_at IS NULL AND finalized_at IS NULL GROUP BY queue, state
               UNION ALL
               SELECT queue, state, count(*) FROM jobs
               WHERE dispatched_at IS NULL AND finalized_at IS NOT NULL AND state = 'discarded' GROUP BY queue, state
           ), names AS (
               SELECT unnest(queues) AS queue FROM workers
               UNION SELECT name FROM queues
               UNION SELECT queue FROM counted
           )
           SELECT queue AS "queue!",
                  coalesce(sum(count) FILTER (WHERE state = 'scheduled'), 0)::bigint AS "scheduled!",
                  coalesce(sum(count) FILTER (WHERE state = 'available'), 0)::bigint AS "available!",
                  coalesce(sum(count) FILTER (WHERE state = 'running'), 0)::bigint AS "running!",
                  coalesce(sum(count) FILTER (WHERE state = 'retryable'), 0)::bigint AS "retryable!",
                  coalesce(sum(count) FILTER (WHERE state = 'discarded'), 0)::bigint AS "discarded!"
           FROM names LEFT JOIN counted USING (queue) GROUP BY queue"#
    )
    .fetch_all(pool)
    .await?;
    let depths = rows.into_iter().map(|row| {
        let depth = Depth {
            scheduled: row.scheduled,
            available: row.available,
            running: row.running,
            retryable: row.retryable,
            discarded: row.discarded,
        };
        (row.queue, depth)
    });
    Ok(depths.collect())
}

/// How fast a queue goes.
struct Pace {
    queue: String,
    per_second: f64,
    /// Means, in seconds.
    run: Option<f64>,
    wait: Option<f64>,
}

/// Of those that completed jobs in the last minute; of many jobs the last 20,000.
async fn paces(pool: &PgPool) -> sqlx::Result<Vec<Pace>> {
    sqlx::query_as!(
        Pace,
        r#"WITH newest AS (
               SELECT queue, finalized_at, attempted_at, scheduled_at FROM jobs
               WHERE dispatched_at IS NOT NULL AND finalized_at > now() - interval '1 minute'
               ORDER BY finalized_at DESC LIMIT 20000
           ), span AS (
               SELECT CASE WHEN count(*) < 20000 THEN 60
                           ELSE greatest(extract(epoch FROM now() - min(finalized_at)), 0.001) END AS seconds
               FROM newest
           )
           SELECT queue, (count(*) / max(span.seconds))::float8 AS "per_second!",
                  avg(extract(epoch FROM finalized_at - attempted_at))::float8 AS run,
                  avg(greatest(extract(epoch FROM attempted_at - scheduled_at), 0))::float8 AS wait
           FROM newest CROSS JOIN span GROUP BY queue"#
    )
    .fetch_all(pool)
    .await
}

/// For how long jobs of a queue have been due.
pub(in crate::queue) struct OldestDue {
    pub queue: String,
    /// None: none is due.
    pub seconds: Option<f64>,
}

/// Of each queue that workers take from or that holds due jobs. Jobs of a level start in the order of their ids, so the
/// first of each is looked at, which the index of due jobs has at its ends, and not all that wait; of those with a
/// concurrency key a thousand.
pub(in crate::queue) async fn oldest_due(pool: &PgPool) -> sqlx::Result<Vec<OldestDue>> {
    sqlx::query_as!(
        OldestDue,
        r#"WITH RECURSIVE due AS (
               -- The next queue after the last, by the index.
               (SELECT queue FROM jobs WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NULL
                ORDER BY queue LIMIT 1)
               UNION ALL
               SELECT (SELECT queue FROM jobs WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL
                         AND concurrency_key IS NULL AND queue > due.queue ORDER BY queue LIMIT 1)
               FROM due WHERE due.queue IS NOT NULL
           ), keyed AS (
               (SELECT queue FROM jobs WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NOT NULL
                ORDER BY queue LIMIT 1)
               UNION ALL
               SELECT (SELECT queue FROM jobs WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL
                         AND concurrency_key IS NOT NULL AND queue > keyed.queue ORDER BY queue LIMIT 1)
               FROM keyed WHERE keyed.queue IS NOT NULL
           ), names AS (
               SELECT unnest(queues) AS queue FROM workers
               UNION SELECT queue FROM due WHERE queue IS NOT NULL
               UNION SELECT queue FROM keyed WHERE queue IS NOT NULL
           )
           SELECT queue AS "queue!",
                  (SELECT extract(epoch FROM now() - min(least(first.scheduled_at, now())))::float8 FROM (
                       SELECT head.scheduled_at FROM generate_series(0, 3) AS level
                       CROSS JOIN LATERAL (
                           SELECT scheduled_at FROM jobs
                           WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NULL
                             AND queue = names.queue AND priority >= level AND state = 'available'
                           -- So ordered, the index of due jobs is the way in, also to a level that has none.
                           ORDER BY priority, id LIMIT 1) AS head
                       UNION ALL
                       (SELECT scheduled_at FROM jobs
                        WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NOT NULL
                          AND queue = names.queue AND state = 'available'
                        ORDER BY concurrency_key, priority, id LIMIT 1000)
                   ) AS first) AS seconds
           FROM names"#
    )
    .fetch_all(pool)
    .await
}

/// The queue of this name. None: nobody knows it; a name that was misspelled should not seem to be paused.
pub async fn get(pool: &PgPool, name: &str) -> sqlx::Result<Option<Queue>> {
    Ok(list(pool).await?.into_iter().find(|queue| queue.name == name))
}
