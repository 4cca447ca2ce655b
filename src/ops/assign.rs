//! Handing out work: tasks leave the pool and become a batch of one annotator.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{AnnotatorId, AnnotatorStatus, AssignmentId, JobRef, WorkflowId},
    lock::{Key, lock_in},
    ops::{
        Error, Result,
        jobs::{AssignBatch, InjectGold, PublishAssignment, SyncSource},
    },
    queue::{self, Tx},
    store::{self, tasks::Wanted},
};

/// Assigns a batch of this workflow to this annotator, as an operator asked for it.
pub async fn assign(
    queue: &queue::Client,
    workflow: WorkflowId,
    annotator: AnnotatorId,
) -> Result<AssignmentId> {
    let mut tx = queue.begin().await?;
    let id = assign_in(&mut tx, workflow, annotator, None).await?;
    tx.commit().await?;
    Ok(id)
}

/// What came of looking for an annotator's next batch; the job's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    #[serde(rename = "assignmentId")]
    Assigned(AssignmentId),
    /// They have a batch in hand, are not active, or left their last one idle until it was taken back.
    #[serde(rename = "has a batch, or is not active")]
    NotNow,
    /// No workflow of theirs has work. The sources are listed again, which assigns if anything is new.
    #[serde(rename = "no work: looking again at the sources")]
    NoWork,
}

/// Assigns the annotator's next batch, unless they have one in hand, as this job's doing.
pub async fn assign_next(tx: &mut Tx, annotator: AnnotatorId, job: JobRef) -> Result<Next> {
    // Two at once would both find the annotator free.
    lock_in(tx, Key::AssignTo(annotator.0)).await?;
    let active = store::assigning::annotator(tx, annotator)
        .await?
        .is_some_and(|annotator| annotator.status == AnnotatorStatus::Active);
    if !active
        || store::assigning::has_open_batch(tx, annotator).await?
        || store::assigning::is_away(tx, annotator).await?
    {
        return Ok(Next::NotNow);
    }
    let choices = store::assigning::choices(tx, annotator).await?;
    for choice in choices.iter().filter(|choice| choice.has_work) {
        match assign_in(tx, choice.id, annotator, Some(job)).await {
            Ok(id) => return Ok(Next::Assigned(id)),
            // Someone else took the last of it.
            Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for choice in choices.iter().filter(|choice| choice.lists_source) {
        tx.enqueue(&SyncSource { workflow_id: choice.id }).await?;
    }
    Ok(Next::NoWork)
}

/// Has those look for a batch who wait for one and whom this workflow has work for.
pub async fn offer(tx: &mut Tx, workflow: WorkflowId) -> Result<()> {
    let waiting = store::assigning::waiting_annotators(tx, workflow).await?;
    let jobs: Vec<_> = waiting.into_iter().map(|annotator_id| AssignBatch { annotator_id }).collect();
    tx.enqueue_many(&jobs).await?;
    Ok(())
}

/// Has batches go on that are reserved but not yet in Label Studio: their annotator may have been stopped meanwhile, or a
/// job of theirs was lost. Returns those of which one was not on its way.
pub async fn resume_pending(tx: &mut Tx, annotator: AnnotatorId) -> Result<Vec<AssignmentId>> {
    // Before the jobs' rows, as mixing gold in takes both.
    lock_in(tx, Key::AssignTo(annotator.0)).await?;
    let mut resumed = Vec::new();
    for pending in store::assigning::pending_batches(tx, annotator).await? {
        let was_lost = if pending.has_gold {
            tx.bring_on(&PublishAssignment { assignment_id: pending.id }).await?
        } else {
            mix_in_and_publish(tx, pending.id).await?
        };
        if was_lost {
            resumed.push(pending.id);
        }
    }
    Ok(resumed)
}

/// Has gold mixed into a batch, and the batch published after that; false: both were on their way. A publishing that waits
/// for gold of another job, which was lost, waits for this.
pub async fn mix_in_and_publish(tx: &mut Tx, assignment_id: AssignmentId) -> Result<bool> {
    let gold = tx.enqueue(&InjectGold { assignment_id }).await?;
    let publishing = tx.enqueue_after(&[gold.id], &PublishAssignment { assignment_id }).await?;
    Ok(gold.is_new || publishing.is_new)
}

async fn assign_in(
    tx: &mut Tx,
    workflow: WorkflowId,
    annotator: AnnotatorId,
    job: Option<JobRef>,
) -> Result<AssignmentId> {
    let lock = lock_in(tx, Key::Workflow(workflow.0)).await?;
    let from = store::assigning::workflow(tx, workflow).await?.ok_or(Error::NotFound("Workflow"))?;
    let to = store::assigning::annotator(tx, annotator).await?.ok_or(Error::NotFound("Annotator"))?;
    if to.status != AnnotatorStatus::Active {
        return Err(Error::Refused(format!(
            "Annotator is {}, not active: start the annotator first",
            to.status
        )));
    }
    if from.role_id.is_some() && from.role_id != to.role_id {
        return Err(Error::Refused("Annotator does not have the workflow's role".into()));
    }
    if !from.is_active {
        return Err(Error::Refused("Workflow is paused: set isActive to assign from it".into()));
    }
    let batches = store::assigning::batches(tx, workflow, annotator).await?;
    let is_full = from.max_projects.is_some_and(|max| batches >= i64::from(max));
    let wanted = Wanted {
        limit: i64::from(from.images_per_project),
        shuffle: from.shuffle_images,
        // What comes back to them comes back, however many batches they have had.
        only_reserved: is_full,
    };
    let tasks = store::tasks::take_available(tx, &lock, workflow, annotator, wanted).await?;
    if tasks.is_empty() && is_full {
        return Err(Error::Refused(format!(
            "Annotator has had {batches} batches, as many as maxProjects allows"
        )));
    }
    if tasks.is_empty() {
        return Err(Error::Conflict("No images available for assignment".into()));
    }
    let id = store::assignments::create(tx, workflow, annotator, &tasks, job).await?;
    mix_in_and_publish(tx, id).await?;
    Ok(id)
}
