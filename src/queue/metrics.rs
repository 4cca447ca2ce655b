//! The engine's metrics, by queue and kind and never by worker, whose names have no bound.

use std::collections::BTreeMap;

use metrics::{Counter, Histogram, counter, histogram};

/// The meters of one kind, looked up once.
pub(crate) struct Meter {
    pub wait: Histogram,
    pub run: Histogram,
    pub completed: Counter,
    failed: BTreeMap<&'static str, Counter>,
    unknown: Counter,
}

impl Meter {
    fn new(queue: &'static str, kind: &'static str) -> Self {
        let ended = |outcome: &'static str| counter!("jobs_ended_total", "queue" => queue, "kind" => kind, "outcome" => outcome);
        let outcomes = ["retry", "discard", "snooze", "panic", "timeout", "released", "cancelled"];
        Self {
            wait: histogram!("jobs_wait_seconds", "queue" => queue, "kind" => kind),
            run: histogram!("jobs_run_seconds", "queue" => queue, "kind" => kind),
            completed: ended("completed"),
            failed: outcomes.map(|outcome| (outcome, ended(outcome))).into(),
            unknown: Counter::noop(),
        }
    }

    /// The counter of a run that did not complete.
    pub fn failed(&self, outcome: &str) -> &Counter {
        self.failed.get(outcome).unwrap_or(&self.unknown)
    }
}

/// The meters of all kinds that a worker runs.
pub(crate) struct Meters {
    kinds: BTreeMap<&'static str, Meter>,
    unknown: Meter,
}

impl Meters {
    /// Of pairs of kind and queue.
    pub fn new(kinds: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        Self {
            kinds: kinds.map(|(kind, queue)| (kind, Meter::new(queue, kind))).collect(),
            unknown: Meter::new("unknown", "unknown"),
        }
    }

    pub fn of(&self, kind: &str) -> &Meter {
        self.kinds.get(kind).unwrap_or(&self.unknown)
    }
}

/// How long ids take from their commit to Redis, by queue.
#[derive(Default)]
pub(crate) struct LagMeters(BTreeMap<String, Histogram>);

impl LagMeters {
    pub fn of(&mut self, queue: &str) -> &Histogram {
        self.0
            .entry(queue.to_owned())
            .or_insert_with(|| histogram!("jobs_dispatch_seconds", "queue" => queue.to_owned()))
    }
}

/// How many jobs each claim of a queue brought.
pub(crate) fn claimed(queue: &'static str) -> Histogram {
    histogram!("jobs_claimed", "queue" => queue)
}
