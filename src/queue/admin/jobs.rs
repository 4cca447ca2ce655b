//! Looking at jobs: a page of them, one whole, one until it is over.

use std::time::Duration;

use sqlx::{PgPool, types::Json};
use tokio::time::{Instant, sleep};

use super::{
    AdminError,
    filter::JobFilter,
    state::JobState,
    view::{Job, JobAttempt, JobDetail, JobLine, Listed, WaitsFor},
};
use crate::queue::{batches::BatchId, client::Client, job::JobId};

/// Of the jobs that one waits for, so many are named in a list.
const NAMED: i32 = 10;

/// The newest of those below `before`, at most `limit`.
pub async fn list(
    client: &Client,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: i64,
) -> sqlx::Result<Listed> {
    let found = filter.find(client.pool(), before, limit).await?;
    Ok(Listed { data: rows(client, &found.ids, NAMED).await?, next_before: found.next_before })
}

pub async fn get(client: &Client, id: JobId) -> Result<Job, AdminError> {
    rows(client, &[id], i32::MAX).await?.pop().ok_or(AdminError::NotFound(id))
}

/// The same as a list shows them, the newest first.
pub(super) async fn listed(client: &Client, ids: &[JobId]) -> sqlx::Result<Vec<Job>> {
    rows(client, ids, NAMED).await
}

/// With their arguments decrypted, if this process has the key.
async fn rows(client: &Client, ids: &[JobId], named: i32) -> sqlx::Result<Vec<Job>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let jobs = sqlx::query_as!(
        Job,
        r#"SELECT id AS "id: JobId", kind, queue, state AS "state: JobState", args, priority, flow, unique_key,
                  concurrency_key, concurrency_limit, batch_id AS "batch_id: BatchId",
                  waits_for AS "waits_for?: Json<WaitsFor>", attempt, max_attempts, worker_id, progress, result,
                  created_at, nullif(scheduled_at, '9999-12-31Z') AS scheduled_at, attempted_at, finalized_at,
                  cancel_requested_at,
                  (SELECT error FROM job_attempts AS a WHERE a.job_id = jobs.id AND error IS NOT NULL
                   ORDER BY a.attempt DESC LIMIT 1) AS last_error,
                  jobs.xmin::text::bigint AS "version!"
           FROM jobs LEFT JOIN LATERAL (
               SELECT jsonb_build_object(
                          'jobs', coalesce((array_agg(on_job ORDER BY on_job) FILTER (WHERE on_job IS NOT NULL))[:$2], '{}'),
                          'jobCount', count(on_job), 'batch', max(on_batch), 'until', max(until)) AS waits_for
               FROM job_waits
               WHERE job_id = jobs.id AND jobs.state = 'scheduled' AND jobs.scheduled_at = '9999-12-31Z'
               HAVING count(*) > 0) AS waits ON true
           WHERE id = ANY ($1) ORDER BY id DESC"#,
        ids as &[JobId],
        named,
    )
    .fetch_all(client.pool())
    .await?;
    Ok(jobs.into_iter().map(|job| client.show(job)).collect())
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
pub async fn detail(client: &Client, id: JobId) -> Result<JobDetail, AdminError> {
    detail_after(client, id, (0, 0)).await
}

/// The same with the lines after that one, which is named by its attempt and its number.
pub(super) async fn detail_after(
    client: &Client,
    id: JobId,
    (attempt, number): (i32, i32),
) -> Result<JobDetail, AdminError> {
    // A run's lines are written before its end, so the job is read before its lines.
    let job = get(client, id).await?;
    let mut attempts = attempts(client.pool(), id).await?;
    // Only runs that did not complete leave a row.
    if let outcome @ (JobState::Running | JobState::Completed) = job.state
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
        "SELECT attempt, number, at, line FROM job_logs WHERE job_id = $1 AND (attempt, number) > ($2, $3)
         ORDER BY attempt DESC, number DESC LIMIT 1000",
        id as JobId,
        attempt,
        number,
    )
    .fetch_all(client.pool())
    .await?;
    log.reverse();
    Ok(JobDetail { job, attempts, log })
}

/// The job as it stands once it is final, or when `patience` is over: look at its state.
pub async fn wait_for(client: &Client, id: JobId, patience: Duration) -> Result<Job, AdminError> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(20);
    loop {
        let job = get(client, id).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        if job.state.is_final() || left.is_zero() {
            return Ok(job);
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}
