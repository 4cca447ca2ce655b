//! Enqueueing jobs that wait for others: after some, or after a batch. [`super::waits`] looks when they are due.

use super::{
    client::{Due, Enqueued, NewJob, Tx, insert},
    job::{JobArgs, JobId},
};

/// Jobs that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchId(pub i64);

#[derive(Debug, Clone)]
pub struct Batch {
    pub id: BatchId,
    /// In no order.
    pub jobs: Vec<NewJob>,
}

/// Why a job could not be made to wait.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("there is no job {0} to wait for: it never was, or it was removed after its end")]
    NoJob(JobId),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Tx {
    /// Enqueues a job that becomes due when all of these are completed. Until then it is `scheduled`; while one of them is in
    /// the dead set, it waits for its retry.
    ///
    /// Where an open job with the same unique key still waits, it waits for these from now on instead, and is due where
    /// there is nothing to wait for: so a chain is mended of which a part was lost. One that is due already stays so.
    pub async fn enqueue_after<J: JobArgs>(
        &mut self,
        others: &[JobId],
        args: &J,
    ) -> Result<Enqueued, WaitError> {
        let others: Vec<i64> = others.iter().map(|id| id.0).collect();
        // Locked: whichever of them ends now ends after this, and looks who waits.
        let known = sqlx::query!(
            "WITH known AS (SELECT id, state FROM jobs WHERE id = ANY ($1) ORDER BY id FOR UPDATE), marked AS (
                 UPDATE jobs SET is_awaited = true FROM known
                 WHERE jobs.id = known.id AND known.state <> 'completed' AND NOT jobs.is_awaited)
             SELECT id, state FROM known",
            &others
        )
        .fetch_all(&mut *self.inner)
        .await?;
        if let Some(missing) = others.iter().find(|id| known.iter().all(|job| job.id != **id)) {
            return Err(WaitError::NoJob(JobId(*missing)));
        }
        let open: Vec<i64> = known.iter().filter(|job| job.state != "completed").map(|job| job.id).collect();
        if open.is_empty() {
            let enqueued = self.enqueue(args).await?;
            if !enqueued.is_new && self.stop_waiting(enqueued.id).await? {
                self.send::<J>(enqueued.id, args.flow());
            }
            return Ok(enqueued);
        }
        let enqueued = insert(&mut self.inner, args, Some(Due::Never)).await?;
        if enqueued.is_new || self.forget_waits(enqueued.id).await? {
            sqlx::query!(
                "INSERT INTO job_waits (job_id, on_job, until) SELECT $1, unnest($2::bigint[]), 'completed'
                 ON CONFLICT DO NOTHING",
                enqueued.id as JobId,
                &open
            )
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(enqueued)
    }

    /// Enqueues all of them as one batch, for which other jobs may wait.
    pub async fn enqueue_batch<J: JobArgs>(&mut self, all: &[J]) -> sqlx::Result<Batch> {
        let id = sqlx::query_scalar!("INSERT INTO job_batches DEFAULT VALUES RETURNING id")
            .fetch_one(&mut *self.inner)
            .await?;
        let batch = BatchId(id);
        let jobs = self.enqueue_into(Some(batch), all).await?;
        Ok(Batch { id: batch, jobs })
    }

    /// Adds more to a batch, of another kind, say. Once its end was looked at it is over: add in the transaction that
    /// made it, or from within one of its jobs.
    pub async fn add_to_batch<J: JobArgs>(&mut self, batch: BatchId, all: &[J]) -> sqlx::Result<Vec<NewJob>> {
        self.enqueue_into(Some(batch), all).await
    }

    /// Enqueues a job that becomes due when all of the batch are completed. An open one with its unique key that still waits,
    /// waits for this from now on.
    pub async fn enqueue_when_done<J: JobArgs>(
        &mut self,
        batch: BatchId,
        args: &J,
    ) -> sqlx::Result<Enqueued> {
        self.wait_for_batch(batch, "completed", args).await
    }

    /// Enqueues a job that becomes due once when the first of the batch is discarded or cancelled. It is cancelled when
    /// all of them complete.
    pub async fn enqueue_on_failure<J: JobArgs>(
        &mut self,
        batch: BatchId,
        args: &J,
    ) -> sqlx::Result<Enqueued> {
        self.wait_for_batch(batch, "failed", args).await
    }

    async fn wait_for_batch<J: JobArgs>(
        &mut self,
        batch: BatchId,
        until: &str,
        args: &J,
    ) -> sqlx::Result<Enqueued> {
        let enqueued = insert(&mut self.inner, args, Some(Due::Never)).await?;
        if enqueued.is_new || self.forget_waits(enqueued.id).await? {
            sqlx::query!(
                "INSERT INTO job_waits (job_id, on_batch, until) VALUES ($1, $2, $3)",
                enqueued.id as JobId,
                batch.0,
                until
            )
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(enqueued)
    }
}
