//! Carries ids of due jobs to Redis, where waiting workers get them at once.
//!
//! Best effort and never in the caller's way: ids go over a bounded channel to one task, which pushes all that
//! has gathered in one pipeline. While Redis is away, or slower than the channel fills, ids are dropped; the
//! relay of the leading worker finds those jobs in Postgres.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::job::JobId;

/// The list that holds the due ids of a queue.
pub(crate) fn list_key(prefix: &str, queue: &str) -> String {
    format!("{prefix}:queue:{queue}")
}

/// Commits whose ids wait for the pushing task, at most.
const BACKLOG: usize = 10_000;
/// Commits whose ids are pushed together, at most.
const GATHER: usize = 1_000;
/// Ids in one LPUSH, at most: keeps one push from stalling the server for others.
const PUSH: usize = 5_000;
/// How long Redis may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long Redis is left alone after a failure.
const PAUSE: Duration = Duration::from_millis(500);

type Ids = (Cow<'static, str>, Vec<JobId>);

/// Handle on the pushing task, which ends with the last handle.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    ids: mpsc::Sender<Ids>,
}

impl Dispatcher {
    /// Starts the pushing task. Fails on a malformed URL only: Redis may be away.
    pub fn spawn(redis_url: &str, prefix: &str) -> redis::RedisResult<Self> {
        let client = redis::Client::open(redis_url)?;
        let (ids, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(
            Pusher { client, prefix: prefix.to_owned(), connection: None, retry_at: None }.run(receiver),
        );
        Ok(Self { ids })
    }

    pub(crate) fn push(&self, queue: Cow<'static, str>, ids: Vec<JobId>) {
        let count = ids.len() as u64;
        if count == 0 {
            return;
        }
        if self.ids.try_send((queue, ids)).is_err() {
            metrics::counter!("jobs_dispatch_dropped_total").increment(count);
        }
    }
}

struct Pusher {
    client: redis::Client,
    prefix: String,
    connection: Option<MultiplexedConnection>,
    /// Set while Redis is taken to be away.
    retry_at: Option<Instant>,
}

impl Pusher {
    async fn run(mut self, mut receiver: mpsc::Receiver<Ids>) {
        let mut gathered = Vec::new();
        while receiver.recv_many(&mut gathered, GATHER).await > 0 {
            let mut queues: BTreeMap<Cow<'static, str>, Vec<JobId>> = BTreeMap::new();
            for (queue, ids) in gathered.drain(..) {
                queues.entry(queue).or_default().extend(ids);
            }
            let count: usize = queues.values().map(Vec::len).sum();
            if self.retry_at.is_some_and(|at| Instant::now() < at) {
                metrics::counter!("jobs_dispatch_dropped_total").increment(count as u64);
                continue;
            }
            match self.push(&queues).await {
                Ok(()) => {
                    if self.retry_at.take().is_some() {
                        tracing::info!("Redis answers again: jobs are dispatched through it");
                    }
                }
                Err(error) => {
                    metrics::counter!("jobs_dispatch_dropped_total").increment(count as u64);
                    if self.retry_at.is_none() {
                        tracing::warn!(
                            %error,
                            "Redis does not take job ids: jobs wait for the workers' look into Postgres"
                        );
                    }
                    self.connection = None;
                    self.retry_at = Some(Instant::now() + PAUSE);
                }
            }
        }
    }

    async fn push(&mut self, queues: &BTreeMap<Cow<'static, str>, Vec<JobId>>) -> redis::RedisResult<()> {
        let mut connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => self.connection.insert(connect(&self.client, PATIENCE).await?).clone(),
        };
        let mut pipe = redis::pipe();
        for (queue, ids) in queues {
            let key = list_key(&self.prefix, queue);
            for ids in ids.chunks(PUSH) {
                let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
                pipe.lpush(&key, ids).ignore();
            }
        }
        pipe.query_async(&mut connection).await
    }
}

/// A connection whose answers may take `patience`.
pub(crate) async fn connect(
    client: &redis::Client,
    patience: Duration,
) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(patience));
    match timeout(PATIENCE * 2, client.get_multiplexed_async_connection_with_config(&config)).await {
        Ok(connection) => connection,
        Err(_) => Err(redis::RedisError::from((redis::ErrorKind::Io, "no connection in time"))),
    }
}
