//! Which kinds of jobs a worker runs, how many at once, and what it starts by schedule: one explicit list.

use std::{collections::BTreeMap, str::FromStr, sync::Arc, time::Duration};

use chrono_tz::Tz;
use futures::future::BoxFuture;

use super::{
    client::Tx,
    insert::Enqueued,
    job::{JobArgs, JobContext, Run},
    payload,
    worker::outcome::Failure,
};

pub struct Registry<S> {
    pub(super) kinds: BTreeMap<&'static str, Kind<S>>,
    /// Queues with a concurrency of their own.
    pub(super) concurrency: BTreeMap<&'static str, usize>,
    pub(super) schedules: Vec<Schedule>,
}

pub(super) struct Kind<S> {
    pub queue: &'static str,
    pub timeout: Duration,
    pub run: Handler<S>,
}

/// The kind's own types are known inside only. Returns the result as it is stored.
type Handler<S> = fn(&str, JobContext, Arc<S>) -> BoxFuture<'static, Result<Option<String>, Failure>>;

/// Jobs that start by the clock.
pub(super) struct Schedule {
    pub name: &'static str,
    pub kind: &'static str,
    pub cron: cron::Schedule,
    pub timing: Timing,
    pub enqueue: Enqueue,
}

/// By whose clock a schedule goes, and what becomes of ticks that nobody fired in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub(super) zone: Tz,
    pub(super) catch_up: CatchUp,
}

/// What becomes of ticks that are older than 10 s when a leader comes to fire them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// They are left out.
    Skip,
    /// One job makes up for all of them.
    Once,
    /// Each fires, but no more than the first 1,000.
    All,
}

impl CatchUp {
    /// As stored.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// UTC, and one job for what was missed.
impl Default for Timing {
    fn default() -> Self {
        Self { zone: Tz::UTC, catch_up: CatchUp::Once }
    }
}

impl Timing {
    /// The cron expression is of this zone's clock. A local time that is skipped in spring fires at the first instant after
    /// the gap; one that comes twice in autumn fires the first time.
    #[must_use]
    pub fn zone(self, zone: Tz) -> Self {
        Self { zone, ..self }
    }

    #[must_use]
    pub fn catch_up(self, catch_up: CatchUp) -> Self {
        Self { catch_up, ..self }
    }
}

type Enqueue = Box<dyn for<'a> Fn(&'a mut Tx) -> BoxFuture<'a, sqlx::Result<Enqueued>> + Send + Sync>;

impl<S> Default for Registry<S> {
    fn default() -> Self {
        Self { kinds: BTreeMap::new(), concurrency: BTreeMap::new(), schedules: Vec::new() }
    }
}

impl<S: Send + Sync + 'static> Registry<S> {
    pub fn new() -> Self {
        Self::default()
    }

    /// The worker runs jobs of this kind. Kinds that it does not know it leaves to others.
    #[must_use]
    pub fn register<J: Run<S>>(mut self) -> Self {
        let kind = Kind { queue: J::QUEUE, timeout: J::TIMEOUT, run: run::<S, J> };
        self.kinds.insert(J::KIND, kind);
        self
    }

    /// At most this many jobs of the queue run at once in one worker.
    #[must_use]
    pub fn concurrency(mut self, queue: &'static str, limit: usize) -> Self {
        self.concurrency.insert(queue, limit.max(1));
        self
    }

    /// Enqueues `args` at each tick of `cron` (with seconds, UTC), once however many workers run.
    pub fn schedule<J: JobArgs + Clone>(
        self,
        name: &'static str,
        cron: &str,
        args: J,
    ) -> Result<Self, cron::error::Error> {
        self.schedule_with(name, cron, Timing::default(), args)
    }

    /// The same, by another clock or with another way of catching up.
    pub fn schedule_with<J: JobArgs + Clone>(
        mut self,
        name: &'static str,
        cron: &str,
        timing: Timing,
        args: J,
    ) -> Result<Self, cron::error::Error> {
        self.schedules.push(Schedule {
            name,
            kind: J::KIND,
            cron: cron::Schedule::from_str(cron)?,
            timing,
            enqueue: Box::new(move |tx| {
                let args = args.clone();
                Box::pin(async move { tx.enqueue(&args).await })
            }),
        });
        Ok(self)
    }

    /// The queues of all kinds, each with its kinds.
    pub(super) fn queues(&self) -> BTreeMap<&'static str, Vec<&'static str>> {
        let mut queues: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
        for (name, kind) in &self.kinds {
            queues.entry(kind.queue).or_default().push(name);
        }
        queues
    }
}

fn run<S: Send + Sync + 'static, J: Run<S>>(
    args: &str,
    context: JobContext,
    state: Arc<S>,
) -> BoxFuture<'static, Result<Option<String>, Failure>> {
    match serde_json::from_str::<J>(args) {
        Ok(job) => Box::pin(async move {
            let output = job.run(context, state).await?;
            // Its effects are there: running it again would only repeat them.
            payload::result(&output).map_err(|error| {
                Failure::Discard(anyhow::Error::new(error).context("the result can't be written as JSON"))
            })
        }),
        Err(error) => Box::pin(async move { Err(Failure::Undecodable(error)) }),
    }
}
