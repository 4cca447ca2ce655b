//! What happens when Label Studio tells of an annotation: one short transaction, the same for a webhook and for
//! what reconciliation finds.

use serde_json::Value;

use crate::{
    domain::{
        AnnotatorId, AssignmentId, AssignmentTaskState, EventSource, Secrets,
        event::{AnnotationEvent, from_webhook},
    },
    ops::{
        Error, Result, annotator_secret,
        jobs::{AssignBatch, ExportAssignment, ScoreGold},
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
    ingest_all(&mut tx, annotator, EventSource::Webhook, &events).await?;
    Ok(tx.commit().await?)
}

/// Takes in events that were found otherwise, all or none.
pub async fn ingest(
    queue: &queue::Client,
    annotator: AnnotatorId,
    source: EventSource,
    events: &[AnnotationEvent],
) -> Result<Vec<Ingested>> {
    let mut tx = queue.begin().await?;
    let outcomes = ingest_all(&mut tx, annotator, source, events).await?;
    tx.commit().await?;
    Ok(outcomes)
}

/// The caller commits next: counting is last, since its row is one that all of the annotator's events share.
async fn ingest_all(
    tx: &mut Tx,
    annotator: AnnotatorId,
    source: EventSource,
    events: &[AnnotationEvent],
) -> Result<Vec<Ingested>> {
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        outcomes.push(ingest_one(tx, annotator, source, event).await?);
    }
    let told = events.iter().zip(&outcomes);
    let recorded: Vec<_> = told.filter(|told| *told.1 == Ingested::Recorded).map(|told| told.0).collect();
    rollups::count(tx, annotator, &recorded).await?;
    Ok(outcomes)
}

async fn ingest_one(
    tx: &mut Tx,
    annotator: AnnotatorId,
    source: EventSource,
    event: &AnnotationEvent,
) -> Result<Ingested> {
    let kept = annotations::keep(tx, annotator, source, event).await?;
    if !kept.is_new {
        return Ok(Ingested::Duplicate);
    }
    let Some(task) = kept.task else { return Ok(Ingested::Unassigned) };
    if event.annotation.is_none() {
        annotations::mark_deleted(tx, annotator, event.annotation_id).await?;
    }
    let settled = annotations::settle(tx, task).await?;
    // An answer that was changed or taken back is scored again too, and a skip is counted.
    let was_or_is_answered = [settled.before, settled.after]
        .iter()
        .any(|state| matches!(state, AssignmentTaskState::Done | AssignmentTaskState::Skipped));
    if settled.is_gold && was_or_is_answered {
        tx.enqueue(&ScoreGold { assignment_task_id: task }).await?;
    }
    if settled.is_batch_over {
        finish_if_done(tx, settled.assignment_id, annotator).await?;
    }
    Ok(Ingested::Recorded)
}

/// Completes an assignment whose tasks are all done, exports it and hands out the next. One that was completed
/// before is exported again: something in it has changed.
pub async fn finish_if_done(tx: &mut Tx, assignment: AssignmentId, annotator: AnnotatorId) -> Result<bool> {
    let completed = store::assignments::complete_if_done(tx, assignment).await?;
    if completed {
        tx.enqueue(&AssignBatch { annotator_id: annotator }).await?;
    }
    if completed || store::assignments::touch_completed(tx, assignment).await? {
        tx.enqueue(&ExportAssignment { assignment_id: assignment }).await?;
    }
    Ok(completed)
}
