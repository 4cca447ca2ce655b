//! What happens when Label Studio tells of an annotation: one short transaction, the same for a webhook and for
//! what reconciliation finds.

use crate::{
    domain::{AnnotatorId, AssignmentId, AssignmentTaskState, EventSource, event::AnnotationEvent},
    ops::{
        Result,
        jobs::{AssignBatch, ExportAssignment, ScoreGold},
    },
    queue::{self, Tx},
    store::{self, annotations},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingested {
    Recorded,
    /// The event was there already: nothing was changed.
    Duplicate,
    /// The task belongs to no assignment of this annotator: the event is kept, and nothing follows from it.
    Unassigned,
}

/// Takes in the events of one message, all or none. The annotator was authenticated by the caller.
pub async fn ingest(
    queue: &queue::Client,
    annotator: AnnotatorId,
    source: EventSource,
    events: &[AnnotationEvent],
) -> Result<Vec<Ingested>> {
    let mut tx = queue.begin().await?;
    let mut outcomes = Vec::with_capacity(events.len());
    for event in events {
        outcomes.push(ingest_one(&mut tx, annotator, source, event).await?);
    }
    annotations::touch_annotator(&mut tx, annotator).await?;
    tx.commit().await?;
    Ok(outcomes)
}

async fn ingest_one(
    tx: &mut Tx,
    annotator: AnnotatorId,
    source: EventSource,
    event: &AnnotationEvent,
) -> Result<Ingested> {
    let located = annotations::locate(tx, annotator, event).await?;
    let task = located.map(|task| task.id);
    if !annotations::record_event(tx, annotator, source, event, task).await? {
        return Ok(Ingested::Duplicate);
    }
    let Some(task) = located else { return Ok(Ingested::Unassigned) };
    match &event.annotation {
        Some(annotation) => {
            annotations::upsert(tx, annotator, task.id, event.annotation_id, annotation).await?;
        }
        None => annotations::mark_deleted(tx, annotator, event.annotation_id).await?,
    }
    let state = annotations::settle(tx, task).await?;
    // An answer that was changed or taken back is scored again too.
    if task.is_gold && (state == AssignmentTaskState::Done || task.state == AssignmentTaskState::Done) {
        tx.enqueue(&ScoreGold { assignment_task_id: task.id }).await?;
    }
    finish_if_done(tx, task.assignment_id, annotator).await?;
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
