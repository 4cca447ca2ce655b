//! The kinds of jobs, their arguments and what they return ([`super::outputs`]). Handlers live in the package
//! `labelfleet-jobs`, one file each.
//!
//! Only kinds that nothing new can call for while they run are unique: for the others a second enqueue must not
//! be swallowed by a run that has already read its state. They run twice instead, one after the other under
//! their advisory lock. (`export_assignment` is unique, from its beginning to its end: it compares versions before that.)
//!
//! Queues: `instances` holds slow work on a few instances, `labeling` the work of batches, `exports` the files that are
//! written of them, `default` the rest.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    assign::Next,
    outputs::{
        Chained, Closed, Corrected, Exported, NothingToDo, Provisioned, Published, Reclaimed, Routed, Synced,
        WrittenFile,
    },
    reconcile::Report,
};
use crate::{
    domain::{
        AnnotatorId, AssignmentId, AssignmentTaskId, ExportFormat, JobBatchRef, RejectionId, WorkflowId,
    },
    queue::JobArgs,
};

pub const DEFAULT: &str = "default";
pub const EXPORTS: &str = "exports";
pub const INSTANCES: &str = "instances";
pub const LABELING: &str = "labeling";

macro_rules! jobs {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* } $(-> $output:ty)? = $kind:literal,
        $queue:expr, timeout $timeout:literal s, attempts $attempts:literal $(, unique $key:expr)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name { $(pub $field: $ty),* }

        impl JobArgs for $name {
            type Output = output!($($output)?);

            const KIND: &'static str = $kind;
            const QUEUE: &'static str = $queue;
            const TIMEOUT: Duration = Duration::from_secs($timeout);
            const MAX_ATTEMPTS: i32 = $attempts;

            $(fn unique_key(&self) -> Option<String> {
                let key: fn(&Self) -> String = $key;
                Some(key(self))
            })?
        }
    )*};
}

/// Nothing, where a kind does not say what it returns.
macro_rules! output {
    () => {
        ()
    };
    ($output:ty) => {
        $output
    };
}

jobs! {
    /// Database, role and Label Studio of an annotator, until it truly serves.
    ProvisionInstance { annotator_id: AnnotatorId } -> Provisioned = "provision_instance",
        INSTANCES, timeout 600 s, attempts 5;
    /// Stops an annotator's Label Studio and keeps its data.
    StopInstance { annotator_id: AnnotatorId } -> Option<NothingToDo> = "stop_instance",
        INSTANCES, timeout 120 s, attempts 10;
    /// Removes instance, database and role of a deleted annotator.
    RemoveInstance { annotator_id: AnnotatorId } -> Option<NothingToDo> = "remove_instance",
        INSTANCES, timeout 120 s, attempts 20;
    /// Lists a workflow's S3 prefix into the pool.
    SyncSource { workflow_id: WorkflowId } -> Option<Synced> = "sync_source",
        LABELING, timeout 900 s, attempts 10, unique |job| job.workflow_id.to_string();
    /// Reserves the next batch of whatever active workflow of the annotator's role has work.
    AssignBatch { annotator_id: AnnotatorId } -> Next = "assign_batch",
        LABELING, timeout 120 s, attempts 10;
    /// Mixes gold tasks into a reserved batch.
    InjectGold { assignment_id: AssignmentId } = "inject_gold",
        LABELING, timeout 60 s, attempts 10, unique |job| job.assignment_id.to_string();
    /// Creates and fills the assignment's project in Label Studio.
    PublishAssignment { assignment_id: AssignmentId } -> Published = "publish_assignment",
        LABELING, timeout 300 s, attempts 20, unique |job| job.assignment_id.to_string();
    /// Scores a finished gold task.
    ScoreGold { assignment_task_id: AssignmentTaskId } = "score_gold",
        DEFAULT, timeout 30 s, attempts 10;
    /// Exports a completed assignment to S3: begins the writing of its files, waits for them, and writes the manifest.
    ExportAssignment { assignment_id: AssignmentId } -> Option<Exported> = "export_assignment",
        LABELING, timeout 600 s, attempts 20, unique |job| job.assignment_id.to_string();
    /// Writes one file of an export: the batch in a format, or the report of its gold.
    ExportFile { assignment_id: AssignmentId, batch: JobBatchRef, format: Option<ExportFormat> }
        -> Option<WrittenFile> = "export_file", EXPORTS, timeout 600 s, attempts 20;
    /// Brings the counters of an annotator whose work was reviewed to what the review says.
    CountReview { assignment_task_id: AssignmentTaskId } = "count_review",
        DEFAULT, timeout 30 s, attempts 20;
    /// Does with rejected work what the reviewing workflow asks for.
    RouteRejection { rejection_id: RejectionId } -> Routed = "route_rejection",
        LABELING, timeout 120 s, attempts 20;
    /// Hands what is done in a completed batch on to the workflows that follow.
    ChainAssignment { assignment_id: AssignmentId } -> Chained = "chain_assignment",
        LABELING, timeout 300 s, attempts 20;
    /// Takes in what an ended assignment's project holds, and removes it from Label Studio.
    CloseProject { assignment_id: AssignmentId } -> Closed = "close_project",
        LABELING, timeout 300 s, attempts 20, unique |job| job.assignment_id.to_string();
    /// Takes back batches in which nothing happens.
    ReclaimIdle {} -> Reclaimed = "reclaim_idle",
        LABELING, timeout 300 s, attempts 3, unique |_| "all".to_owned();
    /// Compares what we believe with what Label Studio and the runtime hold, and repairs it.
    Reconcile {} -> Report = "reconcile",
        LABELING, timeout 600 s, attempts 1, unique |_| "all".to_owned();
    /// Compares the totals that monitoring reads with what they are made of, and corrects them.
    CorrectRollups {} -> Corrected = "correct_rollups",
        DEFAULT, timeout 1800 s, attempts 3, unique |_| "all".to_owned();
}
