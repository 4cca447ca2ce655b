//! Compares what we believe with what is: every active annotator's Label Studio, project by project. What a missed
//! webhook would have told is taken in by the same use case; what should be under way and is not is enqueued.
//!
//! Level-triggered: it takes no input, and a second run finds nothing more to do.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use labelfleet::{
    domain::{
        AnnotationAction, AnnotatorId, EventSource,
        event::{AnnotationEvent, from_listing},
    },
    lock::{Key, LockError, Session},
    ops::{
        ingest::{Ingested, ingest},
        jobs::{AssignBatch, ExportAssignment, ProvisionInstance, Reconcile},
    },
    queue::{JobContext, JobError, JobResult, OrRetry, Run},
    store::{self, publishing::Instance, reconciling::InProgress},
};
use serde::Serialize;
use serde_json::json;

use crate::{Deps, instance, label_studio::Client};

/// Instances asked at the same time.
const AT_ONCE: usize = 8;
const PAGE: usize = 100;

/// What an operator reads.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Assignments in progress that were compared with Label Studio.
    reconciled: usize,
    /// Of these, how many turned out to be complete.
    completed: usize,
    /// Events that no webhook had told us.
    events_found: usize,
    /// Annotators whose instance was gone and is started again.
    instances_restarted: usize,
    /// What could not be compared, and why.
    errors: Vec<String>,
}

impl Run<Deps> for Reconcile {
    async fn run(self, _: JobContext, deps: Arc<Deps>) -> JobResult {
        let lock = match Session::try_acquire(&deps.pool, Key::Reconcile).await {
            Ok(lock) => lock,
            Err(LockError::Taken(_)) => return Err(JobError::Snooze(Duration::from_secs(1))),
            Err(error) => return Err(JobError::Retry(error.into())),
        };
        let report = reconcile(&deps).await;
        lock.release().await;
        Ok(json!(report.or_retry()?))
    }
}

async fn reconcile(deps: &Deps) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut db = deps.pool.acquire().await?;
    let instances = store::reconciling::instances(&mut db).await?;
    drop(db);
    let mut outcomes = stream::iter(instances)
        .map(|instance| async move { (instance.annotator_id, compare(deps, &instance).await) })
        .buffer_unordered(AT_ONCE);
    while let Some((annotator, outcome)) = outcomes.next().await {
        match outcome {
            Ok(compared) => report.add(compared),
            Err(error) => {
                tracing::warn!(%annotator, error = format!("{error:#}"), "an annotator was not reconciled");
                report.errors.push(format!("annotator {annotator}: {error:#}"));
            }
        }
    }
    instance::resume(deps).await?;
    resume(deps).await?;
    Ok(report)
}

impl Report {
    fn add(&mut self, other: Self) {
        self.reconciled += other.reconciled;
        self.completed += other.completed;
        self.events_found += other.events_found;
        self.instances_restarted += other.instances_restarted;
        self.errors.extend(other.errors);
    }
}

async fn compare(deps: &Deps, instance: &Instance) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let found = deps.runtime.get(instance.annotator_id).await?;
    if !found.is_some_and(|found| found.running && found.is_at(&instance.host, instance.port)) {
        report.instances_restarted += usize::from(restart(deps, instance.annotator_id).await?);
        return Ok(report);
    }
    let mut db = deps.pool.acquire().await?;
    let believed = store::reconciling::in_progress(&mut db, instance.annotator_id).await?;
    drop(db);
    if believed.is_empty() {
        return Ok(report);
    }
    let client = deps.label_studio(instance)?;
    let projects: Vec<i64> = believed.iter().map(|assignment| assignment.project).collect();
    let counts = client.project_counts(&projects).await?;
    for assignment in believed {
        report.reconciled += 1;
        let is_same = counts.iter().any(|count| {
            count.id == assignment.project
                && count.total_annotations_number == assignment.annotations
                && count.skipped_annotations_number == assignment.skips
                && count.finished_task_number == assignment.done
        });
        if is_same {
            continue;
        }
        report.events_found += take_in(deps, &client, instance.annotator_id, &assignment).await?;
        let mut db = deps.pool.acquire().await?;
        report.completed += usize::from(store::assignments::is_completed(&mut db, assignment.id).await?);
    }
    Ok(report)
}

/// Lists a project page by page and takes in what we did not know; returns how many events that were.
async fn take_in(
    deps: &Deps,
    client: &Client,
    annotator: AnnotatorId,
    assignment: &InProgress,
) -> anyhow::Result<usize> {
    let mut db = deps.pool.acquire().await?;
    let mut held: HashMap<i64, DateTime<Utc>> =
        store::annotations::held(&mut db, assignment.id).await?.into_iter().collect();
    drop(db);
    let mut found = 0;
    let mut pages = pin!(client.tasks(assignment.project, PAGE));
    while let Some(page) = pages.try_next().await? {
        let mut events = Vec::new();
        for task in page {
            let described = json!({"id": task.id, "data": task.data, "project": assignment.project});
            for annotation in &task.annotations {
                let known = annotation["id"].as_i64().and_then(|id| held.remove(&id));
                let event = from_listing(&described, annotation, known.is_some())?;
                if known.is_none_or(|known| event.occurred_at().is_some_and(|now| now > known)) {
                    events.push(event);
                }
            }
        }
        found += recorded(&ingest(&deps.queue, annotator, EventSource::Reconcile, &events).await?);
    }
    // What is left was not in the listing: taken back.
    let deletions: Vec<AnnotationEvent> = held
        .into_keys()
        .map(|annotation_id| AnnotationEvent {
            action: AnnotationAction::Deleted,
            annotation_id,
            ls_task_id: None,
            ls_project_id: Some(assignment.project),
            token: None,
            annotation: None,
        })
        .collect();
    found += recorded(&ingest(&deps.queue, annotator, EventSource::Reconcile, &deletions).await?);
    Ok(found)
}

fn recorded(outcomes: &[Ingested]) -> usize {
    outcomes.iter().filter(|outcome| **outcome == Ingested::Recorded).count()
}

/// An instance that should run and does not: active -> starting, and provisioned again from what it left.
async fn restart(deps: &Deps, annotator: AnnotatorId) -> anyhow::Result<bool> {
    let mut tx = deps.queue.begin().await?;
    let restarted = store::reconciling::active_to_starting(&mut tx, annotator).await?;
    if restarted {
        tx.enqueue(&ProvisionInstance { annotator_id: annotator }).await?;
    }
    tx.commit().await?;
    Ok(restarted)
}

/// Enqueues what should be under way: exports of completed batches, and the next batch of whoever has none.
async fn resume(deps: &Deps) -> anyhow::Result<()> {
    let mut tx = deps.queue.begin().await?;
    let exports: Vec<_> = store::reconciling::unexported(&mut tx)
        .await?
        .into_iter()
        .map(|assignment_id| ExportAssignment { assignment_id })
        .collect();
    tx.enqueue_many(&exports).await?;
    let batches: Vec<_> = store::reconciling::without_work(&mut tx)
        .await?
        .into_iter()
        .map(|annotator_id| AssignBatch { annotator_id })
        .collect();
    tx.enqueue_many(&batches).await?;
    tx.commit().await?;
    Ok(())
}
