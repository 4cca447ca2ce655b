//! Reconciliation on request: runs the job that the schedule runs, and waits for its report.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Error, Result, jobs::Reconcile};
use crate::domain::{AnnotatorId, AssignmentId};
use crate::queue::{
    self,
    admin::{self, JobState},
};

/// What a run came to; the job's result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// Assignments in progress that were compared with Label Studio.
    pub reconciled: u32,
    /// Of these, how many turned out to be complete.
    pub completed: u32,
    /// What could not be compared, and why.
    pub errors: Vec<String>,
    /// What differed, and is repaired or on its way to be.
    #[serde(default)]
    pub drift: Vec<Drift>,
}

/// A difference between what we believed and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    pub kind: DriftKind,
    /// Whose instance or batch, where it is one's.
    #[schema(value_type = Option<i64>)]
    pub annotator_id: Option<AnnotatorId>,
    #[schema(value_type = Option<i64>)]
    pub assignment_id: Option<AssignmentId>,
    /// Of how many events or tasks; 1 where it is the thing itself.
    pub count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Annotations of which no webhook told: taken in.
    MissedCreate,
    MissedUpdate,
    /// Created or updated as skips.
    MissedSkip,
    MissedDelete,
    /// A project is not in Label Studio: its open tasks are published again, answers that we have stay.
    ProjectMissing,
    /// Open tasks are not in their project: they are published again.
    TaskMissing,
    /// A project does not tell us of its annotations, since its webhook was removed or changed: it is made again.
    WebhookMissing,
    /// A batch is over and its project is still there: it is closed.
    ProjectLeftOpen,
    /// An active annotator's instance does not run: it is provisioned again.
    InstanceGone,
    /// It runs and has not answered for minutes: it is stopped, and provisioned again.
    InstanceSilent,
    /// An instance that belongs to no annotator: it is removed.
    InstanceUnowned,
    /// An instance of an annotator who is not active runs: it is stopped.
    InstanceUnwanted,
    /// `starting`, and nothing is under way: provisioned again, or `error` after an hour.
    StartStuck,
    /// `stopping`, and nothing is under way: stopped again.
    StopStuck,
    /// A pending batch, and not all that brings it on is under way: what is missing is enqueued.
    BatchStuck,
    /// A complete batch was not exported, or changed since, and nothing is under way or a file failed for good: it is
    /// exported.
    ExportMissing,
    /// Tasks reserved by a batch that is over or gone: back to the pool.
    ReservationStranded,
    /// A rejection waits, and nothing is under way: it is routed.
    RejectionPending,
}

impl Drift {
    pub fn of_annotator(kind: DriftKind, annotator: AnnotatorId) -> Self {
        Self { kind, annotator_id: Some(annotator), assignment_id: None, count: 1 }
    }

    pub fn of_batch(
        kind: DriftKind,
        annotator: Option<AnnotatorId>,
        assignment: AssignmentId,
        count: u32,
    ) -> Self {
        Self { kind, annotator_id: annotator, assignment_id: Some(assignment), count }
    }
}

/// Waits for a run, one under way if there is one: two at once would do the same.
pub async fn run(queue: &queue::Client, patience: Duration) -> Result<Report> {
    let mut tx = queue.begin().await?;
    let id = tx.enqueue(&Reconcile {}).await?.id;
    tx.commit().await?;
    let job = admin::wait_for(queue, id, patience).await.map_err(|error| match error {
        admin::AdminError::Database(error) => error.into(),
        other => Error::Internal(other.into()),
    })?;
    match job.state {
        JobState::Completed => queue.result::<Reconcile>(id).await.map_err(|error| match error {
            queue::ResultError::Database(error) => error.into(),
            other => Error::Internal(other.into()),
        }),
        JobState::Discarded | JobState::Cancelled => Err(Error::Unavailable(format!(
            "reconciliation failed (job {id}): {}",
            job.last_error.as_deref().unwrap_or("no cause was recorded")
        ))),
        _ => Err(Error::Unavailable(format!(
            "reconciliation goes on (job {id} is {}); is a labelfleet-worker running?",
            job.state
        ))),
    }
}
