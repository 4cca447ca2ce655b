//! What operators tell a running worker, by way of Postgres: which of its queues are paused, which of its jobs are to stop.
//! It looks twice a second, in one statement; another writes what its jobs say of themselves, if any does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::slots::Held;
use crate::queue::{
    job::{JobContext, JobId},
    notes::{self, Draft},
};

const EVERY: Duration = Duration::from_millis(500);

pub(super) struct Control {
    pool: PgPool,
    worker: Uuid,
    held: Arc<Held>,
    queues: Vec<String>,
    /// By queue.
    paused: BTreeMap<&'static str, watch::Sender<bool>>,
}

/// Whether a queue is paused, as far as this worker knows.
pub(super) struct Pause(watch::Receiver<bool>);

impl Control {
    pub fn new(pool: PgPool, worker: Uuid, held: Arc<Held>) -> Self {
        Self { pool, worker, held, queues: Vec::new(), paused: BTreeMap::new() }
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
            // Whoever works on jobs says so too.
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "operators' wishes can't be looked up now");
            }
            if let Err(error) = self.note().await {
                tracing::debug!(%error, "what jobs say can't be written now");
            }
            if let Err(error) = self.forget().await {
                tracing::debug!(%error, "the notes of ended claims can't be removed now");
            }
        }
    }

    async fn look(&self) -> sqlx::Result<()> {
        let wishes = sqlx::query!(
            r#"SELECT name AS paused, NULL::bigint AS "id: JobId", NULL::int AS attempt FROM queues
               WHERE paused_at IS NOT NULL AND name = ANY ($1)
               UNION ALL
               SELECT NULL, id, attempt FROM jobs
               WHERE cancel_requested_at IS NOT NULL AND finalized_at IS NULL AND state = 'running' AND worker_id = $2"#,
            &self.queues,
            self.worker,
        )
        .fetch_all(&self.pool)
        .await?;
        for wish in &wishes {
            if let (Some(id), Some(attempt)) = (wish.id, wish.attempt) {
                self.held.cancel(id, attempt);
            }
        }
        for (queue, sender) in &self.paused {
            let is_paused = wishes.iter().any(|wish| wish.paused.as_deref() == Some(*queue));
            if sender.send_replace(is_paused) != is_paused {
                tracing::debug!(queue, is_paused, "the queue's pause begins or ends");
            }
        }
        Ok(())
    }

    async fn note(&self) -> sqlx::Result<()> {
        let (contexts, drafts): (Vec<JobContext>, Vec<Draft>) = self.held.notes().into_iter().unzip();
        if drafts.is_empty() {
            return Ok(());
        }
        notes::write(&self.pool, self.worker, &drafts).await?;
        for (context, draft) in contexts.iter().zip(&drafts) {
            context.notes_written(draft);
        }
        Ok(())
    }
}

impl Control {
    /// Removes the notes of claims whose jobs have all ended.
    async fn forget(&self) -> sqlx::Result<()> {
        let notes = self.held.ended_notes();
        if notes.is_empty() {
            return Ok(());
        }
        // If it fails, the audit finds them.
        sqlx::query!("DELETE FROM job_claims WHERE id = ANY ($1)", &notes).execute(&self.pool).await?;
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
