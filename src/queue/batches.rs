//! Enqueueing jobs that wait for others: after some, or after a batch. [`super::waits`] looks when they are due.
//!
//! To a batch belong its own jobs and, where an open job holds the unique key of one that is not enqueued for that, the
//! other's (`job_batch_others`): who waits for the batch wants the work done, whoever asked for it first.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{
    client::Tx,
    insert::{Due, Enqueued, NewJob},
    job::{JobArgs, JobId},
};

/// Jobs that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct BatchId(pub i64);

impl From<i64> for BatchId {
    fn from(id: i64) -> Self {
        Self(id)
    }
}

#[derive(Debug, Clone)]
pub struct Batch {
    pub id: BatchId,
    /// In no order.
    pub jobs: Vec<NewJob>,
    /// Open jobs that hold the keys of those that are left out. The batch waits for them, too.
    pub others: Vec<JobId>,
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
        let enqueued = self.insert(args, Some(Due::Never)).await?;
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

    /// Enqueues all of them as one batch, for which other jobs may wait. Those whose unique key another job holds are left
    /// out; while the other is open, it belongs to the batch in their place.
    pub async fn enqueue_batch<J: JobArgs>(&mut self, all: &[J]) -> sqlx::Result<Batch> {
        let id = sqlx::query_scalar!("INSERT INTO job_batches DEFAULT VALUES RETURNING id")
            .fetch_one(&mut *self.inner)
            .await?;
        let batch = BatchId(id);
        let (jobs, others) = self.enqueue_members(batch, all).await?;
        Ok(Batch { id: batch, jobs, others })
    }

    /// Adds more to a batch, of another kind, say. Once its end was looked at it is over: add in the transaction that
    /// made it, or from within one of its jobs.
    pub async fn add_to_batch<J: JobArgs>(&mut self, batch: BatchId, all: &[J]) -> sqlx::Result<Vec<NewJob>> {
        Ok(self.enqueue_members(batch, all).await?.0)
    }

    /// The new jobs, and those that take the place of what is left out.
    async fn enqueue_members<J: JobArgs>(
        &mut self,
        batch: BatchId,
        all: &[J],
    ) -> sqlx::Result<(Vec<NewJob>, Vec<JobId>)> {
        let (mut jobs, mut others, mut keys) = (Vec::new(), Vec::new(), HashSet::new());
        let mut left: Vec<&J> = all.iter().collect();
        let mut is_idle = false;
        loop {
            let new = self.enqueue_into::<J>(Some(batch), &left).await?;
            keys.extend(new.iter().filter_map(|job| job.unique_key.clone()));
            left.retain(|job| job.unique_key().is_some_and(|key| !keys.contains(&key)));
            let mut holders = Vec::new();
            if !left.is_empty() {
                holders = self.join_holders::<J>(batch, &left).await?;
                keys.extend(holders.iter().filter_map(|(_, key)| key.clone()));
                left.retain(|job| job.unique_key().is_some_and(|key| !keys.contains(&key)));
            }
            // What is left has lost its holder between the two statements, and goes on with the next round; or the holder
            // ended before and holds the key for a time, so that no round will help.
            let was_idle = std::mem::replace(&mut is_idle, new.is_empty() && holders.is_empty());
            jobs.extend(new);
            others.extend(holders.into_iter().map(|(id, _)| id));
            if left.is_empty() || (J::UNIQUE_FOR.is_some() && was_idle && is_idle) {
                return Ok((jobs, others));
            }
        }
    }

    /// The open jobs that hold the keys of these join the batch.
    async fn join_holders<J: JobArgs>(
        &mut self,
        batch: BatchId,
        left_out: &[&J],
    ) -> sqlx::Result<Vec<(JobId, Option<String>)>> {
        let keys: Vec<String> = left_out.iter().filter_map(|job| job.unique_key()).collect();
        let holders = sqlx::query!(
            // Locked: whichever of them ends now ends after this, and looks who waits.
            r#"WITH holders AS (
                   SELECT id, unique_key FROM jobs
                   WHERE kind = $1 AND unique_key = ANY ($2) AND finalized_at IS NULL
                   ORDER BY id FOR UPDATE
               ), marked AS (
                   UPDATE jobs SET is_awaited = true FROM holders WHERE jobs.id = holders.id AND NOT jobs.is_awaited
               ), joined AS (
                   INSERT INTO job_batch_others (batch_id, job_id) SELECT $3, id FROM holders ON CONFLICT DO NOTHING
               )
               SELECT id AS "id: JobId", unique_key FROM holders"#,
            J::KIND,
            &keys,
            batch.0,
        )
        .fetch_all(&mut *self.inner)
        .await?;
        Ok(holders.into_iter().map(|job| (job.id, job.unique_key)).collect())
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
        let enqueued = self.insert(args, Some(Due::Never)).await?;
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
