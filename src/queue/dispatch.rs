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

use super::{
    job::JobId,
    limits::Lane,
    metrics::LagMeters,
    turns::{self, Push},
};

/// Commits whose ids wait for the pushing task, at most.
const BACKLOG: usize = 10_000;
/// Commits whose ids are pushed together, at most.
const GATHER: usize = 1_000;
/// Ids in one push, at most: keeps it from stalling the server for others.
const PUSH: usize = 5_000;
/// How long Redis may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long Redis is left alone after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// What one commit made due.
struct Committed {
    lane: Lane,
    ids: Vec<JobId>,
    at: Instant,
}

/// Handle on the pushing task, which ends with the last handle.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    ids: mpsc::Sender<Committed>,
}

impl Dispatcher {
    /// Starts the pushing task. Fails on a malformed URL only: Redis may be away.
    pub fn spawn(redis_url: &str, prefix: &str) -> redis::RedisResult<Self> {
        let client = redis::Client::open(redis_url)?;
        let (ids, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(
            Pusher {
                client,
                prefix: prefix.to_owned(),
                push: Push::default(),
                connection: None,
                retry_at: None,
                meters: LagMeters::default(),
            }
            .run(receiver),
        );
        Ok(Self { ids })
    }

    pub(crate) fn push(&self, lane: Lane, ids: Vec<JobId>) {
        let count = ids.len() as u64;
        if count == 0 {
            return;
        }
        if self.ids.try_send(Committed { lane, ids, at: Instant::now() }).is_err() {
            metrics::counter!("jobs_dispatch_dropped_total").increment(count);
        }
    }
}

struct Pusher {
    client: redis::Client,
    prefix: String,
    push: Push,
    connection: Option<MultiplexedConnection>,
    /// Set while Redis is taken to be away.
    retry_at: Option<Instant>,
    meters: LagMeters,
}

impl Pusher {
    async fn run(mut self, mut receiver: mpsc::Receiver<Committed>) {
        let mut gathered = Vec::new();
        while receiver.recv_many(&mut gathered, GATHER).await > 0 {
            let mut lanes: BTreeMap<Lane, Vec<JobId>> = BTreeMap::new();
            let mut commits = Vec::with_capacity(gathered.len());
            for Committed { lane, ids, at } in gathered.drain(..) {
                commits.push((lane.queue.clone(), at));
                lanes.entry(lane).or_default().extend(ids);
            }
            let count: usize = lanes.values().map(Vec::len).sum();
            if self.retry_at.is_some_and(|at| Instant::now() < at) {
                metrics::counter!("jobs_dispatch_dropped_total").increment(count as u64);
                continue;
            }
            match self.push(&lanes).await {
                Ok(()) => {
                    for (queue, at) in commits {
                        self.meters.of(&queue).record(at.elapsed());
                    }
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

    async fn push(&mut self, lanes: &BTreeMap<Lane, Vec<JobId>>) -> redis::RedisResult<()> {
        let mut connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => self.connection.insert(connect(&self.client, PATIENCE).await?).clone(),
        };
        send(&self.push, &mut connection, &self.prefix, lanes).await
    }
}

/// A job whose id is to be sent.
#[derive(Debug)]
pub(crate) struct DueJob {
    pub id: JobId,
    pub queue: String,
    pub priority: i16,
    pub flow: Option<String>,
    pub kind: String,
}

/// By lane, oldest first.
pub(crate) fn lanes(jobs: impl IntoIterator<Item = DueJob>) -> BTreeMap<Lane, Vec<JobId>> {
    let mut lanes: BTreeMap<Lane, Vec<JobId>> = BTreeMap::new();
    for job in jobs {
        let flow = job.flow.map(Cow::Owned);
        let lane = Lane::new(Cow::Owned(job.queue), job.priority, flow, Cow::Owned(job.kind));
        lanes.entry(lane).or_default().push(job.id);
    }
    lanes.values_mut().for_each(|ids| ids.sort_unstable());
    lanes
}

/// Flows of one level go together, as many as one push may hold.
pub(crate) async fn send(
    push: &Push,
    connection: &mut MultiplexedConnection,
    prefix: &str,
    lanes: &BTreeMap<Lane, Vec<JobId>>,
) -> redis::RedisResult<()> {
    let parts: Vec<(&Lane, &[JobId])> =
        lanes.iter().flat_map(|(lane, ids)| ids.chunks(PUSH).map(move |ids| (lane, ids))).collect();
    let level = |lane: &Lane| turns::key(prefix, &lane.queue, lane.level);
    let mut left = parts.as_slice();
    while let Some(((first, ids), _)) = left.split_first() {
        let key = level(first);
        let mut room = PUSH - ids.len();
        // The first always fits.
        let together = 1 + left
            .iter()
            .skip(1)
            .take_while(|(lane, ids)| {
                let fits = room >= ids.len() && level(lane) == key;
                room = room.saturating_sub(ids.len());
                fits
            })
            .count();
        let (now, later) = left.split_at(together);
        push.send(connection, &key, now.iter().map(|(lane, ids)| (&*lane.flow, *ids))).await?;
        left = later;
    }
    Ok(())
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
