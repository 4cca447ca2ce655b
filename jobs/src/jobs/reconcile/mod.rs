//! Compares what we believe with what is, and repairs it. Level-triggered: it takes no input, and a run after one that
//! repaired everything finds nothing.
//!
//! - [`projects`]: each active annotator's Label Studio, project by project
//! - [`silence`]: instances that run and do not answer
//! - [`instances`]: what runs, against what should
//! - [`batches`]: our own tables, where a lost job left something half done
//!
//! Cost: an annotator whose work is in order costs a look at the runtime, one request for the counts of all their
//! projects, and two a project: for its webhook while it is worked on, and for a single task, the one that changed
//! last. Only where that is later than the last comparison are tasks listed, and only those that changed; all of a
//! project's, when it is compared for the first time or its counts differ.

mod batches;
mod instances;
mod projects;
mod silence;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use labelfleet::{
    domain::JobRef,
    lock::{Key, LockError, Session},
    ops::{
        jobs::Reconcile,
        reconcile::{Drift, Report},
    },
    queue::{JobArgs, JobContext, JobError, JobResult, OrRetry, Run},
    store,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Deps;

/// Instances asked at the same time.
const AT_ONCE: usize = 16;
/// One that takes longer is told of as an error, and goes on with the next run.
const EACH: Duration = Duration::from_secs(120);
/// For all of them, so that a report can still be given.
const ALL: Duration = Duration::from_secs(Reconcile::TIMEOUT.as_secs() - 120);

impl Run<Deps> for Reconcile {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Report> {
        let lock = match Session::try_acquire(&deps.pool, Key::Reconcile).await {
            Ok(lock) => lock,
            Err(LockError::Taken(_)) => return Err(JobError::Snooze(Duration::from_secs(1))),
            Err(error) => return Err(JobError::Retry(error.into())),
        };
        let report = reconcile(&deps, JobRef(context.id.0)).await;
        lock.release().await;
        report.or_retry()
    }
}

/// One part that fails does not stop the others: the report says which did, and why.
async fn reconcile(deps: &Deps, job: JobRef) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut db = deps.pool.acquire().await?;
    let instances = store::reconciling::instances(&mut db).await?;
    drop(db);
    let mut left: BTreeSet<_> = instances.iter().map(|instance| instance.annotator_id).collect();
    let mut outcomes = stream::iter(instances)
        .map(|instance| async move {
            let compared = timeout(EACH, projects::compare(deps, &instance)).await;
            let compared = compared.unwrap_or_else(|_| Err(anyhow::anyhow!("not compared within {EACH:?}")));
            (instance.annotator_id, compared)
        })
        .buffer_unordered(AT_ONCE);
    let deadline = Instant::now() + ALL;
    while let Ok(Some((annotator, compared))) = timeout_at(deadline, outcomes.next()).await {
        left.remove(&annotator);
        match compared {
            Ok(compared) => add(&mut report, compared),
            Err(error) => fail(&mut report, &format!("annotator {annotator}"), &error),
        }
    }
    for annotator in left {
        report.errors.push(format!("annotator {annotator}: not reached within {ALL:?}"));
    }
    drop(outcomes);
    let parts = [("instances", instances::settle(deps).await), ("batches", batches::settle(deps, job).await)];
    for (part, settled) in parts {
        match settled {
            Ok(drift) => report.drift.extend(drift),
            Err(error) => fail(&mut report, part, &error),
        }
    }
    for Drift { kind, annotator_id, assignment_id, count } in &report.drift {
        tracing::warn!(?kind, annotator = ?annotator_id, assignment = ?assignment_id, count, "drift was found");
    }
    Ok(report)
}

fn add(report: &mut Report, other: Report) {
    report.reconciled += other.reconciled;
    report.completed += other.completed;
    report.errors.extend(other.errors);
    report.drift.extend(other.drift);
}

fn fail(report: &mut Report, what: &str, error: &anyhow::Error) {
    tracing::warn!(what, error = format!("{error:#}"), "not reconciled");
    report.errors.push(format!("{what}: {error:#}"));
}
