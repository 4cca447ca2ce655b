//! What changes, as it changes: while somebody listens, they look into Postgres twice a second. Workers write nothing for
//! listeners, and a look costs the same few milliseconds however many jobs there are.
//!
//! Each look compares the versions of the newest jobs that match, and of those that were shown and are not over, with
//! those of the look before. So nothing is missed for good by a look that failed or came late: the next one shows how
//! things stand then.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use sqlx::PgPool;

use super::{
    AdminError,
    filter::{Glance, JobFilter},
    jobs,
    view::{Job, JobAttempt, JobDetail},
};
use crate::queue::{client::Client, job::JobId};

/// Jobs shown of one look.
const SHOWN: usize = 100;
/// Open jobs that are looked after because they were shown.
const FOLLOWED: usize = 500;
const EVERY: Duration = Duration::from_millis(500);

/// How long to wait after a look that took so long: a listener takes a fifth of a connection's time at most.
pub fn pause(took: Duration) -> Duration {
    EVERY.max(took.saturating_mul(4))
}

/// Watches the jobs that a filter means.
#[derive(Debug, Clone)]
pub struct Watch {
    filter: JobFilter,
    has_begun: bool,
    /// At the last look.
    versions: HashMap<JobId, i64>,
    /// Below it nothing was looked at.
    floor: Option<JobId>,
    /// Shown, and not over.
    followed: BTreeSet<JobId>,
}

/// What a look found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// The newest that match at the first look, then those that are new or changed; a job whose state the filter does not
    /// name any more is shown once as it is now. The oldest first.
    pub jobs: Vec<Job>,
    /// They were shown, and are gone.
    pub removed: Vec<JobId>,
    /// So many more changed than are shown, or are looked after no longer.
    pub skipped: usize,
}

impl Seen {
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.removed.is_empty() && self.skipped == 0
    }
}

impl Watch {
    pub fn new(filter: JobFilter) -> Self {
        Self { filter, has_begun: false, versions: HashMap::new(), floor: None, followed: BTreeSet::new() }
    }

    pub async fn look(&mut self, client: &Client) -> sqlx::Result<Seen> {
        let Glance { versions: mut now, floor } = self.filter.glance(client.pool()).await?;
        let elsewhere: Vec<JobId> =
            self.followed.iter().filter(|id| !now.contains_key(id)).copied().collect();
        now.extend(versions(client.pool(), &elsewhere).await?);
        let removed: Vec<JobId> = elsewhere.into_iter().filter(|id| !now.contains_key(id)).collect();

        let mut changed: Vec<JobId> =
            now.iter().filter(|(id, version)| self.is_news(**id, **version)).map(|(id, _)| *id).collect();
        changed.sort_unstable_by_key(|id| (!self.followed.contains(id), Reverse(*id)));
        let passed_over = changed.split_off(changed.len().min(SHOWN));
        let mut jobs = jobs::listed(client, &changed).await?;
        jobs.reverse();

        let mut skipped = 0;
        for id in passed_over {
            match self.versions.get(&id).filter(|_| self.followed.contains(&id)) {
                // Its turn is at the next look.
                Some(known) => drop(now.insert(id, *known)),
                None => skipped += usize::from(self.has_begun),
            }
        }
        for job in &jobs {
            now.insert(job.id, job.version);
            if job.state.is_final() || !self.filter.allows(job.state) {
                self.followed.remove(&job.id);
            } else {
                self.followed.insert(job.id);
            }
        }
        self.followed.retain(|id| !removed.contains(id));
        while self.followed.len() > FOLLOWED {
            self.followed.pop_first();
            skipped += 1;
        }
        (self.versions, self.floor, self.has_begun) = (now, floor, true);
        Ok(Seen { jobs, removed, skipped })
    }

    fn is_news(&self, id: JobId, version: i64) -> bool {
        match self.versions.get(&id) {
            Some(known) => *known != version,
            // What lay too deep for the last look has come into view because others went: that is no news.
            None => self.floor.is_none_or(|floor| id >= floor),
        }
    }
}

async fn versions(pool: &PgPool, ids: &[JobId]) -> sqlx::Result<HashMap<JobId, i64>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"SELECT id AS "id: JobId", xmin::text::bigint AS "version!" FROM jobs WHERE id = ANY ($1)"#,
        ids as &[JobId],
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.version)).collect())
}

/// Follows one job: its progress and its log as well.
#[derive(Debug, Clone)]
pub struct Follow {
    id: JobId,
    last: Option<Box<(Job, Vec<JobAttempt>)>>,
    /// Attempt and number of the last line that was shown.
    line: (i32, i32),
}

impl Follow {
    pub fn new(id: JobId) -> Self {
        Self { id, last: None, line: (0, 0) }
    }

    pub fn id(&self) -> JobId {
        self.id
    }

    /// The job with the lines that are new, if anything is.
    pub async fn look(&mut self, client: &Client) -> Result<Option<JobDetail>, AdminError> {
        let detail = jobs::detail_after(client, self.id, self.line).await?;
        let is_known =
            self.last.as_deref().is_some_and(|(job, runs)| *job == detail.job && *runs == detail.attempts);
        if is_known && detail.log.is_empty() {
            return Ok(None);
        }
        self.last = Some(Box::new((detail.job.clone(), detail.attempts.clone())));
        self.line = detail.log.last().map_or(self.line, |line| (line.attempt, line.number));
        Ok(Some(detail))
    }
}
