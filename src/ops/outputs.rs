//! What jobs return. It is stored with the job and shown to operators as it is written here, so each reads well in JSON;
//! `queue::Client::result` gives it back as its own type.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        AnnotatorStatus, RejectionMode, RejectionStatus,
        export::manifest::{Counts, File},
    },
    queue::JobId,
};

/// Of `provision_instance`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Provisioned {
    /// It serves there.
    Url(String),
    /// Why it can't be brought up.
    Reason(String),
    NothingToDo(Option<AnnotatorStatus>),
}

/// An annotator in this status needs nothing of the job; none: there is no such annotator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NothingToDo {
    pub nothing_to_do: Option<AnnotatorStatus>,
}

impl From<NothingToDo> for Provisioned {
    fn from(NothingToDo { nothing_to_do }: NothingToDo) -> Self {
        Self::NothingToDo(nothing_to_do)
    }
}

/// Of `sync_source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Synced {
    pub new_images: u64,
}

/// Of `publish_assignment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Published {
    #[serde(rename = "published already, or over")]
    Before,
    #[serde(rename = "over before it was published")]
    Over,
    #[serde(rename = "has no gold yet: waits for it")]
    TooEarly,
    #[serde(rename = "the annotator is not active: goes on when they are started")]
    NotActive,
    #[serde(untagged, rename_all = "camelCase")]
    Now { ls_project_id: i64, tasks: usize },
}

/// Of `export_assignment`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exported {
    /// These jobs write the files; another job of this kind waits for them.
    #[serde(rename = "files")]
    Begun(Vec<JobId>),
    /// The JSON file, the manifest's key, and what all files hold.
    #[serde(untagged)]
    Whole { key: String, bytes: u64, tasks: u64, manifest: String, counts: Counts },
}

/// Of `export_file`: as the manifest will tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFile {
    #[serde(flatten)]
    pub file: File,
    /// What the batch holds; none beside the report of its gold.
    pub counts: Option<Counts>,
}

/// Of `route_rejection`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Routed {
    #[serde(rename = "routed already, or taken back")]
    Before,
    #[serde(untagged, rename_all = "camelCase")]
    Now { status: RejectionStatus, action_taken: RejectionMode, archive_key: Option<String> },
}

/// Of `chain_assignment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chained {
    pub new_tasks: u64,
}

/// Of `close_project`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closed {
    #[serde(rename = "closed already, or goes on")]
    Not,
    #[serde(rename = "the annotator is not active: goes on when they are started")]
    NotActive,
    /// These projects.
    #[serde(rename = "removed")]
    Removed(Vec<i64>),
}

/// Of `reclaim_idle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reclaimed {
    #[serde(rename = "assignments.idleHours is not set: nothing is reclaimed")]
    Off,
    /// So many batches.
    #[serde(untagged)]
    Batches { completed: u64, cancelled: u64 },
}

/// Of `correct_rollups`: how many rows of each were wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corrected {
    pub hours: u64,
    pub events: u64,
    pub gold: u64,
    pub assignments: u64,
    pub rejections: u64,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        domain::{AssignmentId, ExportFormat, export::Reason},
        ops::assign::Next,
    };

    /// It is stored like this, and read from it.
    fn is<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(output: T, stored: Value) {
        assert_eq!(serde_json::to_value(&output).unwrap(), stored);
        assert_eq!(serde_json::from_value::<T>(stored).unwrap(), output);
    }

    #[test]
    fn outputs_are_stored_as_operators_know_them() {
        is(Provisioned::Url("http://a".into()), json!({"url": "http://a"}));
        is(Provisioned::Reason("no room".into()), json!({"reason": "no room"}));
        is(Provisioned::NothingToDo(None), json!({"nothingToDo": null}));
        let stopped = NothingToDo { nothing_to_do: Some(AnnotatorStatus::Stopped) };
        is(Some(stopped), json!({"nothingToDo": "stopped"}));
        is(Provisioned::from(stopped), json!({"nothingToDo": "stopped"}));
        is(Synced { new_images: 3 }, json!({"newImages": 3}));
        is(Next::Assigned(AssignmentId(7)), json!({"assignmentId": 7}));
        is(Next::NotNow, json!("has a batch, or is not active"));
        is(Next::NoWork, json!("no work: looking again at the sources"));
        is(Published::Now { ls_project_id: 5, tasks: 12 }, json!({"lsProjectId": 5, "tasks": 12}));
        is(Published::Before, json!("published already, or over"));
        is(Published::Over, json!("over before it was published"));
        is(Published::TooEarly, json!("has no gold yet: waits for it"));
        let not_active = "the annotator is not active: goes on when they are started";
        is(Published::NotActive, json!(not_active));
        is(Closed::NotActive, json!(not_active));
        is(Closed::Not, json!("closed already, or goes on"));
        is(Closed::Removed(vec![5]), json!({"removed": [5]}));
        is(Routed::Before, json!("routed already, or taken back"));
        let now = Routed::Now {
            status: RejectionStatus::Escalated,
            action_taken: RejectionMode::None,
            archive_key: None,
        };
        is(now, json!({"status": "escalated", "actionTaken": "none", "archiveKey": null}));
        is(Chained { new_tasks: 2 }, json!({"newTasks": 2}));
        is(Reclaimed::Off, json!("assignments.idleHours is not set: nothing is reclaimed"));
        is(Reclaimed::Batches { completed: 1, cancelled: 0 }, json!({"completed": 1, "cancelled": 0}));
        is(
            Corrected { hours: 1, ..Corrected::default() },
            json!({"hours": 1, "events": 0, "gold": 0, "assignments": 0, "rejections": 0}),
        );
        let counts = Counts { tasks: 3, tasks_without_annotation: 1, annotations: 2 };
        is(Exported::Begun(vec![JobId(8)]), json!({"files": [8]}));
        is(
            Exported::Whole {
                key: "a.json".into(),
                bytes: 9,
                tasks: 3,
                manifest: "a.manifest.json".into(),
                counts,
            },
            json!({"key": "a.json", "bytes": 9, "tasks": 3, "manifest": "a.manifest.json",
                   "counts": {"tasks": 3, "tasksWithoutAnnotation": 1, "annotations": 2}}),
        );
        let file = File {
            key: "a.csv".into(),
            format: Some(ExportFormat::Csv),
            format_version: 1,
            content_type: "text/csv".into(),
            bytes: 9,
            sha256: "00".into(),
            left_out: [(Reason::Malformed, 2)].into(),
        };
        is(
            WrittenFile { file, counts: Some(counts) },
            json!({"key": "a.csv", "format": "csv", "formatVersion": 1, "contentType": "text/csv", "bytes": 9,
                   "sha256": "00", "leftOut": {"malformed": 2},
                   "counts": {"tasks": 3, "tasksWithoutAnnotation": 1, "annotations": 2}}),
        );
    }
}
