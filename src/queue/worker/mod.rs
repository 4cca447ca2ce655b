//! A worker: takes due jobs, runs them under apalis, writes how they ended.
//!
//! ```text
//! Redis --ids--> fetch --claim--> Postgres          heartbeat: the lease, on a thread of its own
//!                  |                                 audit:     claims whose answer was lost, and whose jobs ended
//!                  |                                 control:   what operators tell it
//!                  v                                 leader:    what one worker does for all
//!   apalis: ack( spawn( trace( catch panics( timeout( handler )))))
//!                  |
//!                  v
//!               finish --in batches--> Postgres
//! ```
//!
//! Claims, ends and the leader's work have connections of their own, so handlers that use up theirs hold up
//! none of it.

mod audit;
mod backend;
mod claim;
mod control;
mod fetch;
mod finish;
mod heartbeat;
pub(crate) mod outcome;
mod pools;
mod rates;
mod run;
mod slots;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use apalis::{
    layers::{catch_panic::CatchPanicLayer, tracing::TraceLayer},
    prelude::*,
};
use apalis_core::{monitor::context::MonitorContext, task::Task, worker::ext::parallelize::ParallelizeExt};
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use uuid::Uuid;

use self::{
    backend::{AckLayer, Claimed, Source},
    outcome::Failure,
    slots::{Held, Slots},
};
use super::{
    cipher::ArgsCipher,
    client::Client,
    dispatch::Dispatcher,
    leader::{Leader, Retention},
    metrics::{self, Meters},
    registry::Registry,
    successors::Successors,
    turns::Pop,
};

#[derive(Clone, Debug)]
pub struct WorkerOptions {
    pub database: PgConnectOptions,
    pub redis_url: String,
    pub redis_prefix: String,
    /// A lost worker's jobs run again within this time.
    pub lease: Duration,
    /// How long a stopping worker may take, running jobs included.
    pub drain: Duration,
    /// Running jobs at most, for queues that do not set their own.
    pub concurrency: usize,
    /// Decrypts arguments, and encrypts those of schedules' jobs.
    pub args_cipher: Option<ArgsCipher>,
    pub retention: Retention,
}

impl WorkerOptions {
    /// With defaults for the rest, and no cipher.
    pub fn new(
        database: PgConnectOptions,
        redis_url: impl Into<String>,
        redis_prefix: impl Into<String>,
    ) -> Self {
        Self {
            database,
            redis_url: redis_url.into(),
            redis_prefix: redis_prefix.into(),
            lease: Duration::from_secs(15),
            drain: Duration::from_secs(25),
            concurrency: 200,
            args_cipher: None,
            retention: Retention::default(),
        }
    }
}

/// A running worker. Dropped without [`Worker::drain`] it takes no more jobs, and what it holds is left to its
/// lease to run out.
pub struct Worker {
    id: Uuid,
    drain: Duration,
    /// Ends what takes new work.
    stop: CancellationToken,
    /// Ends the running jobs.
    cut: CancellationToken,
    monitor: MonitorContext,
    running: JoinHandle<Result<(), MonitorError>>,
    background: TaskTracker,
    finisher: JoinHandle<()>,
    finish_pool: PgPool,
    heartbeat: heartbeat::Heartbeat,
    _stop_when_dropped: DropGuard,
}

impl Worker {
    /// Registers the worker and starts to take jobs. Fails if Postgres does not answer; Redis may be away.
    pub async fn start<S: Send + Sync + 'static>(
        options: WorkerOptions,
        registry: Registry<S>,
        state: Arc<S>,
    ) -> anyhow::Result<Self> {
        let id = Uuid::now_v7();
        let queues = registry.queues();
        let redis = redis::Client::open(options.redis_url.as_str())?;
        let dispatcher = Dispatcher::spawn(&options.redis_url, &options.redis_prefix)?;
        let heartbeat = heartbeat::Lease {
            database: options.database.clone().application_name("labelfleet-heartbeat"),
            worker: id,
            name: name(),
            queues: queues.keys().map(|queue| (*queue).to_owned()).collect(),
            promise: options.lease,
        }
        .keep();
        let claim_pool = pools::claiming(&options.database, queues.len());
        let finish_pool = pools::finishing(&options.database);
        let warm_up = async {
            tokio::try_join!(claim::warm(&claim_pool, id), finish::warm(&finish_pool, id))
                .context("prepare the connections to Postgres")
        };
        let (heartbeat, _) = tokio::try_join!(heartbeat, warm_up)?;
        let leader_pool = pools::leading(&options.database);
        let control_pool = pools::controlling(&options.database);

        let (finished, ends) = mpsc::unbounded_channel();
        let finisher = tokio::spawn(finish::Finisher { pool: finish_pool.clone(), worker: id }.run(ends));
        let meters = Arc::new(Meters::new(registry.kinds.iter().map(|(name, kind)| (*name, kind.queue))));
        let ack = AckLayer { finished, meters };

        let (stop, cut, background) =
            (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let held = Arc::new(Held::default());
        let client =
            Client::with_dispatcher(leader_pool.clone(), dispatcher).with_cipher(options.args_cipher.clone());
        let mut control = control::Control::new(control_pool.clone(), id, held.clone());
        let registry = Arc::new(registry);
        let mut monitor = Monitor::new().should_restart(|_, error| {
            tracing::error!(%error, "a queue's worker broke: it is started again");
            true
        });
        for (queue, kinds) in queues {
            let concurrency = registry.concurrency.get(queue).copied().unwrap_or(options.concurrency).max(1);
            let (ended, keys) = mpsc::unbounded_channel();
            let slots = Arc::new(Slots::new(concurrency, held.clone(), ended));
            let successors = Successors { client: client.clone(), queue, ended: keys };
            background.spawn(stop.clone().run_until_cancelled_owned(successors.run()));
            let (jobs, receiver) = mpsc::channel(slots.most());
            let taker = fetch::Taker {
                claimer: claim::Claimer {
                    pool: claim_pool.clone(),
                    worker: id,
                    queue,
                    kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
                },
                slots,
                rates: Mutex::new(rates::Rates::new(options.redis_prefix.clone())),
                kinds,
                jobs,
                ack: ack.clone(),
                claimed: metrics::claimed(queue),
            };
            let fetcher = fetch::Fetcher {
                taker,
                redis: redis.clone(),
                turns: Pop::new(&options.redis_prefix, queue),
                pause: control.pause_of(queue),
            };
            background.spawn(stop.clone().run_until_cancelled_owned(fetcher.run()));
            let source = Source::new(receiver, concurrency, ack.clone());
            let (registry, state, cut) = (registry.clone(), state.clone(), cut.clone());
            let cipher = options.args_cipher.clone();
            monitor = monitor.register(move |_| {
                let (registry, state, cut) = (registry.clone(), state.clone(), cut.clone());
                let cipher = cipher.clone();
                WorkerBuilder::new(queue)
                    .backend(source.clone())
                    .parallelize(tokio::spawn)
                    .layer(
                        TraceLayer::new()
                            .make_span_with(run::span as fn(&Task<Claimed>) -> tracing::Span)
                            .on_request(|_: &Task<Claimed>, _: &tracing::Span| {})
                            .on_response(())
                            .on_failure(()),
                    )
                    .layer(CatchPanicLayer::with_panic_handler(
                        run::panicked as fn(&run::PanicPayload) -> Failure,
                    ))
                    .build(move |job: Claimed| {
                        run::run(job, cipher.clone(), registry.clone(), state.clone(), cut.clone())
                    })
            });
        }
        background.spawn(
            stop.clone()
                .run_until_cancelled_owned(audit::Audit { pool: control_pool, worker: id, held }.run()),
        );
        background.spawn(stop.clone().run_until_cancelled_owned(control.run()));
        let leader =
            Leader::new(client, redis, options.redis_prefix, registry, options.lease, options.retention);
        background.spawn(leader.run(stop.clone()));
        background.close();

        let context = monitor.context();
        tracing::info!(worker = %id, "worker started");
        Ok(Self {
            id,
            drain: options.drain,
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
            cut,
            monitor: context,
            running: tokio::spawn(monitor.run()),
            background,
            finisher,
            finish_pool,
            heartbeat,
        })
    }

    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Stops in order: takes no more jobs, lets the running ones finish, then releases the rest at no attempt's
    /// cost. Takes at most the time of [`WorkerOptions::drain`], whatever the handlers do.
    pub async fn drain(mut self) {
        let end = Instant::now() + self.drain;
        // The last part is for writing.
        let cut_at = end - (self.drain / 4).min(Duration::from_secs(3));
        tracing::info!(worker = %self.id, "worker stops: it takes no more jobs");
        self.stop.cancel();
        let _ = self.monitor.shutdown();
        let in_order = async {
            if timeout_at(cut_at, &mut self.running).await.is_err() {
                tracing::warn!("jobs still run at the drain's end: they are released");
                self.cut.cancel();
                let _ = (&mut self.running).await;
            }
            self.background.wait().await;
            // All senders are gone with the tasks above: it ends when all is written.
            let _ = (&mut self.finisher).await;
        };
        // What blocks its thread sees no signal: leave a moment to release it from outside.
        let _ = timeout_at(end - (self.drain / 8).min(Duration::from_secs(1)), in_order).await;
        self.heartbeat.stop();
        match timeout_at(end, resign(&self.finish_pool, self.id)).await {
            Ok(Ok(0)) => tracing::info!(worker = %self.id, "worker stopped"),
            Ok(Ok(released)) => tracing::info!(worker = %self.id, released, "worker stopped"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "worker stopped without giving up its lease: it will run out")
            }
            Err(_) => tracing::warn!("worker stopped without giving up its lease: it will run out"),
        }
    }
}

/// Releases what is left and gives up the lease.
async fn resign(pool: &PgPool, worker: Uuid) -> sqlx::Result<usize> {
    let released = audit::release(pool, worker, None).await?;
    audit::forget_ended(pool, worker, Duration::ZERO).await?;
    sqlx::query!("DELETE FROM workers WHERE id = $1", worker).execute(pool).await?;
    Ok(released)
}

/// For operators: who it is, in words.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}
