//! Jobs that wait for others: a chain, or a batch with a job at its end.
//!
//! `job_waits` says what a job still waits for. Whoever ends a job that is waited for takes the row away, and makes due
//! who waits for nothing more; the leader does the same for all, which finds what was missed: two ends at once, each of
//! which sees the other's row.
//!
//! A job waits for completion. While the other is in the dead set it goes on waiting: the other may be retried.

use sqlx::PgPool;

use super::{
    client::{Client, Tx},
    dispatch::DueJob,
    job::{JobArgs, JobId},
};

impl Tx {
    /// Enqueues, unless an open job with the same unique key comes by itself; false: one does. One that waits in vain is made
    /// due. For callers that look again and again.
    pub async fn bring_on<J: JobArgs>(&mut self, args: &J) -> sqlx::Result<bool> {
        let enqueued = self.enqueue(args).await?;
        if enqueued.is_new {
            return Ok(true);
        }
        let is_stuck = self.waits_in_vain(enqueued.id).await? && self.stop_waiting(enqueued.id).await?;
        if is_stuck {
            self.send::<J>(enqueued.id, args.flow());
        }
        Ok(is_stuck)
    }

    /// Whether a job waits for one that failed, or for a batch of which one failed and nothing goes on: only a retry of what
    /// failed would make it due.
    async fn waits_in_vain(&mut self, id: JobId) -> sqlx::Result<bool> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (
                   SELECT FROM jobs AS waiting JOIN job_waits ON job_id = waiting.id
                   WHERE waiting.id = $1 AND waiting.state = 'scheduled' AND waiting.scheduled_at = '9999-12-31Z'
                     AND until = 'completed'
                     AND (EXISTS (SELECT FROM jobs WHERE id = on_job AND state IN ('discarded', 'cancelled'))
                          OR (SELECT bool_and(state IN ('discarded', 'cancelled')) FROM jobs
                              WHERE batch_id = on_batch AND (finalized_at IS NULL OR dispatched_at IS NULL)))
               ) AS "in_vain!""#,
            id as JobId,
        )
        .fetch_one(&mut *self.inner)
        .await
    }

    /// Takes away what a job waits for; whether it waits still, for nothing then. Waits are locked before jobs, as
    /// [`settle`] does it.
    pub(super) async fn forget_waits(&mut self, id: JobId) -> sqlx::Result<bool> {
        sqlx::query!("DELETE FROM job_waits WHERE job_id = $1", id as JobId)
            .execute(&mut *self.inner)
            .await?;
        let waiting = sqlx::query!(
            "SELECT FROM jobs WHERE id = $1 AND state = 'scheduled' AND scheduled_at = '9999-12-31Z' FOR UPDATE",
            id as JobId,
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(waiting.is_some())
    }

    /// Makes a job due that waits for others; false: it does not wait.
    pub(super) async fn stop_waiting(&mut self, id: JobId) -> sqlx::Result<bool> {
        sqlx::query!("DELETE FROM job_waits WHERE job_id = $1", id as JobId)
            .execute(&mut *self.inner)
            .await?;
        let due = sqlx::query!(
            "UPDATE jobs SET state = 'available', scheduled_at = now(), dispatched_at = now()
             WHERE id = $1 AND state = 'scheduled' AND scheduled_at = '9999-12-31Z'",
            id as JobId,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(due.rows_affected() == 1)
    }
}

/// Takes away what has come: of these jobs, or of all. Makes due who waits for nothing more.
pub(super) async fn settle(client: &Client, ended: Option<&[i64]>) -> sqlx::Result<Vec<DueJob>> {
    let mut tx = client.begin().await?;
    let waiting = sqlx::query_scalar!(
        // Each way to the waits has its index; an OR of them would read all that wait.
        "DELETE FROM job_waits
         WHERE ctid = ANY (ARRAY (
                   SELECT ctid FROM job_waits WHERE $1::bigint[] IS NULL
                   UNION ALL SELECT ctid FROM job_waits WHERE on_job = ANY ($1)
                   UNION ALL SELECT ctid FROM job_waits
                   WHERE on_batch IN (SELECT batch_id FROM jobs WHERE id = ANY ($1)
                                      UNION ALL SELECT batch_id FROM job_batch_others WHERE job_id = ANY ($1))))
           AND CASE WHEN on_job IS NOT NULL
                    THEN EXISTS (SELECT FROM jobs WHERE id = on_job AND state = 'completed')
                    WHEN until = 'completed'
                    THEN NOT EXISTS (SELECT FROM jobs WHERE batch_id = on_batch AND (finalized_at IS NULL OR dispatched_at IS NULL))
                         AND NOT EXISTS (SELECT FROM job_batch_others AS others JOIN jobs ON jobs.id = others.job_id
                                         WHERE others.batch_id = on_batch AND state <> 'completed')
                    ELSE EXISTS (SELECT FROM jobs WHERE batch_id = on_batch AND (finalized_at IS NULL OR dispatched_at IS NULL)
                                 AND state IN ('discarded', 'cancelled'))
                         OR EXISTS (SELECT FROM job_batch_others AS others JOIN jobs ON jobs.id = others.job_id
                                    WHERE others.batch_id = on_batch AND state IN ('discarded', 'cancelled')) END
         RETURNING job_id",
        ended,
    )
    .fetch_all(&mut *tx)
    .await?;
    let due = sqlx::query_as!(
        DueJob,
        r#"UPDATE jobs SET state = 'available', scheduled_at = now(), dispatched_at = now()
           WHERE dispatched_at IS NULL AND finalized_at IS NULL AND scheduled_at = '9999-12-31Z'
             AND ($1::bigint[] IS NULL OR id = ANY ($1))
             AND NOT EXISTS (SELECT FROM job_waits WHERE job_id = jobs.id)
           RETURNING id AS "id: JobId", queue, priority, flow, kind"#,
        ended.map(|_| waiting.as_slice()),
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(due)
}

/// Cancels who waits for what can't come any more, and records why: a job that was removed, a failure in a batch that is
/// complete.
pub(super) async fn give_up(pool: &PgPool) -> sqlx::Result<u64> {
    let given_up = sqlx::query!(
        // OFFSET 0: a look by an index for each that waits. Else the planner may read the whole table of jobs at once.
        "WITH hopeless AS (
             SELECT DISTINCT ON (job_id) job_id,
                    CASE WHEN on_job IS NOT NULL THEN format('it waited for job %s, which was removed', on_job)
                         ELSE format('it waited for a failure in batch %s, whose jobs have all completed', on_batch)
                    END AS why
             FROM job_waits
             WHERE (on_job IS NOT NULL AND NOT EXISTS (SELECT FROM jobs WHERE id = on_job OFFSET 0))
                OR (until = 'failed'
                    AND NOT EXISTS (SELECT FROM jobs
                                    WHERE batch_id = on_batch AND (finalized_at IS NULL OR dispatched_at IS NULL) OFFSET 0)
                    AND NOT EXISTS (SELECT FROM job_batch_others AS others JOIN jobs ON jobs.id = others.job_id
                                    WHERE others.batch_id = on_batch AND state <> 'completed' OFFSET 0))
             ORDER BY job_id, on_job
         ), given_up AS (
             UPDATE jobs SET state = 'cancelled', scheduled_at = now(), finalized_at = now()
             FROM hopeless WHERE jobs.id = job_id AND state = 'scheduled' AND jobs.scheduled_at = '9999-12-31Z'
             RETURNING jobs.id, attempt, why
         )
         INSERT INTO job_attempts (job_id, attempt, outcome, error) SELECT id, attempt, 'cancelled', why FROM given_up
         ON CONFLICT (job_id, attempt) DO UPDATE SET error = concat_ws(E'\n', job_attempts.error, excluded.error)",
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "DELETE FROM job_waits
         WHERE EXISTS (SELECT FROM jobs WHERE id = job_id AND state IN ('completed', 'cancelled', 'discarded') OFFSET 0)"
    )
    .execute(pool)
    .await?;
    Ok(given_up.rows_affected())
}
