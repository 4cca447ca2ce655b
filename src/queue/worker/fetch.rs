//! Gets due jobs of one queue and feeds them to apalis.
//!
//! Ids come from Redis by a blocking pop, so an idle queue reacts at once and is not polled. While Redis is
//! away the oldest due jobs are claimed straight from Postgres.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::Span;

use super::{
    backend::{AckLayer, Claimed},
    claim::{Claim, Claimer},
    control::Pause,
    rates::Rates,
    slots::{After, Slots},
};
use crate::queue::{dispatch, job::JobContext, turns::Pop};

/// How long one pop waits for an id. Short, so that a connection that silently died is noticed soon.
const POP_WAIT: Duration = Duration::from_secs(2);
/// Without Redis: how often Postgres is asked, and Redis looked for.
const POLL: Duration = Duration::from_millis(250);
/// How long a look at a rate may take.
const RATES_WAIT: Duration = Duration::from_secs(1);
/// Bounds of the pause after Postgres failed.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Fetcher {
    pub claimer: Claimer,
    pub slots: Arc<Slots>,
    pub redis: redis::Client,
    pub turns: Pop,
    pub rates: Rates,
    /// What this worker can run, as names that live on.
    pub kinds: Vec<&'static str>,
    pub pause: Pause,
    pub jobs: mpsc::Sender<Claimed>,
    pub ack: AckLayer,
}

/// The way to Redis.
enum Link {
    Up(MultiplexedConnection),
    /// Being looked for.
    Down(JoinHandle<redis::RedisResult<MultiplexedConnection>>),
}

impl Fetcher {
    /// Runs until it is dropped. What a pop or claim had got at that moment is found by relay and audit.
    pub async fn run(mut self) {
        let mut link = self.reach(Duration::ZERO);
        let mut is_warned = false;
        loop {
            let free = self.slots.free().await;
            self.pause.over().await;
            link = match link {
                Link::Up(mut connection) => match self.turns.ids(&mut connection, POP_WAIT, free).await {
                    Ok(ids) => {
                        if !ids.is_empty() {
                            // What this pop was waiting for when the pause began starts after it.
                            self.pause.over().await;
                            self.claim(&ids).await;
                        }
                        Link::Up(connection)
                    }
                    Err(error) => {
                        self.rates.set_redis(None);
                        tracing::warn!(queue = self.claimer.queue, %error, "Redis is away: jobs are taken from Postgres");
                        is_warned = true;
                        self.reach(Duration::ZERO)
                    }
                },
                Link::Down(mut connecting) => {
                    let wait = if self.claim_oldest(free).await { Duration::ZERO } else { POLL };
                    match timeout(wait, &mut connecting).await {
                        Err(_) => Link::Down(connecting),
                        Ok(Ok(Ok(connection))) => {
                            self.rates.set_redis(self.for_rates().await);
                            if std::mem::take(&mut is_warned) {
                                tracing::info!(queue = self.claimer.queue, "Redis answers again");
                            }
                            Link::Up(connection)
                        }
                        Ok(Ok(Err(error))) => {
                            if !std::mem::replace(&mut is_warned, true) {
                                tracing::warn!(queue = self.claimer.queue, %error, "Redis is away: jobs are taken from Postgres");
                            }
                            self.reach(POLL)
                        }
                        Ok(Err(_)) => self.reach(POLL),
                    }
                }
            };
        }
    }

    /// Looks for Redis after `pause`, beside what else goes on.
    fn reach(&self, pause: Duration) -> Link {
        let client = self.redis.clone();
        Link::Down(tokio::spawn(async move {
            sleep(pause).await;
            dispatch::connect(&client, POP_WAIT + Duration::from_secs(2)).await
        }))
    }

    /// A connection that no pop blocks. Without it jobs with a rate wait until the next one.
    async fn for_rates(&self) -> Option<MultiplexedConnection> {
        dispatch::connect(&self.redis, RATES_WAIT).await.ok()
    }

    /// Claims them however long Postgres is away.
    async fn claim(&mut self, ids: &[i64]) {
        let mut pause = PAUSE;
        loop {
            match self.try_claim(ids).await {
                Ok(_) => return,
                Err(error) => tracing::warn!(queue = self.claimer.queue, %error, "jobs can't be claimed now"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// How many were claimed.
    async fn try_claim(&mut self, ids: &[i64]) -> sqlx::Result<usize> {
        let mut claims = self.claimer.by_id(ids).await?;
        if claims.len() < ids.len() {
            let missed: HashSet<i64> = claims.iter().map(|claim| claim.id.0).collect();
            let missed: Vec<i64> = ids.iter().copied().filter(|id| !missed.contains(id)).collect();
            match self.claimer.limited(&missed, &mut self.rates).await {
                Ok(limited) => claims.extend(limited),
                // What was claimed runs; the others are sent again.
                Err(error) => {
                    tracing::warn!(queue = self.claimer.queue, %error, "jobs with limits can't be claimed now")
                }
            }
        }
        let count = claims.len();
        // They start in the order of their turns, whatever order Postgres answers in.
        let places: HashMap<i64, usize> = ids.iter().copied().zip(0..).collect();
        claims.sort_by_key(|claim| places.get(&claim.id.0).copied());
        self.start(claims).await;
        Ok(count)
    }

    /// Returns whether there may be more.
    async fn claim_oldest(&mut self, free: usize) -> bool {
        let level = self.turns.next_level();
        let claimed = match self.claimer.due(level, free).await {
            Ok(ids) if ids.is_empty() => Ok(0),
            Ok(ids) => self.try_claim(&ids).await,
            Err(error) => Err(error),
        };
        match claimed {
            Ok(count) => count > 0 && (count == free || level > 0),
            Err(error) => {
                tracing::warn!(queue = self.claimer.queue, %error, "jobs can't be claimed now");
                false
            }
        }
    }

    async fn start(&self, claims: Vec<Claim>) {
        for claim in claims {
            // Only known kinds were asked for.
            let Some(kind) = self.kinds.iter().find(|kind| **kind == claim.kind) else { continue };
            self.ack.meters.of(kind).wait.record(claim.waited);
            let context = JobContext::new(claim.id, claim.attempt, claim.max_attempts, self.claimer.worker);
            let after = After { concurrency_key: claim.concurrency_key, is_awaited: claim.is_awaited };
            let Some(ticket) = self.slots.take(context, kind, after) else { continue };
            let claimed = Claimed {
                ticket: Arc::new(ticket),
                queue: self.claimer.queue,
                args: claim.args,
                trace_context: claim.trace_context,
                span: Span::none(),
                permit: None,
            };
            if let Err(refused) = self.jobs.send(claimed).await {
                // The worker stops.
                self.ack.release(refused.0.ticket);
            }
        }
    }
}
