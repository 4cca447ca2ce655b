//! Which jobs an operator means, and how they are found.
//!
//! Every index on `jobs` costs each job that runs, so there is none for what is asked now and then. Jobs are looked
//! through from the newest down, 100,000 at a time for a page, 5,000 for a glance; a page says where the next one goes
//! on. The states that make trouble and the jobs of a batch have indexes of their own and are not looked for among all
//! that went well.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::state::JobState;
use crate::queue::{batches::BatchId, job::JobId};

/// So many jobs are looked at for one page at most: some 100 ms of Postgres' time, a search for a text three times that.
const LOOKED_AT: i64 = 100_000;

/// For a glance, which listeners take twice a second.
pub(super) const GLANCED_AT: i64 = 5_000;

/// All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Any of them; none: all.
    pub states: Vec<JobState>,
    pub kind: Option<String>,
    pub queue: Option<String>,
    pub batch: Option<BatchId>,
    pub created_from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub created_to: Option<DateTime<Utc>>,
    /// In the arguments or the last error, in any case.
    pub text: Option<String>,
}

/// Some of the jobs that were meant, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub ids: Vec<JobId>,
    /// There may be more below this one.
    pub next_before: Option<JobId>,
}

/// A job as it stands: the version changes whenever its row does.
struct Version {
    id: JobId,
    version: i64,
}

/// The newest of the jobs that were meant, each with its version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Glance {
    pub versions: HashMap<JobId, i64>,
    /// The lowest of those that were looked at, if others lie below it.
    pub floor: Option<JobId>,
}

/// Where jobs are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    All,
    Dead,
    Timed,
    Running,
    Batch,
}

impl Among {
    fn of(filter: &JobFilter) -> Self {
        let only = |among: &[JobState]| {
            !filter.states.is_empty() && filter.states.iter().all(|state| among.contains(state))
        };
        if filter.batch.is_some() {
            Self::Batch
        } else if only(&[JobState::Discarded, JobState::Cancelled]) {
            Self::Dead
        } else if only(&[JobState::Scheduled, JobState::Retryable]) {
            Self::Timed
        } else if only(&[JobState::Running]) {
            Self::Running
        } else {
            Self::All
        }
    }
}

/// Asks `$query` with the rows that each index has, the newest first.
macro_rules! by_index {
    ($among:expr, $query:ident, $($argument:tt)*) => {
        match $among {
            Among::All => $query!("id < $1 ORDER BY id DESC", $($argument)*),
            Among::Dead => {
                $query!("id < $1 AND dispatched_at IS NULL AND finalized_at IS NOT NULL ORDER BY id DESC", $($argument)*)
            }
            Among::Timed => {
                $query!("id < $1 AND dispatched_at IS NULL AND finalized_at IS NULL ORDER BY id DESC", $($argument)*)
            }
            Among::Running => $query!(
                "id < $1 AND state = 'running' AND id IN (SELECT unnest(ids) FROM job_claims) ORDER BY id DESC",
                $($argument)*
            ),
            // So written, the index of batches is the only way to this order.
            Among::Batch => $query!(
                "batch_id IS NOT NULL AND (batch_id, id) > ($2, 0) AND (batch_id, id) < ($2, $1)
                 ORDER BY batch_id DESC, id DESC",
                $($argument)*
            ),
        }
    };
}

/// The inner SELECT bounds the work, so the conditions of the filter stay outside of it.
macro_rules! find {
    ($among:tt, $looked_at:tt, $pool:expr, $filter:expr, $before:expr, $limit:expr) => {
        sqlx::query_as!(
            Version,
            r#"SELECT id AS "id: JobId", version AS "version!" FROM (
                   SELECT id, xmin::text::bigint AS version, kind, queue, state, attempt, args, batch_id, created_at
                   FROM jobs WHERE "#
                + $among
                + " LIMIT "
                + $looked_at
                + r#") AS looked_at
               WHERE ($2::bigint IS NULL OR batch_id = $2)
                 AND ($3::text[] IS NULL OR state = ANY ($3)) AND ($4::text IS NULL OR kind = $4)
                 AND ($5::text IS NULL OR queue = $5) AND ($6::timestamptz IS NULL OR created_at >= $6)
                 AND ($7::timestamptz IS NULL OR created_at < $7)
                 -- Blanks that only Postgres' spelling of JSON has are left out on both sides.
                 AND ($8::text IS NULL
                      OR strpos(replace(replace(lower(args::text), '": ', '":'), ', ', ','),
                                replace(replace(lower($8), '": ', '":'), ', ', ',')) > 0
                      -- A job that did not run and was not cancelled left no error, nor did a first attempt that is not
                      -- over or went well.
                      OR CASE WHEN attempt = 0 AND state <> 'cancelled'
                                   OR attempt = 1 AND state IN ('running', 'completed') THEN false
                              ELSE strpos(lower((SELECT error FROM job_attempts AS a
                                                 WHERE a.job_id = looked_at.id AND error IS NOT NULL
                                                 ORDER BY a.attempt DESC LIMIT 1)), lower($8)) > 0 END)
               ORDER BY id DESC LIMIT $9"#,
            $before,
            $filter.batch.map(|batch| batch.0),
            $filter.given_states() as Option<Vec<String>>,
            $filter.kind,
            $filter.queue,
            $filter.created_from,
            $filter.created_to,
            $filter.text,
            $limit,
        )
        .fetch_all($pool)
        .await
    };
}

/// The lowest of the jobs that were looked at, if there may be more below it.
macro_rules! lowest {
    ($among:tt, $pool:expr, $filter:expr, $before:expr, $looked_at:expr) => {
        sqlx::query_scalar!(
            // The first condition says of which type $2 is where no batch is asked for.
            r#"SELECT id AS "id: JobId" FROM jobs WHERE ($2::bigint IS NULL OR true) AND "#
                + $among
                + " OFFSET $3 LIMIT 1",
            $before,
            $filter.batch.map(|batch| batch.0),
            $looked_at - 1,
        )
        .fetch_optional($pool)
        .await
    };
}

impl JobFilter {
    /// Whether it names what is meant, and not only when it was made.
    pub fn is_narrow(&self) -> bool {
        !self.states.is_empty()
            || self.kind.is_some()
            || self.queue.is_some()
            || self.batch.is_some()
            || self.text.is_some()
    }

    /// Whether it means jobs of this state.
    pub(super) fn allows(&self, state: JobState) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }

    fn given_states(&self) -> Option<Vec<String>> {
        let names = self.states.iter().map(|state| state.as_str().to_owned());
        (!self.states.is_empty()).then(|| names.collect())
    }

    /// At most `limit` of the jobs below `before`.
    pub(super) async fn find(&self, pool: &PgPool, before: Option<JobId>, limit: i64) -> sqlx::Result<Found> {
        let before = before.map_or(i64::MAX, |id| id.0);
        let among = Among::of(self);
        let wanted = limit.saturating_add(1);
        let rows = by_index!(among, find, "100000", pool, self, before, wanted)?;
        let mut ids: Vec<JobId> = rows.into_iter().map(|row| row.id).collect();
        let room = usize::try_from(limit).unwrap_or(usize::MAX);
        if ids.len() > room {
            ids.truncate(room);
            let next_before = ids.last().copied();
            return Ok(Found { ids, next_before });
        }
        let next_before = by_index!(among, lowest, pool, self, before, LOOKED_AT)?;
        Ok(Found { ids, next_before })
    }

    /// What a short look at the newest jobs finds.
    pub(super) async fn glance(&self, pool: &PgPool) -> sqlx::Result<Glance> {
        let among = Among::of(self);
        // Before: a job that comes in between is then above it.
        let floor = by_index!(among, lowest, pool, self, i64::MAX, GLANCED_AT)?;
        let rows = by_index!(among, find, "5000", pool, self, i64::MAX, GLANCED_AT)?;
        Ok(Glance { versions: rows.into_iter().map(|row| (row.id, row.version)).collect(), floor })
    }
}
