//! One job after the other: list, look, retry, cancel, delete, count, wait.

use std::{borrow::Cow, time::Duration};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AdminError, filter::JobFilter, state::JobState};
use crate::{
    domain::time,
    queue::{client::Client, job::JobId, limits::Lane},
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
    pub attempt: i32,
    pub max_attempts: i32,
    /// Who runs it.
    pub worker_id: Option<Uuid>,
    /// As far as its handler says it has come: 0 to 1.
    pub progress: Option<f32>,
    pub result: Option<serde_json::Value>,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    /// When it is due, or was.
    #[serde(serialize_with = "time::millis")]
    pub scheduled_at: DateTime<Utc>,
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
}

/// A run.
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
    /// With all its causes.
    pub error: Option<String>,
}

/// What a handler said of its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct JobLine {
    /// Grows with each line of the job.
    pub number: i32,
    /// The run that said it.
    pub attempt: i32,
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    pub queue: String,
    pub state: JobState,
    pub count: i64,
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

/// The newest of those below `before`, at most `limit`.
pub async fn list(
    pool: &PgPool,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: i64,
) -> sqlx::Result<Listed> {
    let found = filter.find(pool, before, limit).await?;
    Ok(Listed { data: rows(pool, &found.ids).await?, next_before: found.next_before })
}

pub async fn get(pool: &PgPool, id: JobId) -> Result<Job, AdminError> {
    rows(pool, &[id]).await?.pop().ok_or(AdminError::NotFound(id))
}

/// The newest first.
async fn rows(pool: &PgPool, ids: &[JobId]) -> sqlx::Result<Vec<Job>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as!(
        Job,
        r#"SELECT id AS "id: JobId", kind, queue, state AS "state: JobState", args, priority, flow, unique_key,
                  concurrency_key, concurrency_limit, attempt, max_attempts, worker_id, progress, result, created_at,
                  scheduled_at, attempted_at, finalized_at, cancel_requested_at,
                  (SELECT error FROM job_attempts AS a WHERE a.job_id = jobs.id AND error IS NOT NULL
                   ORDER BY a.attempt DESC LIMIT 1) AS last_error
           FROM jobs WHERE id = ANY ($1) ORDER BY id DESC"#,
        ids as &[JobId],
    )
    .fetch_all(pool)
    .await
}

/// The attempts of a job that did not complete, in order.
pub async fn attempts(pool: &PgPool, id: JobId) -> sqlx::Result<Vec<JobAttempt>> {
    sqlx::query_as!(
        JobAttempt,
        r#"SELECT attempt, worker_id, started_at, finished_at AS "finished_at?", outcome, error FROM job_attempts
           WHERE job_id = $1 ORDER BY attempt"#,
        id as JobId,
    )
    .fetch_all(pool)
    .await
}

/// The job with every run, also the one that completed or is under way, and the lines of its log.
pub async fn detail(pool: &PgPool, id: JobId) -> Result<JobDetail, AdminError> {
    let job = get(pool, id).await?;
    let mut attempts = attempts(pool, id).await?;
    // Only runs that did not complete leave a row.
    if let Some(outcome @ (JobState::Running | JobState::Completed)) = Some(job.state)
        && attempts.last().is_none_or(|last| last.attempt < job.attempt)
    {
        attempts.push(JobAttempt {
            attempt: job.attempt,
            worker_id: job.worker_id,
            started_at: job.attempted_at,
            finished_at: job.finalized_at,
            outcome: outcome.as_str().to_owned(),
            error: None,
        });
    }
    let mut log = sqlx::query_as!(
        JobLine,
        "SELECT number, attempt, at, line FROM job_logs WHERE job_id = $1 ORDER BY number DESC LIMIT 1000",
        id as JobId,
    )
    .fetch_all(pool)
    .await?;
    log.reverse();
    Ok(JobDetail { job, attempts, log })
}

/// Makes a job of the dead set, a cancelled or a waiting one due now. A job without attempts left gets one more.
pub async fn retry(client: &Client, id: JobId) -> Result<Job, AdminError> {
    let updated = sqlx::query!(
        "UPDATE jobs SET state = 'available', scheduled_at = now(), dispatched_at = now(), finalized_at = NULL,
                cancel_requested_at = NULL, progress = NULL, max_attempts = greatest(max_attempts, attempt + 1)
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
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("jobs_unique") => Err(
            AdminError::Refused(format!("job {id} can't be retried: another open job holds its unique key")),
        ),
        Err(error) => Err(error.into()),
    }
}

/// Cancels a waiting job and asks a running one to stop, which its worker does soon. Doing it twice is success.
pub async fn cancel(pool: &PgPool, id: JobId) -> Result<Job, AdminError> {
    sqlx::query!(
        "UPDATE jobs SET state = CASE state WHEN 'running' THEN 'running' ELSE 'cancelled' END,
                finalized_at = CASE WHEN state <> 'running' THEN now() END,
                dispatched_at = CASE WHEN state = 'running' THEN dispatched_at END,
                cancel_requested_at = CASE WHEN state = 'running' THEN coalesce(cancel_requested_at, now()) END
         WHERE id = $1 AND state IN ('scheduled', 'available', 'retryable', 'running')",
        id as JobId,
    )
    .execute(pool)
    .await?;
    let job = get(pool, id).await?;
    match job.state {
        JobState::Completed | JobState::Discarded => {
            Err(AdminError::Refused(format!("job {id} is {}: only an open job can be cancelled", job.state)))
        }
        _ => Ok(job),
    }
}

/// Removes a job that is final, with its attempts and its log. A unique key that it holds for a time is free.
pub async fn delete(pool: &PgPool, id: JobId) -> Result<(), AdminError> {
    let deleted = sqlx::query_scalar!(
        r#"WITH deleted AS (
               DELETE FROM jobs WHERE id = $1 AND state IN ('completed', 'cancelled', 'discarded')
               RETURNING id, kind, unique_key
           ), freed AS (
               DELETE FROM job_holds USING deleted
               WHERE job_holds.kind = deleted.kind AND key = unique_key AND job_id = deleted.id
           )
           SELECT count(*) AS "count!" FROM deleted"#,
        id as JobId,
    )
    .fetch_one(pool)
    .await?;
    if deleted > 0 {
        return Ok(());
    }
    let state = get(pool, id).await?.state;
    Err(AdminError::Refused(format!("job {id} is {state}: only a final one can be deleted, cancel it first")))
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
