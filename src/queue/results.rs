//! What jobs left behind, for those who enqueued them: the stored JSON as the kind's own type.

use serde_json::Value;

use super::{
    admin::JobState,
    batches::BatchId,
    client::Client,
    job::{JobArgs, JobId},
    payload,
};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    #[error("there is no job {0}: it never was, or it was removed after its end")]
    NoJob(JobId),
    #[error("job {id} is of the kind {kind}: its result was asked for as one of {asked}")]
    OtherKind { id: JobId, kind: String, asked: &'static str },
    #[error("job {id} is {state}: it has a result once it is completed")]
    NotCompleted { id: JobId, state: JobState },
    #[error("the result of job {id} was {bytes} bytes of JSON: at most {} are kept", payload::MOST_BYTES)]
    Truncated { id: JobId, bytes: u64 },
    #[error("the result of job {id} is none that {kind} returns now")]
    Undecodable { id: JobId, kind: &'static str, source: serde_json::Error },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Client {
    /// What a completed job of this kind returned. [`super::admin::wait_for`] waits for its end.
    pub async fn result<J: JobArgs>(&self, id: JobId) -> Result<J::Output, ResultError> {
        let job = sqlx::query!(
            r#"SELECT kind, state AS "state: JobState", result FROM jobs WHERE id = $1"#,
            id as JobId
        )
        .fetch_optional(self.pool())
        .await?
        .ok_or(ResultError::NoJob(id))?;
        if job.kind != J::KIND {
            return Err(ResultError::OtherKind { id, kind: job.kind, asked: J::KIND });
        }
        if job.state != JobState::Completed {
            return Err(ResultError::NotCompleted { id, state: job.state });
        }
        decode::<J>(id, job.result)
    }

    /// What the completed jobs of this kind in a batch returned, in the order in which they were enqueued. Those that are not
    /// completed are not among them, nor those that were removed since.
    pub async fn batch_results<J: JobArgs>(
        &self,
        batch: BatchId,
    ) -> Result<Vec<(JobId, J::Output)>, ResultError> {
        let jobs = sqlx::query!(
            r#"SELECT id AS "id: JobId", result FROM jobs
               WHERE batch_id = $1 AND kind = $2 AND state = 'completed' ORDER BY id"#,
            batch.0,
            J::KIND
        )
        .fetch_all(self.pool())
        .await?;
        jobs.into_iter().map(|job| Ok((job.id, decode::<J>(job.id, job.result)?))).collect()
    }
}

fn decode<J: JobArgs>(id: JobId, stored: Option<Value>) -> Result<J::Output, ResultError> {
    let stored = stored.unwrap_or(Value::Null);
    if let Some(bytes) = payload::truncated(&stored) {
        return Err(ResultError::Truncated { id, bytes });
    }
    serde_json::from_value(stored).map_err(|source| ResultError::Undecodable { id, kind: J::KIND, source })
}
