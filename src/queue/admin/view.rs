//! A job as operators see it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::state::JobState;
use crate::{
    domain::time,
    queue::{batches::BatchId, job::JobId},
};

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    #[schema(value_type = i64)]
    pub id: JobId,
    #[schema(example = "provision_instance")]
    pub kind: String,
    pub queue: String,
    #[schema(inline)]
    pub state: JobState,
    pub args: serde_json::Value,
    /// 0 urgent, 1 normal, 2 low, 3 bulk.
    pub priority: i16,
    /// Jobs of a flow take turns with those of others.
    pub flow: Option<String>,
    /// While this job is open there is no other of its kind and key.
    pub unique_key: Option<String>,
    /// At most so many jobs of the key run at once.
    pub concurrency_key: Option<String>,
    pub concurrency_limit: Option<i32>,
    /// The jobs that it was enqueued with, for which others may wait.
    #[schema(value_type = Option<i64>)]
    pub batch_id: Option<BatchId>,
    /// Null: for nothing but its time.
    #[schema(value_type = Option<WaitsFor>)]
    pub waits_for: Option<Json<WaitsFor>>,
    pub attempt: i32,
    pub max_attempts: i32,
    /// Who runs it.
    pub worker_id: Option<Uuid>,
    /// As far as its handler says it has come: 0 to 1.
    pub progress: Option<f32>,
    pub result: Option<serde_json::Value>,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    /// When it is due, or was; null: when all that it waits for has come.
    #[serde(serialize_with = "time::optional_millis")]
    pub scheduled_at: Option<DateTime<Utc>>,
    /// When its latest run began.
    #[serde(serialize_with = "time::optional_millis")]
    pub attempted_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time::optional_millis")]
    pub finalized_at: Option<DateTime<Utc>>,
    /// Since when the running job is asked to stop.
    #[serde(serialize_with = "time::optional_millis")]
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// Of the latest attempt that failed, with all its causes.
    pub last_error: Option<String>,
    /// Changes whenever the row does.
    #[serde(skip)]
    pub(super) version: i64,
}

/// What has to come before the job is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitsFor {
    /// The jobs that have not completed yet, the oldest first; in a list at most ten of them.
    #[schema(value_type = Vec<i64>)]
    pub jobs: Vec<JobId>,
    /// How many there are in all.
    pub job_count: i64,
    #[schema(value_type = Option<i64>)]
    pub batch: Option<BatchId>,
    #[schema(inline)]
    pub until: Until,
}

/// `completed`: until all of them are. `failed`: until one of the batch is discarded or cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Until {
    Completed,
    Failed,
}

/// A run; 0 stands for none, where a job was cancelled before its first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobAttempt {
    pub attempt: i32,
    pub worker_id: Option<Uuid>,
    #[serde(serialize_with = "time::optional_millis")]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time::optional_millis")]
    pub finished_at: Option<DateTime<Utc>>,
    /// `completed`, `running`, or why it did not complete: `retry`, `discard`, `snooze`, `panic`, `timeout`, `lost` (its
    /// worker), `released` (by a stopping worker), `cancelled`.
    #[schema(example = "retry")]
    pub outcome: String,
    /// With all its causes, and who cancelled the job after it.
    pub error: Option<String>,
}

/// What a handler said of its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobLine {
    /// The run that said it.
    pub attempt: i32,
    /// Counts the lines of the run, from 1.
    pub number: i32,
    #[serde(serialize_with = "time::millis")]
    pub at: DateTime<Utc>,
    pub line: String,
}

/// A job, its runs and what they said.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct JobDetail {
    #[serde(flatten)]
    pub job: Job,
    /// The oldest first.
    pub attempts: Vec<JobAttempt>,
    /// The newest 1,000 lines, the oldest of them first.
    pub log: Vec<JobLine>,
}

/// A page of jobs, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    pub data: Vec<Job>,
    /// The `before` of the next page; null: this is the last. A page may have few jobs or none and still be followed by
    /// others: so many are looked at for one, whether they match or not.
    #[schema(value_type = Option<i64>)]
    pub next_before: Option<JobId>,
}
