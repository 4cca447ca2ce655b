//! Makes jobs due by time, and sends ids to Redis that it lost or never got.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use redis::{AsyncCommands, aio::MultiplexedConnection};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::queue::{
    client::Client,
    dispatch::{connect, list_key},
    job::JobId,
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
        let due = sqlx::query!(
            r#"WITH due AS MATERIALIZED (
                   SELECT id FROM jobs
                   WHERE state IN ('scheduled', 'retryable') AND scheduled_at <= now()
                   ORDER BY scheduled_at
                   LIMIT $1
                   FOR UPDATE SKIP LOCKED
               )
               UPDATE jobs SET state = 'available', dispatched_at = now()
               FROM due WHERE jobs.id = due.id
               RETURNING jobs.id AS "id: JobId", queue"#,
            PROMOTE
        )
        .fetch_all(client.pool())
        .await?;
        let is_all = due.len() < usize::try_from(PROMOTE).unwrap_or(usize::MAX);
        send(client, due.into_iter().map(|job| (job.queue, job.id)));
        if is_all {
            return Ok(());
        }
    }
}

/// Sends ids, oldest first, queue by queue.
pub(super) fn send(client: &Client, jobs: impl Iterator<Item = (String, JobId)>) {
    let mut queues: BTreeMap<String, Vec<JobId>> = BTreeMap::new();
    for (queue, id) in jobs {
        queues.entry(queue).or_default().push(id);
    }
    for (queue, mut ids) in queues {
        ids.sort_unstable();
        client.dispatch(Cow::Owned(queue), ids);
    }
}

/// Compares the lists with the due jobs.
pub(super) struct Relay {
    redis: redis::Client,
    prefix: String,
    connection: Option<MultiplexedConnection>,
    retry_at: Option<Instant>,
}

impl Relay {
    pub fn new(redis: redis::Client, prefix: String) -> Self {
        Self { redis, prefix, connection: None, retry_at: None }
    }

    /// Sends lost ids again. While Redis is away workers need none.
    pub async fn resend(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        // Whatever the queues of the kinds that this leader knows: those of all workers.
        let queues = sqlx::query_scalar!(r#"SELECT DISTINCT unnest(queues) AS "queue!" FROM workers"#)
            .fetch_all(pool)
            .await?;
        for queue in queues {
            let Ok(waiting) = self.length(&queue).await else {
                self.connection = None;
                self.retry_at = Some(Instant::now() + PAUSE);
                return Ok(());
            };
            let ids = if waiting < LOW {
                lost(pool, &queue, LOST, LOOK).await?
            } else {
                lost(pool, &queue, LOST_BEHIND_OTHERS, FEW).await?
            };
            if ids.is_empty() {
                continue;
            }
            tracing::info!(queue, count = ids.len(), "ids are sent to Redis again");
            metrics::counter!("jobs_sent_again_total", "queue" => queue.clone()).increment(ids.len() as u64);
            if self.push(&queue, &ids).await.is_err() {
                self.connection = None;
                self.retry_at = Some(Instant::now() + PAUSE);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn length(&mut self, queue: &str) -> redis::RedisResult<usize> {
        let key = list_key(&self.prefix, queue);
        self.connection().await?.llen(key).await
    }

    async fn push(&mut self, queue: &str, ids: &[i64]) -> redis::RedisResult<()> {
        let key = list_key(&self.prefix, queue);
        self.connection().await?.lpush(key, ids).await
    }

    async fn connection(&mut self) -> redis::RedisResult<MultiplexedConnection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        Ok(self.connection.insert(connect(&self.redis, PATIENCE).await?).clone())
    }
}

/// Due jobs whose id was sent longer than `age` ago: at most `limit` of the queue's oldest, marked as sent.
async fn lost(pool: &PgPool, queue: &str, age: Duration, limit: i64) -> sqlx::Result<Vec<i64>> {
    let mut ids = sqlx::query_scalar!(
        "WITH oldest AS MATERIALIZED (
             SELECT id, dispatched_at FROM jobs WHERE queue = $1 AND state = 'available' ORDER BY id LIMIT $2
         ), lost AS MATERIALIZED (
             SELECT id FROM jobs
             WHERE id IN (SELECT id FROM oldest WHERE dispatched_at < now() - $3::interval LIMIT $4)
               AND state = 'available'
             ORDER BY id
             FOR UPDATE SKIP LOCKED
         )
         UPDATE jobs SET dispatched_at = now() FROM lost WHERE jobs.id = lost.id RETURNING jobs.id",
        queue,
        LOOK,
        crate::queue::client::interval(age),
        limit,
    )
    .fetch_all(pool)
    .await?;
    ids.sort_unstable();
    Ok(ids)
}
