//! The early end of assignments: cancelled by an operator, or reclaimed because nothing happens in them.
//!
//! Either way the open tasks go back to the pool at once, and a job closes the project: it takes in what Label Studio
//! holds and removes it.

use std::{collections::HashSet, time::Duration};

use super::{
    Error, Result, ingest,
    jobs::{AssignBatch, CloseProject},
};
use crate::{
    domain::{AnnotatorId, AssignmentId, AssignmentStatus, JobRef, settings::IDLE_HOURS},
    lock::{Key, lock_all_in},
    queue::{self, JobArgs, Tx},
    store::{assignment_views, closing, settings},
};

pub async fn cancel(queue: &queue::Client, id: AssignmentId) -> Result<()> {
    let mut tx = queue.begin().await?;
    let Some(annotator_id) = closing::cancel(&mut tx, id).await? else {
        let assignment = assignment_views::get(&mut tx, id).await?.ok_or(Error::NotFound("Assignment"))?;
        return Err(Error::Conflict(format!("Cannot cancel assignment with status: {}", assignment.status)));
    };
    tx.enqueue(&CloseProject { assignment_id: id }).await?;
    tx.enqueue(&AssignBatch { annotator_id }).await?;
    Ok(tx.commit().await?)
}

/// Cancels whatever annotators who are to be deleted have in hand; their projects go with their instances.
pub(super) async fn cancel_open(tx: &mut Tx, annotators: &[AnnotatorId]) -> Result<()> {
    // Several batches are locked here: no event locks them in another order, and nothing is assigned meanwhile.
    lock_all_in(tx, annotators.iter().map(|id| Key::Events(id.0))).await?;
    lock_all_in(tx, annotators.iter().map(|id| Key::AssignTo(id.0))).await?;
    Ok(closing::cancel_open_of(tx, annotators).await?)
}

/// After how long without an event batches are reclaimed, as the settings say; none: never.
pub async fn idle_time(queue: &queue::Client) -> Result<Option<Duration>> {
    let hours = settings::effective(&mut *queue.pool().acquire().await?, &IDLE_HOURS).await?;
    Ok((hours > 0.0).then(|| Duration::from_secs_f64(hours * 3600.0)))
}

/// Open batches of which nothing was heard for so long.
pub async fn idle(queue: &queue::Client, idle: Duration) -> Result<Vec<AssignmentId>> {
    Ok(closing::idle(&mut *queue.pool().acquire().await?, idle).await?)
}

/// Takes a batch back if it is idle still: what is open goes to the pool, what is done is exported. Its annotator
/// gets no other until they are seen at work, started again, or given one by hand. None: it is not idle any more.
pub async fn reclaim(
    queue: &queue::Client,
    id: AssignmentId,
    idle: Duration,
    job: JobRef,
) -> Result<Option<AssignmentStatus>> {
    let mut tx = queue.begin().await?;
    let Some(status) = closing::reclaim(&mut tx, id, idle, job).await? else { return Ok(None) };
    if status == AssignmentStatus::Completed {
        ingest::deliver(&mut tx, id).await?;
    }
    tx.enqueue(&CloseProject { assignment_id: id }).await?;
    tx.commit().await?;
    Ok(Some(status))
}

/// Enqueues the closing of projects that outlived their batches; returns of which it was not asked for before.
pub async fn close_what_is_over(tx: &mut Tx, annotator: AnnotatorId) -> Result<Vec<AssignmentId>> {
    let over = closing::to_close(tx, annotator).await?;
    let jobs: Vec<_> = over.into_iter().map(|assignment_id| CloseProject { assignment_id }).collect();
    let new: HashSet<_> = tx.enqueue_many(&jobs).await?.into_iter().map(|job| job.unique_key).collect();
    let asked_now = jobs.into_iter().filter(|job| new.contains(&job.unique_key()));
    Ok(asked_now.map(|job| job.assignment_id).collect())
}
