//! Gets due jobs of one queue and feeds them to apalis.
//!
//! Ids come from Redis by a blocking pop, so an idle queue reacts at once and is not polled. While Redis is
//! away the oldest due jobs are claimed straight from Postgres.

use std::{sync::Arc, time::Duration};

use redis::{AsyncCommands, Direction, aio::MultiplexedConnection};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    backend::{AckLayer, Claimed},
    claim::{Claim, Claimer},
    slots::Slots,
};
use crate::queue::{dispatch, job::JobContext};

/// How long one pop waits for an id. Short, so that a connection that silently died is noticed soon.
const POP_WAIT: Duration = Duration::from_secs(2);
/// Without Redis: how often Postgres is asked, and Redis looked for.
const POLL: Duration = Duration::from_millis(250);
/// Bounds of the pause after Postgres failed.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Fetcher {
    pub claimer: Claimer,
    pub slots: Arc<Slots>,
    pub redis: redis::Client,
    /// The list of this queue's ids.
    pub key: String,
    /// What this worker can run, as names that live on.
    pub kinds: Vec<&'static str>,
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
    pub async fn run(self) {
        let mut link = self.reach(Duration::ZERO);
        let mut is_warned = false;
        loop {
            let free = self.slots.free().await;
            link = match link {
                Link::Up(mut connection) => match pop(&mut connection, &self.key, free).await {
                    Ok(ids) => {
                        if !ids.is_empty() {
                            self.claim(&ids).await;
                        }
                        Link::Up(connection)
                    }
                    Err(error) => {
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

    /// Claims them however long Postgres is away.
    async fn claim(&self, ids: &[i64]) {
        let mut pause = PAUSE;
        loop {
            match self.claimer.by_id(ids).await {
                Ok(claims) => return self.start(claims).await,
                Err(error) => tracing::warn!(queue = self.claimer.queue, %error, "jobs can't be claimed now"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Returns whether there may be more.
    async fn claim_oldest(&self, free: usize) -> bool {
        match self.claimer.oldest(free).await {
            Ok(claims) => {
                let is_more = claims.len() == free;
                self.start(claims).await;
                is_more
            }
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
            let Some(ticket) = self.slots.take(context, kind) else { continue };
            let claimed = Claimed { ticket: Arc::new(ticket), args: claim.args, permit: None };
            if let Err(refused) = self.jobs.send(claimed).await {
                // The worker stops.
                self.ack.release(refused.0.ticket);
            }
        }
    }
}

async fn pop(
    connection: &mut MultiplexedConnection,
    key: &str,
    count: usize,
) -> redis::RedisResult<Vec<i64>> {
    let popped: Option<(String, Vec<i64>)> =
        connection.blmpop(POP_WAIT.as_secs_f64(), 1, key, Direction::Right, count).await?;
    Ok(popped.map(|(_, ids)| ids).unwrap_or_default())
}
