//! What operators do with jobs: list, look, retry, cancel, count, wait. Each change is one guarded UPDATE.

use std::{borrow::Cow, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{client::Client, job::JobId, limits::Lane};

/// docs/QUEUE.md draws the transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum JobState {
    Scheduled,
    Available,
    Running,
    Retryable,
    Completed,
    Cancelled,
    Discarded,
}

impl JobState {
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Available,
        Self::Running,
        Self::Retryable,
        Self::Completed,
        Self::Cancelled,
        Self::Discarded,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Available => "available",
            Self::Running => "running",
            Self::Retryable => "retryable",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
        }
    }

    /// Whether the job will not run again by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Discarded)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for JobState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is none of: {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub id: JobId,
    pub kind: String,
    pub queue: String,
    pub state: JobState,
    pub args: serde_json::Value,
    pub unique_key: Option<String>,
    pub attempt: i32,
    pub max_attempts: i32,
    pub worker_id: Option<Uuid>,
    pub result: Option<serde_json::Value>,
    pub created_at: DateTime<Utc>,
    pub scheduled_at: DateTime<Utc>,
    pub attempted_at: Option<DateTime<Utc>>,
    pub finalized_at: Option<DateTime<Utc>>,
    /// Of the latest attempt that did not complete.
    pub last_error: Option<String>,
}

/// An attempt that did not complete.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobAttempt {
    pub attempt: i32,
    pub worker_id: Option<Uuid>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: DateTime<Utc>,
    pub outcome: String,
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    pub queue: String,
    pub state: JobState,
    pub count: i64,
}

#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub state: Option<JobState>,
    pub kind: Option<String>,
    pub queue: Option<String>,
    /// The last id of the page before.
    pub before: Option<JobId>,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("there is no job {0}")]
    NotFound(JobId),
    /// The job's state forbids it.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The newest first, a page of at most `limit`.
pub async fn list(pool: &PgPool, filter: &JobFilter, limit: i64) -> sqlx::Result<Vec<Job>> {
    sqlx::query_as!(
        Job,
        r#"SELECT id AS "id: JobId", kind, queue, state AS "state: JobState", args, unique_key, attempt,
                  max_attempts, worker_id, result, created_at, scheduled_at, attempted_at, finalized_at,
                  (SELECT error FROM job_attempts a WHERE a.job_id = jobs.id ORDER BY a.attempt DESC LIMIT 1)
                      AS last_error
           FROM jobs
           WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR kind = $2)
             AND ($3::text IS NULL OR queue = $3) AND ($4::bigint IS NULL OR id < $4)
           ORDER BY id DESC
           LIMIT $5"#,
        filter.state.map(JobState::as_str),
        filter.kind,
        filter.queue,
        filter.before as Option<JobId>,
        limit,
    )
    .fetch_all(pool)
    .await
}

pub async fn get(pool: &PgPool, id: JobId) -> Result<Job, AdminError> {
    sqlx::query_as!(
        Job,
        r#"SELECT id AS "id: JobId", kind, queue, state AS "state: JobState", args, unique_key, attempt,
                  max_attempts, worker_id, result, created_at, scheduled_at, attempted_at, finalized_at,
                  (SELECT error FROM job_attempts a WHERE a.job_id = jobs.id ORDER BY a.attempt DESC LIMIT 1)
                      AS last_error
           FROM jobs WHERE id = $1"#,
        id as JobId,
    )
    .fetch_optional(pool)
    .await?
    .ok_or(AdminError::NotFound(id))
}

/// The attempts of a job that did not complete, in order.
pub async fn attempts(pool: &PgPool, id: JobId) -> sqlx::Result<Vec<JobAttempt>> {
    sqlx::query_as!(
        JobAttempt,
        "SELECT attempt, worker_id, started_at, finished_at, outcome, error FROM job_attempts
         WHERE job_id = $1 ORDER BY attempt",
        id as JobId,
    )
    .fetch_all(pool)
    .await
}

/// Makes a job of the dead set, a cancelled or a waiting one due now. A job without attempts left gets one more.
pub async fn retry(client: &Client, id: JobId) -> Result<Job, AdminError> {
    let updated = sqlx::query!(
        "UPDATE jobs SET state = 'available', scheduled_at = now(), dispatched_at = now(), finalized_at = NULL,
                max_attempts = greatest(max_attempts, attempt + 1)
         WHERE id = $1 AND state IN ('discarded', 'cancelled', 'retryable', 'scheduled')
         RETURNING queue, priority, flow, kind",
        id as JobId,
    )
    .fetch_optional(client.pool())
    .await;
    match updated {
        Ok(Some(due)) => {
            // Read first: a quick worker may have ended it again by the time we look.
            let job = get(client.pool(), id).await;
            let flow = due.flow.map(Cow::Owned);
            let lane = Lane::new(Cow::Owned(due.queue), due.priority, flow, Cow::Owned(due.kind));
            client.dispatch(lane, vec![id]);
            job
        }
        Ok(None) => {
            let state = get(client.pool(), id).await?.state;
            Err(AdminError::Refused(format!(
                "job {id} is {state}: only a discarded, cancelled or waiting one can be retried"
            )))
        }
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("jobs_unique_open") => Err(
            AdminError::Refused(format!("job {id} can't be retried: another open job holds its unique key")),
        ),
        Err(error) => Err(error.into()),
    }
}

/// Cancels a waiting job. Doing it twice is success.
pub async fn cancel(pool: &PgPool, id: JobId) -> Result<Job, AdminError> {
    let cancelled = sqlx::query!(
        "UPDATE jobs SET state = 'cancelled', finalized_at = now()
         WHERE id = $1 AND state IN ('scheduled', 'available', 'retryable')",
        id as JobId,
    )
    .execute(pool)
    .await?;
    let job = get(pool, id).await?;
    match job.state {
        JobState::Cancelled => Ok(job),
        _ if cancelled.rows_affected() > 0 => Ok(job),
        JobState::Running => Err(AdminError::Refused(format!(
            "job {id} is running and can't be stopped from outside: it ends by itself or by its timeout"
        ))),
        state => {
            Err(AdminError::Refused(format!("job {id} is {state}: only a waiting job can be cancelled")))
        }
    }
}

/// How many jobs each queue holds, by state.
pub async fn counts(pool: &PgPool) -> sqlx::Result<Vec<Count>> {
    sqlx::query_as!(
        Count,
        r#"SELECT queue, state AS "state: JobState", count(*) AS "count!" FROM jobs
           GROUP BY queue, state ORDER BY queue, state"#
    )
    .fetch_all(pool)
    .await
}

/// The job as it stands once it is final, or when `patience` is over: look at its state.
pub async fn wait_for(pool: &PgPool, id: JobId, patience: Duration) -> Result<Job, AdminError> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(20);
    loop {
        let job = get(pool, id).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if job.state.is_final() || left.is_zero() {
            return Ok(job);
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}
