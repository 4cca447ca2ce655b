//! What happens when Label Studio tells of an annotation: one short transaction, the same for a webhook and for
//! what reconciliation finds.
//!
//! It locks in the order of `docs/ARCHITECTURE.md`: the annotator's events, batches with their tasks, and only when
//! all of them are settled what many share: the jobs that follow, the totals, the annotator.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    domain::{
        AnnotatorId, AssignmentId, AssignmentTaskId, AssignmentTaskState, EventSource, Secrets,
        event::{Annotation, AnnotationEvent, from_webhook},
        review,
    },
    lock::{Key, lock_in},
    ops::{
        Error, Result, annotator_secret,
        jobs::{AssignBatch, ChainAssignment, ExportAssignment, ScoreGold},
        reviews,
    },
    queue::{self, Tx},
    store::{self, annotations, rollups},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingested {
    Recorded,
    /// The event was there already: nothing was changed.
    Duplicate,
    /// The task belongs to no assignment of this annotator: the event is kept, and nothing follows from it.
    Unassigned,
}

impl Ingested {
    fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Duplicate => "duplicate",
            Self::Unassigned => "unassigned",
        }
    }
}

/// Takes in what Label Studio tells, once the annotator's secret was `shown`. Both share a transaction: the
/// annotator waits, and each connection that is taken from the pool costs round trips of its own.
pub async fn webhook(
    queue: &queue::Client,
    secrets: &Secrets,
    annotator: AnnotatorId,
    shown: &str,
    body: &[u8],
) -> Result<()> {
    let mut tx = queue.begin().await?;
    annotator_secret::check(&mut tx, secrets, annotator, shown).await?;
    let body: Value = super::parse::json(body)?;
    let events =
        from_webhook(&body).map_err(|bad| Error::invalid(bad.path, format!("must be {}", bad.wanted)))?;
    let outcomes = take_in(&mut tx, annotator, EventSource::Webhook, &events).await?;
    tx.commit().await?;
    count(EventSource::Webhook, &outcomes);
    Ok(())
}

/// Takes in events that were found otherwise, all or none.
pub async fn ingest(
    queue: &queue::Client,
    annotator: AnnotatorId,
    source: EventSource,
    events: &[AnnotationEvent],
) -> Result<Vec<Ingested>> {
    let mut tx = queue.begin().await?;
    let outcomes = take_in(&mut tx, annotator, source, events).await?;
    tx.commit().await?;
    count(source, &outcomes);
    Ok(outcomes)
}

async fn take_in(
    tx: &mut Tx,
    annotator: AnnotatorId,
    source: EventSource,
    events: &[AnnotationEvent],
) -> Result<Vec<Ingested>> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let lock = lock_in(tx, Key::Events(annotator.0)).await?;
    let mut outcomes = Vec::with_capacity(events.len());
    let mut recorded = Vec::with_capacity(events.len());
    let (mut batches, mut was_away) = (BTreeMap::new(), false);
    let (mut gold, mut reviewed) = (BTreeSet::new(), BTreeSet::new());
    for events in portions(events) {
        let kept = annotations::keep(tx, &lock, annotator, source, events).await?;
        let (mut deleted, mut spoken_of) = (Vec::new(), BTreeMap::new());
        for (event, kept) in events.iter().zip(kept) {
            was_away |= kept.was_away;
            outcomes.push(match (kept.is_new, kept.task) {
                (false, _) => Ingested::Duplicate,
                (true, None) => Ingested::Unassigned,
                (true, Some(_)) => Ingested::Recorded,
            });
            let Some(task) = kept.task.filter(|_| kept.is_new) else { continue };
            recorded.push(event);
            let speaks = |annotation: &Annotation| review::is_told_by(&annotation.payload["result"]);
            *spoken_of.entry(task).or_default() |= event.annotation.as_ref().is_some_and(speaks);
            if event.annotation.is_none() {
                deleted.push(event.annotation_id);
            }
        }
        if spoken_of.is_empty() {
            continue;
        }
        if !deleted.is_empty() {
            annotations::mark_deleted(tx, annotator, &deleted).await?;
        }
        let tasks: Vec<AssignmentTaskId> = spoken_of.keys().copied().collect();
        for settled in annotations::settle(tx, &tasks).await? {
            // An answer that was changed or taken back is scored again too, and a skip is counted.
            let was_or_is_answered = [settled.before, settled.after]
                .iter()
                .any(|state| matches!(state, AssignmentTaskState::Done | AssignmentTaskState::Skipped));
            if settled.is_gold && was_or_is_answered {
                gold.insert(settled.place);
            }
            let speaks = spoken_of.get(&settled.place).is_some_and(|speaks| *speaks);
            if !settled.is_gold && (settled.is_reviewed || speaks) {
                reviewed.insert(settled.place);
            }
            batches.insert(settled.assignment_id, settled.is_batch_over);
        }
    }
    for place in reviewed {
        reviews::record(tx, place).await?;
    }
    let scores: Vec<_> =
        gold.into_iter().map(|assignment_task_id| ScoreGold { assignment_task_id }).collect();
    tx.enqueue_many(&scores).await?;
    for (assignment, _) in batches.into_iter().filter(|(_, is_over)| *is_over) {
        finish(tx, assignment, annotator).await?;
    }
    rollups::count(tx, annotator, &recorded).await?;
    if was_away {
        annotations::note_at_work(tx, annotator).await?;
    }
    Ok(outcomes)
}

/// The events in their order, in as few parts as have no annotation twice: one, but where a body or a listing tells of
/// several versions.
fn portions(events: &[AnnotationEvent]) -> Vec<&[AnnotationEvent]> {
    let (mut portions, mut start, mut seen) = (Vec::new(), 0, BTreeSet::new());
    for (place, event) in events.iter().enumerate() {
        if !seen.insert(event.annotation_id) {
            portions.extend(events.get(start..place));
            (start, seen) = (place, BTreeSet::from([event.annotation_id]));
        }
    }
    portions.extend(events.get(start..));
    portions
}

/// Once they are committed. An event of a task that is in no batch is seen here, and among the events.
fn count(source: EventSource, outcomes: &[Ingested]) {
    for outcome in outcomes {
        let labels = [("source", source.as_str()), ("outcome", outcome.as_str())];
        metrics::counter!("annotation_events_total", &labels).increment(1);
    }
}

/// Completes an assignment whose tasks are all done, exports it, hands its work on and its annotator the next. One
/// that was completed before is exported and handed on again, as something in it has changed; or it is opened again,
/// as an answer was taken back, and what was made of that answer is withdrawn.
pub async fn finish(tx: &mut Tx, assignment: AssignmentId, annotator: AnnotatorId) -> Result<()> {
    if store::assignments::reopen_if_undone(tx, assignment).await? {
        tx.enqueue(&ChainAssignment { assignment_id: assignment }).await?;
        return Ok(());
    }
    let is_completed = store::assignments::complete_if_done(tx, assignment).await?;
    if is_completed {
        tx.enqueue(&AssignBatch { annotator_id: annotator }).await?;
    }
    if is_completed || store::assignments::touch_completed(tx, assignment).await? {
        deliver(tx, assignment).await?;
    }
    Ok(())
}

/// Has a completed assignment exported and its work handed on.
pub(super) async fn deliver(tx: &mut Tx, assignment_id: AssignmentId) -> Result<()> {
    tx.enqueue(&ExportAssignment { assignment_id }).await?;
    tx.enqueue(&ChainAssignment { assignment_id }).await?;
    Ok(())
}
