//! Writing how runs ended, in batches.
//!
//! Each row is guarded by the fence: id, attempt and worker (a job has a worker exactly while it runs). A run that
//! lost its lease changes nothing, and what replaced it counts. While Postgres is away outcomes are kept and written when
//! it answers again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::{PgExecutor, PgPool};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{outcome::Ending, pools, slots::Ticket};
use crate::queue::{
    durations::interval,
    job::JobId,
    notes::{self, Draft},
};

/// Ends written in one statement, at most.
const BATCH: usize = 500;
/// Batches that are written at once, at most: their jobs are never the same.
pub(super) const WRITES: usize = 3;
/// How long the first outcome of a batch waits for more.
const LINGER: Duration = Duration::from_millis(3);
/// Bounds of the pause after Postgres failed.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The end of one run.
pub(super) struct Finished {
    pub ticket: Arc<Ticket>,
    pub end: End,
}

pub(super) enum End {
    /// With the result as JSON.
    Completed(Option<String>),
    Failed(Ending),
}

/// Where ends are handed in. Their number is bounded by the slots, whose tickets they carry.
pub(super) type Sender = mpsc::UnboundedSender<Finished>;

pub(super) struct Finisher {
    pub pool: PgPool,
    pub worker: Uuid,
}

/// Prepares all connections for ends.
pub(super) async fn warm(pool: &PgPool, worker: Uuid) -> sqlx::Result<()> {
    let finisher = Finisher { pool: pool.clone(), worker };
    pools::warm(pool, async |connection| finisher.complete_silent(connection, &[], 0).await.map(drop)).await
}

impl Finisher {
    /// Writes until all senders are gone and all is written. While one batch is made durable the next is written.
    pub async fn run(self, mut finished: mpsc::UnboundedReceiver<Finished>) {
        let finisher = Arc::new(self);
        let room = Arc::new(Semaphore::new(WRITES));
        let writes = TaskTracker::new();
        let mut batch = Vec::new();
        // The semaphore is never closed.
        while let Ok(permit) = room.clone().acquire_owned().await {
            if finished.recv_many(&mut batch, BATCH).await == 0 {
                break;
            }
            let full_at = Instant::now() + LINGER;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                match timeout_at(full_at, finished.recv_many(&mut batch, room)).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            // One order for all, so that no two workers wait for each other.
            batch.sort_by_key(|finished| finished.ticket.context.id);
            let (finisher, batch) = (finisher.clone(), std::mem::take(&mut batch));
            writes.spawn(async move {
                finisher.write(&batch).await;
                drop(permit);
            });
        }
        writes.close();
        writes.wait().await;
    }

    async fn write(&self, batch: &[Finished]) {
        let mut pause = PAUSE;
        loop {
            let error = match self.try_write(batch).await {
                Ok(written) => {
                    batch.iter().for_each(|finished| finished.ticket.settle());
                    // When it was tried again, what is missing may be what the first try had written.
                    if pause == PAUSE {
                        report_lost(batch, written);
                    }
                    return;
                }
                Err(error) => error,
            };
            if !is_passing(&error) {
                return self.write_each(batch, error).await;
            }
            tracing::warn!(%error, jobs = batch.len(), "the ends of jobs can't be written now: kept, and tried again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One row spoils its batch: writes the others. The spoiler's job is handed back by the audit.
    async fn write_each(&self, batch: &[Finished], error: sqlx::Error) {
        tracing::error!(%error, jobs = batch.len(), "a batch of jobs' ends is refused: written one by one");
        for one in batch.chunks(1) {
            let mut pause = PAUSE;
            loop {
                match self.try_write(one).await {
                    Ok(_) => {
                        one.iter().for_each(|finished| finished.ticket.settle());
                        break;
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        let job = one.first().map(|finished| finished.ticket.context.id.0);
                        tracing::error!(%error, job, "the end of a job is refused");
                        break;
                    }
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Returns whose end is written.
    async fn try_write(&self, batch: &[Finished]) -> sqlx::Result<Vec<JobId>> {
        let mut silent: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        let (mut completed, mut failed) = (Completed::default(), Failed::default());
        for Finished { ticket, end } in batch {
            let (id, attempt) = (ticket.context.id.0, ticket.context.attempt);
            match end {
                End::Completed(None) => silent.entry(attempt).or_default().push(id),
                End::Completed(Some(result)) => completed.push(id, attempt, result),
                End::Failed(ending) => failed.push(ticket, ending),
            }
        }
        self.note(batch).await?;
        let mut written = Vec::with_capacity(batch.len());
        for (attempt, ids) in silent {
            written.extend(self.complete_silent(&self.pool, &ids, attempt).await?);
        }
        if !completed.ids.is_empty() {
            written.extend(self.complete(&completed).await?);
        }
        if !failed.ids.is_empty() {
            written.extend(self.fail(&failed).await?);
        }
        Ok(written)
    }

    /// What the runs said last.
    async fn note(&self, batch: &[Finished]) -> sqlx::Result<()> {
        let drafts: Vec<Draft> =
            batch.iter().filter_map(|finished| finished.ticket.context.last_notes()).collect();
        if drafts.is_empty() {
            return Ok(());
        }
        match notes::write(&self.pool, self.worker, &drafts).await {
            Err(error) if is_passing(&error) => return Err(error),
            Err(error) => tracing::error!(%error, "what jobs said last is refused"),
            Ok(()) => {}
        }
        // Ids are in order in both.
        let mut drafts = drafts.iter().peekable();
        for Finished { ticket, .. } in batch {
            let context = &ticket.context;
            if let Some(draft) =
                drafts.next_if(|draft| draft.id == context.id && draft.attempt == context.attempt)
            {
                context.notes_written(draft);
            }
        }
        Ok(())
    }

    /// Without results: most jobs. One statement for each attempt, nearly all of which are the first.
    async fn complete_silent(
        &self,
        executor: impl PgExecutor<'_>,
        ids: &[i64],
        attempt: i32,
    ) -> sqlx::Result<Vec<JobId>> {
        sqlx::query_scalar!(
            r#"UPDATE jobs SET state = 'completed', worker_id = NULL, running_key = NULL, finalized_at = now(), result = NULL
               WHERE id = ANY ($1) AND attempt = $2 AND worker_id = $3
               RETURNING id AS "id: JobId""#,
            ids,
            attempt,
            self.worker,
        )
        .fetch_all(executor)
        .await
    }

    async fn complete(&self, ends: &Completed) -> sqlx::Result<Vec<JobId>> {
        sqlx::query_scalar!(
            r#"UPDATE jobs SET state = 'completed', worker_id = NULL, running_key = NULL, finalized_at = now(),
                               result = ended.result::jsonb
               FROM unnest($1::bigint[], $2::int[], $3::text[]) AS ended (id, attempt, result)
               WHERE jobs.id = ended.id AND jobs.attempt = ended.attempt AND worker_id = $4
               RETURNING jobs.id AS "id: JobId""#,
            &ends.ids,
            &ends.attempts,
            &ends.results,
            self.worker,
        )
        .fetch_all(&self.pool)
        .await
    }

    async fn fail(&self, ends: &Failed) -> sqlx::Result<Vec<JobId>> {
        sqlx::query_scalar!(
            r#"WITH ended AS (
                   SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::interval[], $6::bool[],
                                        $7::text[])
                            AS ended (id, attempt, outcome, state, delay, is_spared, error)
               ), done AS (
                   -- Whatever the run did not know: a job that was asked to stop ends here.
                   UPDATE jobs SET state = CASE WHEN cancel_requested_at IS NULL THEN ended.state ELSE 'cancelled' END,
                                   worker_id = NULL, running_key = NULL, scheduled_at = now() + ended.delay,
                                   dispatched_at = CASE WHEN ended.state = 'available' AND cancel_requested_at IS NULL
                                                        THEN dispatched_at END,
                                   max_attempts = max_attempts + ended.is_spared::int,
                                   finalized_at = CASE WHEN ended.state IN ('discarded', 'cancelled')
                                                            OR cancel_requested_at IS NOT NULL THEN now() END
                   FROM ended
                   WHERE jobs.id = ended.id AND jobs.attempt = ended.attempt
                     AND worker_id = $8
                   RETURNING jobs.id, jobs.attempt, attempted_at, ended.error,
                             CASE WHEN jobs.state = 'cancelled' THEN 'cancelled' ELSE ended.outcome END AS outcome
               )
               INSERT INTO job_attempts (job_id, attempt, worker_id, started_at, outcome, error)
               SELECT id, attempt, $8, attempted_at, outcome, error FROM done
               RETURNING job_id AS "id: JobId""#,
            &ends.ids,
            &ends.attempts,
            &ends.outcomes,
            &ends.states,
            &ends.delays,
            &ends.is_spared,
            &ends.errors as &[Option<String>],
            self.worker,
        )
        .fetch_all(&self.pool)
        .await
    }
}

fn report_lost(batch: &[Finished], mut written: Vec<JobId>) {
    if written.len() == batch.len() {
        return;
    }
    written.sort_unstable();
    for Finished { ticket, .. } in batch {
        if written.binary_search(&ticket.context.id).is_err() {
            tracing::warn!(
                job = ticket.context.id.0,
                kind = ticket.kind,
                attempt = ticket.context.attempt,
                "the run had lost its lease: its end is not written"
            );
            metrics::counter!("jobs_lease_lost_total", "kind" => ticket.kind).increment(1);
        }
    }
}

#[derive(Default)]
struct Completed {
    ids: Vec<i64>,
    attempts: Vec<i32>,
    results: Vec<String>,
}

impl Completed {
    fn push(&mut self, id: i64, attempt: i32, result: &str) {
        self.ids.push(id);
        self.attempts.push(attempt);
        self.results.push(result.to_owned());
    }
}

#[derive(Default)]
struct Failed {
    ids: Vec<i64>,
    attempts: Vec<i32>,
    outcomes: Vec<String>,
    states: Vec<String>,
    delays: Vec<sqlx::postgres::types::PgInterval>,
    is_spared: Vec<bool>,
    errors: Vec<Option<String>>,
}

impl Failed {
    fn push(&mut self, ticket: &Ticket, ending: &Ending) {
        self.ids.push(ticket.context.id.0);
        self.attempts.push(ticket.context.attempt);
        self.outcomes.push(ending.outcome.to_owned());
        self.states.push(ending.state.to_owned());
        self.delays.push(interval(ending.delay));
        self.is_spared.push(ending.is_spared);
        self.errors.push(ending.error.clone());
    }
}

/// Whether the same statement may succeed later: all but what Postgres says of the data itself (classes 22 and
/// 23 of its error codes).
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            !error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
        }
        _ => true,
    }
}
