//! Makes jobs due by time, and sends ids to Redis that it lost or never got.

use std::{collections::BTreeMap, time::Duration};

use redis::aio::MultiplexedConnection;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::queue::{
    client::Client,
    dispatch::{self, DueJob, connect, lanes},
    durations::interval,
    job::JobId,
    keyed,
    limits::{Lane, Priority},
    turns::{self, Push},
};

/// Jobs made due in one statement, at most.
const PROMOTE: i64 = 5_000;
/// Of a queue's due jobs, how many of the oldest are looked at.
const LOOK: i64 = 5_000;
/// A list with fewer ids than this may have lost some.
const LOW: usize = 500;
/// With a low list: an id that was sent this long ago and whose job still waits is lost.
const LOST: Duration = Duration::from_secs(2);
/// With a long list: the id may well be in it, so only very old ones are sent again, and few.
const LOST_BEHIND_OTHERS: Duration = Duration::from_secs(60);
const FEW: i64 = 200;
/// How long Redis may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long Redis is left alone after a failure.
const PAUSE: Duration = Duration::from_secs(2);

/// Makes what is due available, and sends the ids.
pub(super) async fn promote(client: &Client) -> sqlx::Result<()> {
    loop {
        let due = sqlx::query_as!(
            DueJob,
            r#"WITH due AS MATERIALIZED (
                   SELECT id FROM jobs
                   WHERE dispatched_at IS NULL AND finalized_at IS NULL AND scheduled_at <= now()
                   ORDER BY scheduled_at
                   LIMIT $1
                   FOR UPDATE SKIP LOCKED
               )
               UPDATE jobs SET state = 'available', dispatched_at = now()
               FROM due WHERE jobs.id = due.id
               RETURNING jobs.id AS "id: JobId", queue, priority, flow, kind"#,
            PROMOTE
        )
        .fetch_all(client.pool())
        .await?;
        let is_all = due.len() < usize::try_from(PROMOTE).unwrap_or(usize::MAX);
        send(client, due);
        if is_all {
            return Ok(());
        }
    }
}

/// Through the client's dispatcher.
pub(super) fn send(client: &Client, jobs: impl IntoIterator<Item = DueJob>) {
    for (lane, ids) in lanes(jobs) {
        client.dispatch(lane, ids);
    }
}

/// Compares the lists with the due jobs.
pub(super) struct Relay {
    redis: redis::Client,
    prefix: String,
    push: Push,
    connection: Option<MultiplexedConnection>,
    retry_at: Option<Instant>,
}

impl Relay {
    pub fn new(redis: redis::Client, prefix: String) -> Self {
        Self { redis, prefix, push: Push::default(), connection: None, retry_at: None }
    }

    /// Sends lost ids again. While Redis is away workers need none.
    pub async fn resend(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        // Whatever the queues of the kinds that this leader knows: those of all workers.
        let queues = sqlx::query_scalar!(
            r#"SELECT unnest(queues) AS "queue!" FROM workers
               -- Nobody takes from these, so nothing is lost.
               EXCEPT SELECT name FROM queues WHERE paused_at IS NOT NULL"#
        )
        .fetch_all(pool)
        .await?;
        for queue in queues {
            let Ok(waiting) = self.lengths(&queue).await else {
                self.pause();
                return Ok(());
            };
            let mut jobs = lost_with_key(pool, &queue).await?;
            for (priority, waiting) in Priority::ALL.iter().zip(waiting) {
                let (age, limit) = if waiting < LOW { (LOST, LOOK) } else { (LOST_BEHIND_OTHERS, FEW) };
                jobs.extend(lost(pool, &queue, *priority, age, limit).await?);
            }
            if jobs.is_empty() {
                continue;
            }
            tracing::info!(queue, count = jobs.len(), "ids are sent to Redis again");
            metrics::counter!("jobs_sent_again_total", "queue" => queue.clone()).increment(jobs.len() as u64);
            if self.send(&lanes(jobs)).await.is_err() {
                self.pause();
                return Ok(());
            }
        }
        Ok(())
    }

    fn pause(&mut self) {
        self.connection = None;
        self.retry_at = Some(Instant::now() + PAUSE);
    }

    async fn lengths(&mut self, queue: &str) -> redis::RedisResult<Vec<usize>> {
        turns::lengths(&mut self.connection().await?, &self.prefix, queue).await
    }

    async fn send(&mut self, lanes: &BTreeMap<Lane, Vec<JobId>>) -> redis::RedisResult<()> {
        let mut connection = self.connection().await?;
        dispatch::send(&self.push, &mut connection, &self.prefix, lanes).await
    }

    async fn connection(&mut self) -> redis::RedisResult<MultiplexedConnection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        Ok(self.connection.insert(connect(&self.redis, PATIENCE).await?).clone())
    }
}

/// Due jobs of a level whose id was sent longer than `age` ago: at most `limit` of the oldest, marked as sent.
async fn lost(
    pool: &PgPool,
    queue: &str,
    priority: Priority,
    age: Duration,
    limit: i64,
) -> sqlx::Result<Vec<DueJob>> {
    sqlx::query_as!(
        DueJob,
        r#"WITH oldest AS MATERIALIZED (
               SELECT id, dispatched_at FROM jobs
               WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NULL
                 AND queue = $1 AND priority = $2 AND state = 'available'
               ORDER BY id LIMIT $3
           ), lost AS MATERIALIZED (
               SELECT id FROM jobs
               WHERE id IN (SELECT id FROM oldest WHERE dispatched_at < now() - $4::interval LIMIT $5)
                 AND state = 'available'
               ORDER BY id
               FOR UPDATE SKIP LOCKED
           )
           UPDATE jobs SET dispatched_at = now() FROM lost WHERE jobs.id = lost.id
           RETURNING jobs.id AS "id: JobId", queue, priority, flow, kind"#,
        queue,
        priority.level(),
        LOOK,
        interval(age),
        limit,
    )
    .fetch_all(pool)
    .await
}

/// The same for jobs with a concurrency key: of each key as many as may start now.
async fn lost_with_key(pool: &PgPool, queue: &str) -> sqlx::Result<Vec<DueJob>> {
    let ids: Vec<i64> = keyed::startable(pool, queue, None).await?.into_iter().map(|job| job.id.0).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as!(
        DueJob,
        r#"WITH lost AS MATERIALIZED (
               SELECT id FROM jobs
               WHERE id = ANY ($1) AND state = 'available' AND dispatched_at < now() - $2::interval
               ORDER BY id
               FOR UPDATE SKIP LOCKED
           )
           UPDATE jobs SET dispatched_at = now() FROM lost WHERE jobs.id = lost.id
           RETURNING jobs.id AS "id: JobId", queue, priority, flow, kind"#,
        &ids,
        interval(LOST),
    )
    .fetch_all(pool)
    .await
}
