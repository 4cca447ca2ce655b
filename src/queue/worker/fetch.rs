//! Gets due jobs of one queue and feeds them to apalis.
//!
//! Ids come from Redis by a blocking pop, so an idle queue reacts at once. While Redis is away the oldest due jobs are
//! claimed straight from Postgres. Postgres is asked, too, when a pop has waited in vain: Redis may give ids and take none.
//!
//! While one claim is under way the next ids are popped, so that neither server waits for the other. What is claimed starts
//! in the order in which it was popped.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesOrdered};
use metrics::Histogram;
use redis::aio::MultiplexedConnection;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::Span;

use super::{
    backend::{AckLayer, Claimed},
    claim::{Claim, Claimer},
    control::Pause,
    rates::Rates,
    slots::{After, Note, Reservation, Slots},
};
use crate::queue::{dispatch, job::JobContext, turns::Pop};

/// How long one pop waits for an id. Short, so that a connection that silently died is noticed soon.
const POP_WAIT: Duration = Duration::from_secs(2);
/// While Postgres has due jobs that Redis does not know of.
const POP_BRIEFLY: Duration = Duration::from_millis(1);
/// Without Redis: how often Postgres is asked, and Redis looked for.
const POLL: Duration = Duration::from_millis(250);
/// Claims under way at once.
pub(super) const CLAIMS: usize = 2;
/// How long a look at a rate may take.
const RATES_WAIT: Duration = Duration::from_secs(1);
/// Bounds of the pause after Postgres failed.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Fetcher {
    pub taker: Taker,
    pub redis: redis::Client,
    pub turns: Pop,
    pub pause: Pause,
}

/// The way to Redis.
enum Link {
    Up(MultiplexedConnection),
    /// Being looked for.
    Down(JoinHandle<redis::RedisResult<MultiplexedConnection>>),
}

impl Fetcher {
    /// Runs until it is dropped. What a pop or claim had got at that moment is found by relay and audit.
    pub async fn run(self) {
        let Self { taker, redis, mut turns, mut pause } = self;
        let taker = &taker;
        let mut claims = FuturesOrdered::new();
        let mut link = reach(&redis, Duration::ZERO);
        let mut wait = POP_WAIT;
        let mut is_away = false;
        loop {
            let free = meanwhile(taker, &mut claims, taker.slots.free()).await;
            meanwhile(taker, &mut claims, pause.over()).await;
            link = match link {
                Link::Up(mut connection) => {
                    match meanwhile(taker, &mut claims, turns.ids(&mut connection, wait, free)).await {
                        Ok(ids) => {
                            if std::mem::take(&mut is_away) {
                                tracing::info!(queue = taker.claimer.queue, "Redis answers again");
                            }
                            wait = POP_WAIT;
                            if ids.is_empty() {
                                let level = turns.next_level();
                                if meanwhile(taker, &mut claims, taker.claim_oldest(level, free)).await {
                                    wait = POP_BRIEFLY;
                                }
                            } else {
                                // What this pop was waiting for when the pause began starts after it.
                                meanwhile(taker, &mut claims, pause.over()).await;
                                claims.push_back(taker.claim(taker.slots.reserve(ids.len()), ids));
                                if claims.len() >= CLAIMS
                                    && let Some(batch) = claims.next().await
                                {
                                    taker.start(batch.claims).await;
                                }
                            }
                            Link::Up(connection)
                        }
                        Err(error) => taker.went_away(&redis, &error, &mut is_away).await,
                    }
                }
                Link::Down(mut connecting) => {
                    let level = turns.next_level();
                    let has_more = meanwhile(taker, &mut claims, taker.claim_oldest(level, free)).await;
                    let wait = if has_more { Duration::ZERO } else { POLL };
                    match timeout(wait, &mut connecting).await {
                        Err(_) => Link::Down(connecting),
                        Ok(Ok(Ok(connection))) => {
                            // A connection that no pop blocks. Without it jobs with a rate wait until the next one.
                            let rates = dispatch::connect(&redis, RATES_WAIT).await.ok();
                            taker.rates.lock().await.set_redis(rates);
                            Link::Up(connection)
                        }
                        Ok(Ok(Err(error))) => taker.went_away(&redis, &error, &mut is_away).await,
                        Ok(Err(_)) => reach(&redis, POLL),
                    }
                }
            };
        }
    }
}

/// What one claim brought, and the slots that were kept for it.
struct Batch {
    claims: Vec<Claim>,
    _reserved: Reservation,
}

/// Does this while claims go on.
async fn meanwhile<T>(
    taker: &Taker,
    claims: &mut FuturesOrdered<impl Future<Output = Batch>>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(batch) = claims.next() => taker.start(batch.claims).await,
        }
    }
}

/// Looks for Redis after `pause`, beside what else goes on.
fn reach(redis: &redis::Client, pause: Duration) -> Link {
    let client = redis.clone();
    Link::Down(tokio::spawn(async move {
        sleep(pause).await;
        dispatch::connect(&client, POP_WAIT + Duration::from_secs(2)).await
    }))
}

/// Turns ids into running jobs.
pub(super) struct Taker {
    pub claimer: Claimer,
    pub slots: Arc<Slots>,
    pub rates: Mutex<Rates>,
    /// What this worker can run, as names that live on.
    pub kinds: Vec<&'static str>,
    pub jobs: mpsc::Sender<Claimed>,
    pub ack: AckLayer,
    /// Of each claim, how many jobs it brought.
    pub claimed: Histogram,
}

impl Taker {
    async fn went_away(&self, redis: &redis::Client, error: &redis::RedisError, is_away: &mut bool) -> Link {
        self.rates.lock().await.set_redis(None);
        if !std::mem::replace(is_away, true) {
            tracing::warn!(queue = self.claimer.queue, %error, "Redis is away: jobs are taken from Postgres");
        }
        reach(redis, POLL)
    }

    /// Claims them however long Postgres is away.
    async fn claim(&self, reserved: Reservation, ids: Vec<i64>) -> Batch {
        let mut pause = PAUSE;
        loop {
            match self.try_claim(&ids).await {
                Ok(claims) => return Batch { claims, _reserved: reserved },
                Err(error) => tracing::warn!(queue = self.claimer.queue, %error, "jobs can't be claimed now"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_claim(&self, ids: &[i64]) -> sqlx::Result<Vec<Claim>> {
        let mut claims = self.claimer.by_id(ids).await?;
        if claims.len() < ids.len() {
            let missed: HashSet<i64> = claims.iter().map(|claim| claim.id.0).collect();
            let missed: Vec<i64> = ids.iter().copied().filter(|id| !missed.contains(id)).collect();
            match self.claimer.limited(&missed, &mut *self.rates.lock().await).await {
                Ok(limited) => claims.extend(limited),
                // What was claimed runs; the others are sent again.
                Err(error) => {
                    tracing::warn!(queue = self.claimer.queue, %error, "jobs with limits can't be claimed now")
                }
            }
        }
        self.claimed.record(claims.len() as f64);
        // They start in the order of their turns, whatever order Postgres answers in.
        let places: HashMap<i64, usize> = ids.iter().copied().zip(0..).collect();
        claims.sort_by_key(|claim| places.get(&claim.id.0).copied());
        Ok(claims)
    }

    /// Returns whether there may be more.
    async fn claim_oldest(&self, level: i16, free: usize) -> bool {
        let claimed = match self.claimer.due(level, free).await {
            Ok(ids) if ids.is_empty() => Ok(Vec::new()),
            Ok(ids) => self.try_claim(&ids).await,
            Err(error) => Err(error),
        };
        match claimed {
            Ok(claims) => {
                let count = claims.len();
                self.start(claims).await;
                count > 0 && (count == free || level > 0)
            }
            Err(error) => {
                tracing::warn!(queue = self.claimer.queue, %error, "jobs can't be claimed now");
                false
            }
        }
    }

    async fn start(&self, claims: Vec<Claim>) {
        let mut counts: HashMap<i64, usize> = HashMap::new();
        for claim in &claims {
            *counts.entry(claim.note).or_default() += 1;
        }
        let notes: HashMap<i64, Arc<Note>> =
            counts.into_iter().map(|(id, jobs)| (id, Arc::new(Note::new(id, jobs)))).collect();
        for claim in claims {
            // Only known kinds were asked for.
            let Some(kind) = self.kinds.iter().find(|kind| **kind == claim.kind) else { continue };
            let Some(note) = notes.get(&claim.note) else { continue };
            self.ack.meters.of(kind).wait.record(claim.waited);
            let context = JobContext::new(claim.id, claim.attempt, claim.max_attempts, self.claimer.worker);
            let after = After { concurrency_key: claim.concurrency_key, is_awaited: claim.is_awaited };
            let Some(ticket) = self.slots.take(context, kind, after, note) else { continue };
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
