//! Jobs whose only work is to be watched.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::anyhow;
use labelfleet::queue::{
    Client, Concurrency, JobArgs, JobContext, JobError, JobResult, OrRetry, Priority, Registry, Run,
    WorkerOptions,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::time::sleep;

pub const QUEUE: &str = "probes";

/// What handlers may use: the tables `starts` and `effects`, and counts of runs in this process.
pub struct Probes {
    pub queue: Client,
    pub runs: Mutex<HashMap<i64, u32>>,
}

impl Probes {
    pub fn new(pool: PgPool) -> Self {
        Self { queue: Client::new(pool), runs: Mutex::default() }
    }

    pub fn runs_of(&self, key: i64) -> u32 {
        self.runs.lock().unwrap().get(&key).copied().unwrap_or(0)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probe {
    pub key: i64,
    pub act: Act,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Act {
    Nothing,
    /// Writes a start, sleeps on the first attempt only, and writes its effect with its completion.
    Effect {
        first_sleeps_millis: u64,
    },
    /// The same, with the effect apart from the completion.
    LooseEffect {
        first_sleeps_millis: u64,
    },
    Sleep {
        millis: u64,
    },
    /// Blocks its thread.
    Block {
        millis: u64,
    },
    KillWorker,
    /// Writes the hours by which the worker's clock is ahead of the database's, as its effect.
    TellTime,
    Panic,
    Retry,
    Discard,
    SnoozeOnce {
        millis: u64,
    },
    /// Its result holds what jsonb can't.
    Answer,
    /// Completes in its own transaction, with a result.
    FinishTelling,
    /// Goes a step, and says so, whenever the table `effects` has one more row of its key.
    Steps {
        count: i32,
    },
}

/// What a probe returns, if anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    Attempt(i32),
    Found { found: u32, name: String },
}

impl JobArgs for Probe {
    type Output = Option<Told>;

    const KIND: &'static str = "probe";
    const QUEUE: &'static str = QUEUE;
    const MAX_ATTEMPTS: i32 = 3;
}

impl Run<Probes> for Probe {
    async fn run(self, context: JobContext, state: Arc<Probes>) -> JobResult<Option<Told>> {
        *state.runs.lock().unwrap().entry(self.key).or_default() += 1;
        match self.act {
            Act::Nothing => {}
            Act::Effect { first_sleeps_millis } => {
                start(&state, &context, self.key, first_sleeps_millis).await?;
                let mut tx = state.queue.begin().await.or_retry()?;
                sqlx::query("INSERT INTO effects VALUES ($1, $2)")
                    .bind(self.key)
                    .bind(context.attempt)
                    .execute(&mut *tx)
                    .await
                    .or_retry()?;
                context.finish_in::<Self>(&mut tx, &None).await.or_retry()?;
                tx.commit().await.or_retry()?;
            }
            Act::LooseEffect { first_sleeps_millis } => {
                start(&state, &context, self.key, first_sleeps_millis).await?;
                return Ok(Some(Told::Attempt(context.attempt)));
            }
            Act::Sleep { millis } => sleep(Duration::from_millis(millis)).await,
            Act::Block { millis } => std::thread::sleep(Duration::from_millis(millis)),
            Act::KillWorker => {
                nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).or_retry()?;
            }
            Act::TellTime => {
                let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
                sqlx::query("INSERT INTO effects VALUES ($1, round(extract(epoch FROM $2 - now()) / 3600))")
                    .bind(self.key)
                    .bind(now)
                    .execute(state.queue.pool())
                    .await
                    .or_retry()?;
            }
            Act::Panic => panic!("as told"),
            Act::Retry => return Err(JobError::Retry(anyhow!("the cause").context("what failed"))),
            Act::Discard => return Err(JobError::Discard(anyhow!("hopeless"))),
            Act::SnoozeOnce { millis } if context.attempt == 1 => {
                return Err(JobError::Snooze(Duration::from_millis(millis)));
            }
            Act::SnoozeOnce { .. } => {}
            Act::FinishTelling => {
                let told = Some(Told::Attempt(context.attempt));
                let mut tx = state.queue.begin().await.or_retry()?;
                context.finish_in::<Self>(&mut tx, &told).await.or_retry()?;
                tx.commit().await.or_retry()?;
                return Ok(told);
            }
            Act::Steps { count } => {
                for step in 1..=count {
                    while steps(&state, self.key).await? < i64::from(step) {
                        sleep(Duration::from_millis(20)).await;
                    }
                    context.log(format!("step {step}"));
                    context.progress(step as f32 / count as f32);
                }
            }
            Act::Answer => return Ok(Some(Told::Found { found: 3, name: "a\0b".into() })),
        }
        Ok(None)
    }
}

async fn steps(state: &Probes, key: i64) -> Result<i64, JobError> {
    sqlx::query_scalar("SELECT count(*) FROM effects WHERE key = $1")
        .bind(key)
        .fetch_one(state.queue.pool())
        .await
        .or_retry()
}

async fn start(state: &Probes, context: &JobContext, key: i64, first_sleeps: u64) -> Result<(), JobError> {
    sqlx::query("INSERT INTO starts VALUES ($1, $2, clock_timestamp())")
        .bind(key)
        .bind(context.attempt)
        .execute(state.queue.pool())
        .await
        .or_retry()?;
    if context.attempt == 1 {
        sleep(Duration::from_millis(first_sleeps)).await;
    }
    Ok(())
}

/// Its time is up before it ends.
#[derive(Debug, Serialize, Deserialize)]
pub struct Overlong;

impl JobArgs for Overlong {
    type Output = ();

    const KIND: &'static str = "overlong";
    const QUEUE: &'static str = QUEUE;
    const TIMEOUT: Duration = Duration::from_millis(50);
    const MAX_ATTEMPTS: i32 = 1;
}

impl Run<Probes> for Overlong {
    async fn run(self, _: JobContext, _: Arc<Probes>) -> JobResult {
        std::future::pending().await
    }
}

/// One open job a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Single {
    pub key: String,
}

impl JobArgs for Single {
    type Output = ();

    const KIND: &'static str = "single";
    const QUEUE: &'static str = QUEUE;

    fn unique_key(&self) -> Option<String> {
        Some(self.key.clone())
    }
}

impl Run<Probes> for Single {
    /// Enqueues itself anew from within, once.
    async fn run(self, context: JobContext, state: Arc<Probes>) -> JobResult {
        let mut tx = state.queue.begin().await.or_retry()?;
        context.finish_in::<Self>(&mut tx, &()).await.or_retry()?;
        if !self.key.ends_with("again") {
            tx.enqueue(&Self { key: format!("{} again", self.key) }).await.or_retry()?;
            let successor = tx.enqueue(&self).await.or_retry()?;
            assert!(successor.is_new, "a finished job is not open");
            sqlx::query("UPDATE jobs SET state = 'cancelled', dispatched_at = NULL, finalized_at = now() WHERE id = $1")
                .bind(successor.id.0)
                .execute(&mut *tx)
                .await
                .or_retry()?;
        }
        tx.commit().await.or_retry()?;
        Ok(())
    }
}

/// Writes its effect with its end, however often its worker dies under it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hardy {
    pub key: i64,
    pub sleeps_millis: u64,
    /// At most four such at once.
    pub shares: bool,
}

impl JobArgs for Hardy {
    type Output = ();

    const KIND: &'static str = "hardy";
    const QUEUE: &'static str = QUEUE;
    const MAX_ATTEMPTS: i32 = 1_000;

    fn concurrency(&self) -> Option<Concurrency> {
        self.shares.then(|| Concurrency { key: "shared".into(), limit: 4 })
    }
}

impl Run<Probes> for Hardy {
    async fn run(self, context: JobContext, state: Arc<Probes>) -> JobResult {
        sleep(Duration::from_millis(if self.shares { 20 } else { self.sleeps_millis })).await;
        let mut tx = state.queue.begin().await.or_retry()?;
        sqlx::query("INSERT INTO effects VALUES ($1, $2)")
            .bind(self.key)
            .bind(context.attempt)
            .execute(&mut *tx)
            .await
            .or_retry()?;
        context.finish_in::<Self>(&mut tx, &()).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(())
    }
}

/// The same of another kind, whose effect and end are written apart: it may run again between the two.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sturdy(pub Hardy);

impl JobArgs for Sturdy {
    type Output = i64;

    const KIND: &'static str = "sturdy";
    const QUEUE: &'static str = QUEUE;
    const MAX_ATTEMPTS: i32 = 1_000;
    const PRIORITY: Priority = Priority::Low;
}

impl Run<Probes> for Sturdy {
    async fn run(self, context: JobContext, state: Arc<Probes>) -> JobResult<i64> {
        sleep(Duration::from_millis(self.0.sleeps_millis)).await;
        // It looks before it acts, and nobody else does meanwhile, as whoever runs twice must.
        let mut tx = state.queue.begin().await.or_retry()?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(self.0.key)
            .execute(&mut *tx)
            .await
            .or_retry()?;
        sqlx::query(
            "INSERT INTO effects SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM effects WHERE key = $1)",
        )
        .bind(self.0.key)
        .bind(context.attempt)
        .execute(&mut *tx)
        .await
        .or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(self.0.key)
    }
}

/// What a schedule starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tick;

impl JobArgs for Tick {
    type Output = ();

    const KIND: &'static str = "tick";
    const QUEUE: &'static str = QUEUE;
}

impl Run<Probes> for Tick {
    async fn run(self, _: JobContext, _: Arc<Probes>) -> JobResult {
        Ok(())
    }
}

pub fn registry() -> Registry<Probes> {
    Registry::new()
        .register::<Probe>()
        .register::<Overlong>()
        .register::<Single>()
        .register::<Tick>()
        .register::<Hardy>()
        .register::<Sturdy>()
}

pub fn options(database: &str, redis: &str, prefix: &str) -> WorkerOptions {
    WorkerOptions {
        drain: Duration::from_secs(10),
        concurrency: 50,
        ..WorkerOptions::new(database.parse().unwrap(), redis, prefix)
    }
}
