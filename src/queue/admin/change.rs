//! Changing one job: retry, cancel, delete.

use std::borrow::Cow;

use super::{AdminError, jobs::get, state::JobState, view::Job};
use crate::queue::{
    client::{Client, begin},
    job::JobId,
    limits::Lane,
};

/// Makes a job of the dead set, a cancelled or a waiting one due now. A job without attempts left gets one more. What it
/// waited for is waited for no more.
pub async fn retry(client: &Client, id: JobId) -> Result<Job, AdminError> {
    let mut tx = begin(client.pool()).await?;
    // First, as in `waits::settle`: so neither waits for the other.
    sqlx::query!("DELETE FROM job_waits WHERE job_id = $1", id as JobId).execute(&mut *tx).await?;
    let updated = sqlx::query!(
        "UPDATE jobs SET state = 'available', scheduled_at = now(), dispatched_at = now(), finalized_at = NULL,
                cancel_requested_at = NULL, progress = NULL, max_attempts = greatest(max_attempts, attempt + 1)
         WHERE id = $1 AND state IN ('discarded', 'cancelled', 'retryable', 'scheduled')
         RETURNING queue, priority, flow, kind",
        id as JobId,
    )
    .fetch_optional(&mut *tx)
    .await;
    let due = match updated {
        Ok(Some(due)) => due,
        Ok(None) => {
            tx.rollback().await?;
            let state = get(client, id).await?.state;
            return Err(AdminError::Refused(format!(
                "job {id} is {state}: only a discarded, cancelled or waiting one can be retried"
            )));
        }
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("jobs_unique") => {
            let why = format!("job {id} can't be retried: another open job holds its unique key");
            return Err(AdminError::Refused(why));
        }
        Err(error) => return Err(error.into()),
    };
    tx.commit().await?;
    // Read first: a quick worker may have ended it again by the time we look.
    let job = get(client, id).await;
    let flow = due.flow.map(Cow::Owned);
    let lane = Lane::new(Cow::Owned(due.queue), due.priority, flow, Cow::Owned(due.kind));
    client.dispatch(lane, vec![id]);
    job
}

/// Cancels a waiting job, on record with who did it, and asks a running one to stop, which its worker does soon. Doing it
/// twice is success.
pub async fn cancel(client: &Client, id: JobId, by: &str) -> Result<Job, AdminError> {
    sqlx::query!(
        "WITH asked AS (
             UPDATE jobs SET state = CASE state WHEN 'running' THEN 'running' ELSE 'cancelled' END,
                    finalized_at = CASE WHEN state <> 'running' THEN now() END,
                    dispatched_at = CASE WHEN state = 'running' THEN dispatched_at END,
                    cancel_requested_at = CASE WHEN state = 'running' THEN coalesce(cancel_requested_at, now()) END
             WHERE id = $1 AND state IN ('scheduled', 'available', 'retryable', 'running')
             RETURNING id, attempt, state
         )
         INSERT INTO job_attempts (job_id, attempt, outcome, error)
         SELECT id, attempt, 'cancelled', 'cancelled by ' || $2::text FROM asked WHERE state = 'cancelled'
         -- Its last run has a row already.
         ON CONFLICT (job_id, attempt) DO UPDATE SET error = concat_ws(E'\n', job_attempts.error, excluded.error)",
        id as JobId,
        by,
    )
    .execute(client.pool())
    .await?;
    let job = get(client, id).await?;
    match job.state {
        JobState::Completed | JobState::Discarded => {
            Err(AdminError::Refused(format!("job {id} is {}: only an open job can be cancelled", job.state)))
        }
        _ => Ok(job),
    }
}

/// Removes a job that is final, with its attempts and its log. A unique key that it holds for a time is free.
pub async fn delete(client: &Client, id: JobId) -> Result<(), AdminError> {
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
    .fetch_one(client.pool())
    .await?;
    if deleted > 0 {
        return Ok(());
    }
    let state = get(client, id).await?.state;
    Err(AdminError::Refused(format!("job {id} is {state}: only a final one can be deleted, cancel it first")))
}
