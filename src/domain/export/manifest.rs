//! The last object of an export: while it is there, the files that it names are there as it says.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{LeftOut, Task};
use crate::domain::{AnnotatorId, AssignmentId, ExportFormat, WorkflowId};

/// Raised when a reader of the manifest would notice.
pub const VERSION: u32 = 1;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub manifest_version: u32,
    /// Of LabelFleet.
    pub labelfleet_version: &'static str,
    pub assignment_id: AssignmentId,
    pub workflow_id: WorkflowId,
    pub annotator_id: AnnotatorId,
    pub bucket: String,
    pub counts: Counts,
    pub files: Vec<File>,
}

/// What the batch holds, gold left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub tasks: u64,
    /// Tasks whose standing word is a skip, or that have no annotation left.
    pub tasks_without_annotation: u64,
    /// Skips among them.
    pub annotations: u64,
}

impl Counts {
    pub fn add(&mut self, task: &Task) {
        self.tasks += 1;
        self.tasks_without_annotation += u64::from(task.standing().is_none());
        self.annotations += task.annotations.len() as u64;
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    pub key: String,
    /// None of the quality report.
    pub format: Option<ExportFormat>,
    pub format_version: u32,
    pub content_type: Cow<'static, str>,
    pub bytes: u64,
    /// Of the bytes, in hexadecimal.
    pub sha256: String,
    /// Regions that the format can't hold, by why.
    pub left_out: LeftOut,
}
