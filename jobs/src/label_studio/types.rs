//! What is sent to Label Studio and read from it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    pub id: i64,
    pub email: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Project {
    pub id: i64,
    pub title: String,
    #[serde(default)]
    pub label_config: String,
    #[serde(default)]
    pub task_number: Option<i64>,
    #[serde(default)]
    pub created_at: Option<DateTime<Utc>>,
}

/// A project to create, or what is to change of one.
#[derive(Debug, Clone, Serialize)]
pub struct NewProject<'a> {
    /// 3 to 50 characters. Duplicates are allowed there, so look before creating.
    pub title: &'a str,
    pub label_config: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: &'a str,
    /// `IGNORE_SKIPPED`: a skipped task counts as finished. By default it would come back to the same annotator
    /// for ever.
    pub skip_queue: &'static str,
    /// Tasks come in the order of their ids.
    pub sampling: &'static str,
    /// Work on one task once.
    pub maximum_annotations: u32,
    /// Annotators start from a task's prediction, where it has one.
    pub show_collab_predictions: bool,
}

impl<'a> NewProject<'a> {
    pub fn new(title: &'a str, label_config: &'a str) -> Self {
        Self {
            title,
            label_config,
            description: "",
            skip_queue: "IGNORE_SKIPPED",
            sampling: "Sequential sampling",
            maximum_annotations: 1,
            show_collab_predictions: true,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct NewTask {
    pub data: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub predictions: Vec<Value>,
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Imported {
    pub task_count: i64,
    /// In the order of the tasks sent.
    #[serde(default)]
    pub task_ids: Vec<i64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Task {
    pub id: i64,
    #[serde(default)]
    pub data: Map<String, Value>,
    #[serde(default)]
    pub meta: Option<Map<String, Value>>,
    #[serde(default)]
    pub is_labeled: bool,
    /// Of the task and of its annotations: creating, changing or deleting one moves it.
    #[serde(default)]
    pub updated_at: Option<DateTime<Utc>>,
    /// Whole, as Label Studio has them: the same objects that its webhooks carry. Skipped ones included.
    #[serde(default)]
    pub annotations: Vec<Value>,
}

/// Numbers of a project, cheap to ask for many at once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProjectCounts {
    pub id: i64,
    #[serde(default)]
    pub task_number: i64,
    #[serde(default)]
    pub finished_task_number: i64,
    #[serde(default)]
    pub num_tasks_with_annotations: i64,
    #[serde(default)]
    pub total_annotations_number: i64,
    #[serde(default)]
    pub skipped_annotations_number: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Webhook {
    pub id: i64,
    pub project: Option<i64>,
    pub url: String,
    #[serde(default)]
    pub is_active: bool,
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// Which events it is told of, and whether of all.
    #[serde(default)]
    pub actions: Vec<String>,
    #[serde(default)]
    pub send_for_all_actions: bool,
    #[serde(default)]
    pub send_payload: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct NewWebhook<'a> {
    pub project: i64,
    pub url: &'a str,
    pub headers: Map<String, Value>,
    pub actions: &'a [&'a str],
    pub send_payload: bool,
    pub send_for_all_actions: bool,
    pub is_active: bool,
}

impl<'a> NewWebhook<'a> {
    /// Sends `actions` of the project with their payload.
    pub fn new(project: i64, url: &'a str, headers: Map<String, Value>, actions: &'a [&'a str]) -> Self {
        Self {
            project,
            url,
            headers,
            actions,
            send_payload: true,
            send_for_all_actions: false,
            is_active: true,
        }
    }

    /// Whether this is such a webhook, unchanged.
    pub fn is(&self, there: &Webhook) -> bool {
        there.project == Some(self.project)
            && there.url == self.url
            && there.headers == self.headers
            && there.send_payload == self.send_payload
            && there.send_for_all_actions == self.send_for_all_actions
            && there.is_active == self.is_active
            && self.actions.iter().all(|wanted| there.actions.iter().any(|action| action == wanted))
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct NewAnnotation {
    pub result: Vec<Value>,
    /// Skips the task.
    pub was_cancelled: bool,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead_time: Option<f64>,
}

/// A page of what the API lists by `count` and `next`.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub next: Option<String>,
    pub results: Vec<T>,
}

/// A page of tasks.
#[derive(Debug, Deserialize)]
pub(super) struct TaskPage {
    pub tasks: Vec<Task>,
    pub total: usize,
}
