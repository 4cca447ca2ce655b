//! What operators tell a running worker, by way of Postgres: which of its queues are paused. It looks twice a second, in
//! one statement.

use std::{collections::BTreeMap, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

const EVERY: Duration = Duration::from_millis(500);

pub(super) struct Control {
    pub pool: PgPool,
    queues: Vec<String>,
    /// By queue.
    paused: BTreeMap<&'static str, watch::Sender<bool>>,
}

/// Whether a queue is paused, as far as this worker knows.
pub(super) struct Pause(watch::Receiver<bool>);

impl Control {
    pub fn new(pool: PgPool) -> Self {
        Self { pool, queues: Vec::new(), paused: BTreeMap::new() }
    }

    /// Watches the queue, too. Until the first look it counts as paused.
    pub fn pause_of(&mut self, queue: &'static str) -> Pause {
        let (sender, receiver) = watch::channel(true);
        self.queues.push(queue.to_owned());
        self.paused.insert(queue, sender);
        Pause(receiver)
    }

    /// Runs until it is dropped. While Postgres is away, what it said last holds.
    pub async fn run(self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look().await {
                // Whoever works on jobs says so too.
                tracing::debug!(%error, "operators' wishes can't be looked up now");
            }
        }
    }

    async fn look(&self) -> sqlx::Result<()> {
        let paused = sqlx::query_scalar!(
            "SELECT name FROM queues WHERE paused_at IS NOT NULL AND name = ANY ($1)",
            &self.queues
        )
        .fetch_all(&self.pool)
        .await?;
        for (queue, sender) in &self.paused {
            let is_paused = paused.iter().any(|name| name == queue);
            if sender.send_replace(is_paused) != is_paused {
                tracing::debug!(queue, is_paused, "the queue's pause begins or ends");
            }
        }
        Ok(())
    }
}

impl Pause {
    /// Returns when the queue is not paused.
    pub async fn over(&mut self) {
        if self.0.wait_for(|is_paused| !is_paused).await.is_err() {
            // The worker stops, and who waits here is dropped with it.
            std::future::pending().await
        }
    }
}
