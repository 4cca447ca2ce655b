//! Which jobs an operator means, and how they are found.
//!
//! Every index on `jobs` costs each job that runs, so there is none for what is asked now and then. Jobs are looked
//! through from the newest down, [`LOOKED_AT`] at a time; a page says where the next one goes on. The states that make
//! trouble have indexes of their own and are not looked for among all that went well.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::state::JobState;
use crate::queue::job::JobId;

/// So many jobs are looked at for one page at most: some 100 ms of Postgres' time, a search for a text three times that.
const LOOKED_AT: i64 = 100_000;

/// All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Any of them; none: all.
    pub states: Vec<JobState>,
    pub kind: Option<String>,
    pub queue: Option<String>,
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

/// Where jobs are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    All,
    Dead,
    Timed,
    Running,
}

impl Among {
    fn of(states: &[JobState]) -> Self {
        let only =
            |among: &[JobState]| !states.is_empty() && states.iter().all(|state| among.contains(state));
        if only(&[JobState::Discarded, JobState::Cancelled]) {
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

/// The inner SELECT bounds the work, so the conditions of the filter stay outside of it.
macro_rules! find {
    ($among:tt, $pool:expr, $filter:expr, $before:expr, $limit:expr) => {
        sqlx::query_scalar!(
            r#"SELECT id AS "id: JobId" FROM (
                   SELECT id, kind, queue, state, attempt, args, created_at FROM jobs
                   WHERE id < $1 AND "#
                + $among
                + r#" ORDER BY id DESC LIMIT 100000) AS looked_at
               WHERE ($2::text[] IS NULL OR state = ANY ($2)) AND ($3::text IS NULL OR kind = $3)
                 AND ($4::text IS NULL OR queue = $4) AND ($5::timestamptz IS NULL OR created_at >= $5)
                 AND ($6::timestamptz IS NULL OR created_at < $6)
                 -- Blanks that only Postgres' spelling of JSON has are left out on both sides.
                 AND ($7::text IS NULL
                      OR strpos(replace(replace(lower(args::text), '": ', '":'), ', ', ','),
                                replace(replace(lower($7), '": ', '":'), ', ', ',')) > 0
                      -- A first attempt that is not over or went well left no error.
                      OR CASE WHEN attempt = 0 OR (attempt = 1 AND state IN ('running', 'completed')) THEN false
                              ELSE strpos(lower((SELECT error FROM job_attempts AS a
                                                 WHERE a.job_id = looked_at.id AND error IS NOT NULL
                                                 ORDER BY a.attempt DESC LIMIT 1)), lower($7)) > 0 END)
               ORDER BY id DESC LIMIT $8"#,
            $before,
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
    ($among:tt, $pool:expr, $before:expr) => {
        sqlx::query_scalar!(
            r#"SELECT id AS "id: JobId" FROM jobs WHERE id < $1 AND "#
                + $among
                + r#" ORDER BY id DESC OFFSET $2 LIMIT 1"#,
            $before,
            LOOKED_AT - 1,
        )
        .fetch_optional($pool)
        .await
    };
}

impl JobFilter {
    /// Whether it names what is meant, and not only when it was made.
    pub fn is_narrow(&self) -> bool {
        !self.states.is_empty() || self.kind.is_some() || self.queue.is_some() || self.text.is_some()
    }

    fn given_states(&self) -> Option<Vec<String>> {
        let names = self.states.iter().map(|state| state.as_str().to_owned());
        (!self.states.is_empty()).then(|| names.collect())
    }

    /// At most `limit` of the jobs below `before`.
    pub(super) async fn find(&self, pool: &PgPool, before: Option<JobId>, limit: i64) -> sqlx::Result<Found> {
        let before = before.map_or(i64::MAX, |id| id.0);
        let among = Among::of(&self.states);
        let wanted = limit.saturating_add(1);
        let mut ids = match among {
            Among::All => find!("true", pool, self, before, wanted),
            Among::Dead => {
                find!("dispatched_at IS NULL AND finalized_at IS NOT NULL", pool, self, before, wanted)
            }
            Among::Timed => {
                find!("dispatched_at IS NULL AND finalized_at IS NULL", pool, self, before, wanted)
            }
            Among::Running => find!(
                "state = 'running' AND id IN (SELECT unnest(ids) FROM job_claims)",
                pool,
                self,
                before,
                wanted
            ),
        }?;
        let room = usize::try_from(limit).unwrap_or(usize::MAX);
        if ids.len() > room {
            ids.truncate(room);
            let next_before = ids.last().copied();
            return Ok(Found { ids, next_before });
        }
        let next_before = match among {
            Among::All => lowest!("true", pool, before),
            Among::Dead => lowest!("dispatched_at IS NULL AND finalized_at IS NOT NULL", pool, before),
            Among::Timed => lowest!("dispatched_at IS NULL AND finalized_at IS NULL", pool, before),
            Among::Running => {
                lowest!("state = 'running' AND id IN (SELECT unnest(ids) FROM job_claims)", pool, before)
            }
        }?;
        Ok(Found { ids, next_before })
    }
}
