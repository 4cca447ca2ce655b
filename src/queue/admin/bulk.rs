//! Retry and delete by filter: batches of [`BATCH`] rows, each a statement and a transaction of its own, so that
//! nobody waits for long and what was done stays done if the caller goes away. It goes down by ids, so a job that
//! comes back to the dead set meanwhile is not met again.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;
use utoipa::ToSchema;

use super::{filter::JobFilter, state::JobState};
use crate::queue::{client::Client, job::JobId, limits::Lane};

const BATCH: i64 = 1_000;

/// What may be retried by filter; without a state in the filter it is the first.
pub const RETRIED: [JobState; 2] = [JobState::Discarded, JobState::Cancelled];

/// What may be deleted by filter.
pub const DELETED: [JobState; 3] = [JobState::Completed, JobState::Cancelled, JobState::Discarded];

/// What became of the jobs that were meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Bulk {
    /// So many were changed.
    pub count: u64,
    /// So many were left as they are: another open job holds their unique key, or somebody else changed them meanwhile.
    pub skipped: u64,
}

impl Bulk {
    fn add(&mut self, meant: usize, changed: usize) {
        self.count += changed as u64;
        self.skipped += meant.saturating_sub(changed) as u64;
    }
}

/// Makes them due now. Without a state in the filter: the dead set. Of several with one unique key the newest.
pub async fn retry(client: &Client, filter: &JobFilter) -> sqlx::Result<Bulk> {
    let filter = with_states(filter, &RETRIED[..1]);
    let (mut bulk, mut before) = (Bulk::default(), None);
    loop {
        let found = filter.find(client.pool(), before, BATCH).await?;
        bulk.add(found.ids.len(), retry_batch(client, &filter, &found.ids).await?);
        if found.next_before.is_none() {
            return Ok(bulk);
        }
        before = found.next_before;
    }
}

/// Removes them with their attempts and logs; unique keys that they hold for a time are free. Without a state in the filter: all that are final.
pub async fn delete(client: &Client, filter: &JobFilter) -> sqlx::Result<Bulk> {
    let filter = with_states(filter, &DELETED);
    let (mut bulk, mut before) = (Bulk::default(), None);
    loop {
        let found = filter.find(client.pool(), before, BATCH).await?;
        bulk.add(found.ids.len(), delete_batch(client, &filter, &found.ids).await?);
        if found.next_before.is_none() {
            return Ok(bulk);
        }
        before = found.next_before;
    }
}

/// How many [`retry`] would look at.
pub async fn to_retry(client: &Client, filter: &JobFilter) -> sqlx::Result<usize> {
    count(client, &with_states(filter, &RETRIED[..1])).await
}

/// How many [`delete`] would remove.
pub async fn to_delete(client: &Client, filter: &JobFilter) -> sqlx::Result<usize> {
    count(client, &with_states(filter, &DELETED)).await
}

async fn count(client: &Client, filter: &JobFilter) -> sqlx::Result<usize> {
    let (mut count, mut before) = (0, None);
    loop {
        let found = filter.find(client.pool(), before, 10 * BATCH).await?;
        count += found.ids.len();
        if found.next_before.is_none() {
            return Ok(count);
        }
        before = found.next_before;
    }
}

fn with_states(filter: &JobFilter, default: &[JobState]) -> JobFilter {
    let mut filter = filter.clone();
    if filter.states.is_empty() {
        filter.states = default.to_vec();
    }
    filter
}

async fn retry_batch(client: &Client, filter: &JobFilter, ids: &[JobId]) -> sqlx::Result<usize> {
    let retried = loop {
        let updated = sqlx::query!(
            r#"WITH asked AS (
                   SELECT id, kind, unique_key,
                          row_number() OVER (PARTITION BY kind, unique_key ORDER BY id DESC) AS place
                   FROM (SELECT id, kind, unique_key FROM jobs
                         WHERE id = ANY ($1) AND state = ANY ($2) AND state IN ('discarded', 'cancelled')
                         ORDER BY id FOR UPDATE) AS locked
               ), waited AS (
                   DELETE FROM job_waits USING asked WHERE job_id = asked.id
               )
               UPDATE jobs SET state = 'available', scheduled_at = now(), dispatched_at = now(), finalized_at = NULL,
                      cancel_requested_at = NULL, progress = NULL, max_attempts = greatest(max_attempts, attempt + 1)
               FROM asked
               WHERE jobs.id = asked.id
                 AND (asked.unique_key IS NULL
                      OR (place = 1 AND NOT EXISTS (
                              SELECT FROM jobs AS open WHERE open.kind = asked.kind AND open.unique_key = asked.unique_key
                                AND open.finalized_at IS NULL)))
               RETURNING jobs.id AS "id: JobId", queue, priority, flow, jobs.kind"#,
            ids as &[JobId],
            &filter.states.iter().map(|state| state.as_str().to_owned()).collect::<Vec<_>>(),
        )
        .fetch_all(client.pool())
        .await;
        match updated {
            // Somebody enqueued one with a key of these just now: it is seen at the next look.
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("jobs_unique") => {}
            other => break other?,
        }
    };
    let count = retried.len();
    let mut lanes: BTreeMap<_, Vec<JobId>> = BTreeMap::new();
    for job in retried {
        lanes.entry((job.queue, job.priority, job.flow, job.kind)).or_default().push(job.id);
    }
    for ((queue, level, flow, kind), ids) in lanes {
        let lane = Lane::new(Cow::Owned(queue), level, flow.map(Cow::Owned), Cow::Owned(kind));
        client.dispatch(lane, ids);
    }
    Ok(count)
}

async fn delete_batch(client: &Client, filter: &JobFilter, ids: &[JobId]) -> sqlx::Result<usize> {
    let deleted = sqlx::query_scalar!(
        r#"WITH deleted AS (
               DELETE FROM jobs WHERE id IN (
                   SELECT id FROM jobs
                   WHERE id = ANY ($1) AND state = ANY ($2) AND state IN ('completed', 'cancelled', 'discarded')
                   ORDER BY id FOR UPDATE)
               RETURNING id, kind, unique_key
           ), freed AS (
               DELETE FROM job_holds USING deleted
               WHERE job_holds.kind = deleted.kind AND key = unique_key AND job_id = deleted.id
           )
           SELECT count(*) AS "count!" FROM deleted"#,
        ids as &[JobId],
        &filter.states.iter().map(|state| state.as_str().to_owned()).collect::<Vec<_>>(),
    )
    .fetch_one(client.pool())
    .await?;
    Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
}
