//! What one worker does for all: makes jobs due, sends lost ids again, takes over dead workers' jobs, fires
//! schedules, removes old rows (beside the rest, so that nothing waits for it).
//!
//! Every worker stands for it; an advisory lock elects. Nothing relies on there being one leader only: each
//! statement is guarded, so two at once do no harm, they only do the work twice.
//!
//! The lock's connection is renewed by pings and ended by Postgres itself when they stay away, so a leader that
//! froze or was cut off does not keep the others out.

mod depth;
mod relay;
mod rescue;
mod retention;
mod schedule;
mod ticks;

use std::{sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::retention::Retention;
use super::{client::Client, registry::Registry, waits};
use crate::lock::{Candidate, Key, Session};

const TICK: Duration = Duration::from_millis(200);
const RELAY_EVERY: Duration = Duration::from_millis(500);
const WAITS_EVERY: Duration = Duration::from_secs(1);
/// So many times as long as a look at all waits took, no other is taken: they only find what was missed.
const WAITS_REST: u32 = 20;
/// But never for longer than this.
const WAITS_LONGEST_REST: Duration = Duration::from_secs(10);
const DEPTH_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Leader<S> {
    pool: PgPool,
    client: Client,
    relay: relay::Relay,
    registry: Arc<Registry<S>>,
    retention: Retention,
    /// How often a worker stands for leader, and looks for dead ones.
    period: Duration,
    /// A leader that shows no life for this long is none.
    silence: Duration,
    /// Before the first look for dead workers: after an outage of Postgres all leases have run out, and the living
    /// renew theirs first.
    grace: Duration,
}

impl<S: Send + Sync + 'static> Leader<S> {
    pub fn new(
        client: Client,
        redis: redis::Client,
        prefix: String,
        registry: Arc<Registry<S>>,
        lease: Duration,
        retention: Retention,
    ) -> Self {
        Self {
            pool: client.pool().clone(),
            client,
            relay: relay::Relay::new(redis, prefix),
            registry,
            retention,
            // Another has to take over and rescue within the lease.
            period: (lease / 15).min(Duration::from_secs(1)),
            silence: lease / 3,
            // Longer than a heartbeat, and short enough for a new leader to rescue in time.
            grace: lease / 4,
        }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let mut candidate = None;
        while !stop.is_cancelled() {
            match stop.run_until_cancelled(self.stand(candidate.take())).await {
                Some(Ok(Ok(lock))) => {
                    if let Some(lock) = self.lead(lock, &stop).await {
                        lock.release().await;
                    }
                }
                Some(Ok(Err(standing))) => candidate = Some(standing),
                Some(Err(error)) => tracing::debug!(%error, "could not stand for leader"),
                None => {}
            }
            let _ = stop.run_until_cancelled(sleep(self.period)).await;
        }
    }

    async fn stand(&self, candidate: Option<Candidate>) -> sqlx::Result<Result<Session, Candidate>> {
        match candidate {
            Some(candidate) => candidate.stand().await,
            None => Candidate::connect(&self.pool, Key::Leader, self.silence).await?.stand().await,
        }
    }

    /// Returns the lock if it still stands.
    async fn lead(&mut self, lock: Session, stop: &CancellationToken) -> Option<Session> {
        tracing::info!("this worker leads");
        let removal = retention::run(self.pool.clone(), self.retention);
        tokio::select! {
            lock = self.do_duties(lock, stop) => lock,
            never = removal => match never {},
        }
    }

    async fn do_duties(&mut self, mut lock: Session, stop: &CancellationToken) -> Option<Session> {
        let mut is_registered = false;
        let mut due = Due::new(self.period, self.grace);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                return Some(lock);
            }
            if !timeout(self.silence, lock.is_held()).await.unwrap_or(false) {
                tracing::warn!("this worker leads no more: its lock's connection broke");
                return None;
            }
            if let Err(error) = self.tick(&mut due, &mut is_registered).await {
                tracing::warn!(error = format!("{error:#}"), "the leader's work failed: it is tried again");
                let _ = stop.run_until_cancelled(sleep(self.period)).await;
            }
        }
    }

    async fn tick(&mut self, due: &mut Due, is_registered: &mut bool) -> anyhow::Result<()> {
        if !*is_registered {
            schedule::register(&self.pool, &self.registry.schedules).await?;
            *is_registered = true;
        }
        relay::promote(&self.client).await?;
        if due.waits.is_over() {
            let begun = Instant::now();
            relay::send(&self.client, waits::settle(&self.client, None).await?);
            waits::give_up(&self.pool).await?;
            due.waits.rest((begun.elapsed() * WAITS_REST).min(WAITS_LONGEST_REST));
        }
        schedule::fire(&self.client, &self.registry.schedules).await?;
        if due.rescue.is_over() {
            rescue::rescue(&self.client).await?;
        }
        if due.relay.is_over() {
            self.relay.resend(&self.pool).await?;
        }
        if due.depth.is_over() {
            depth::measure(&self.pool).await?;
        }
        Ok(())
    }
}

/// When what is not done at every tick is due.
struct Due {
    relay: Every,
    rescue: Every,
    waits: Every,
    depth: Every,
}

impl Due {
    fn new(period: Duration, grace: Duration) -> Self {
        Self {
            relay: Every::new(RELAY_EVERY),
            rescue: Every { period, next: Instant::now() + grace },
            waits: Every::new(WAITS_EVERY),
            depth: Every::new(DEPTH_EVERY),
        }
    }
}

struct Every {
    period: Duration,
    next: Instant,
}

impl Every {
    fn new(period: Duration) -> Self {
        Self { period, next: Instant::now() }
    }

    /// Whether the period is over; if so, the next begins.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let is_over = now >= self.next;
        if is_over {
            self.next = now + self.period;
        }
        is_over
    }

    /// Begins the next period no sooner than after this.
    fn rest(&mut self, time: Duration) {
        self.next = self.next.max(Instant::now() + time);
    }
}
