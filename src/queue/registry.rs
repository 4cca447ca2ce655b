//! Which kinds of jobs a worker runs, how many at once, and what it starts by schedule: one explicit list.

use std::{collections::BTreeMap, str::FromStr, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{
    client::{Enqueued, Tx},
    job::{JobArgs, JobContext, Run},
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

/// The kind's own types are known inside only.
type Handler<S> = fn(&str, JobContext, Arc<S>) -> BoxFuture<'static, Result<serde_json::Value, Failure>>;

/// Jobs that start by the clock.
pub(super) struct Schedule {
    pub name: &'static str,
    pub kind: &'static str,
    pub cron: cron::Schedule,
    pub enqueue: Enqueue,
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
        mut self,
        name: &'static str,
        cron: &str,
        args: J,
    ) -> Result<Self, cron::error::Error> {
        self.schedules.push(Schedule {
            name,
            kind: J::KIND,
            cron: cron::Schedule::from_str(cron)?,
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
) -> BoxFuture<'static, Result<serde_json::Value, Failure>> {
    match serde_json::from_str::<J>(args) {
        Ok(job) => Box::pin(async move { job.run(context, state).await.map_err(Failure::from) }),
        Err(error) => Box::pin(async move { Err(Failure::Undecodable(error)) }),
    }
}
