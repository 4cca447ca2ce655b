//! Taking jobs in Postgres: one statement checks the state, raises the attempt and names the worker.
//!
//! Jobs with a concurrency key or a rate take a way of their own ([`Claimer::limited`]), so that the others pay nothing
//! for them: under the locks of their keys, what may run is counted and claimed.
//!
//! Rows are locked in the order of their ids and locked ones are left out, so two workers never wait for each
//! other; an id that is stale, taken or delivered twice claims nothing. A worker without a lease claims nothing
//! either. Claims need not be durable: if a crash of Postgres undoes one, the job is due again.
//!
//! A claim changes nothing that an index of `jobs` holds, which makes it cheap (docs/QUEUE.md, "Speed"). Instead of an index
//! of running jobs there is a row in `job_claims` for all of one claim.

use std::collections::HashSet;

use sqlx::{Acquire, PgConnection, PgExecutor, PgPool, postgres::types::PgInterval};
use uuid::Uuid;

use super::{
    pools,
    rates::{Limits, Rates},
};
use crate::{
    lock::{Key, lock_all_in},
    queue::{job::JobId, keyed},
};

pub(super) struct Claim {
    pub id: JobId,
    pub kind: String,
    pub args: String,
    pub attempt: i32,
    pub max_attempts: i32,
    pub concurrency_key: Option<String>,
    /// Others wait for it.
    pub is_awaited: bool,
    pub trace_context: Option<String>,
    /// Seconds between the job being due and this claim.
    pub waited: f64,
    /// The row of `job_claims`.
    pub note: i64,
}

/// What one worker claims for one queue.
pub(super) struct Claimer {
    pub pool: PgPool,
    pub worker: Uuid,
    pub queue: &'static str,
    /// Others are left to those who know them.
    pub kinds: Vec<String>,
}

/// Prepares all connections for claims.
pub(super) async fn warm(pool: &PgPool, worker: Uuid) -> sqlx::Result<()> {
    let claimer = Claimer { pool: pool.clone(), worker, queue: "", kinds: Vec::new() };
    pools::warm(pool, async |connection| claimer.claim(connection, &[], false).await.map(drop)).await
}

impl Claimer {
    /// Those of `ids` that are due and ask for no limit.
    pub async fn by_id(&self, ids: &[i64]) -> sqlx::Result<Vec<Claim>> {
        self.claim(&self.pool, ids, false).await
    }

    /// Ids of due jobs without Redis: the first of this level and those below it, and of each concurrency key what may
    /// start.
    pub async fn due(&self, level: i16, limit: usize) -> sqlx::Result<Vec<i64>> {
        let mut ids = sqlx::query_scalar!(
            "SELECT id FROM jobs
             WHERE dispatched_at IS NOT NULL AND finalized_at IS NULL AND concurrency_key IS NULL AND queue = $2
               AND state = 'available' AND kind = ANY ($3) AND priority >= $4
             ORDER BY priority, id LIMIT $1",
            i64::try_from(limit).unwrap_or(i64::MAX),
            self.queue,
            &self.kinds,
            level,
        )
        .fetch_all(&self.pool)
        .await?;
        let room = limit.saturating_sub(ids.len()).max(1);
        let keyed = keyed::startable(&self.pool, self.queue, None).await?;
        ids.extend(keyed.into_iter().map(|job| job.id.0).take(room));
        Ok(ids)
    }

    /// Those of `ids` that are due, have a limit, and may start now. One whose key has no room stays due: it is sent again
    /// when another of its key ends. One that comes before its time waits for it.
    ///
    /// Redis is asked for rates before the keys are locked, so that it holds up nobody else. If a key's room is gone by the
    /// time it is locked, what the rate had granted to its job is lost.
    pub async fn limited(&self, ids: &[i64], rates: &mut Rates) -> sqlx::Result<Vec<Claim>> {
        let mut db = self.pool.acquire().await?;
        let asked = sqlx::query_as!(
            Limits,
            "SELECT id, concurrency_key, rate_key, rate_interval, rate_burst FROM jobs
             WHERE id = ANY ($1) AND state = 'available' AND queue = $2 AND kind = ANY ($3)
               AND (concurrency_key IS NOT NULL OR rate_key IS NOT NULL)
             ORDER BY priority, id",
            ids,
            self.queue,
            &self.kinds,
        )
        .fetch_all(&mut *db)
        .await?;
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = asked.iter().map(|job| job.id).collect();
        let may_start = with_room(&mut db, &ids).await?;
        let (now, later) = rates.admit(asked.iter().filter(|job| may_start.contains(&job.id))).await;
        put_off(&mut db, later).await?;
        if now.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = db.begin().await?;
        let starting: HashSet<i64> = now.iter().copied().collect();
        let keys = asked.iter().filter(|job| starting.contains(&job.id));
        let keys = keys.filter_map(|job| job.concurrency_key.as_deref());
        lock_all_in(&mut tx, keys.map(|key| Key::Start(hash(key)))).await?;
        let ids: Vec<i64> = with_room(&mut tx, &now).await?.into_iter().collect();
        let claims = self.claim(&mut *tx, &ids, true).await?;
        tx.commit().await?;
        Ok(claims)
    }

    /// The one statement that makes a job run. The caller of those with limits holds their keys' locks.
    async fn claim(
        &self,
        executor: impl PgExecutor<'_>,
        ids: &[i64],
        has_limits: bool,
    ) -> sqlx::Result<Vec<Claim>> {
        sqlx::query_as!(
            Claim,
            r#"WITH claimed AS (
                   UPDATE jobs SET state = 'running', attempt = attempt + 1, worker_id = $4, attempted_at = now(),
                                   progress = NULL, running_key = concurrency_key
                   -- Locked rows don't move, so each is looked up once.
                   WHERE ctid = ANY (ARRAY (
                       SELECT ctid FROM jobs
                       WHERE id = ANY ($1) AND state = 'available' AND queue = $2 AND kind = ANY ($3)
                         AND ($5 OR (concurrency_key IS NULL AND rate_key IS NULL))
                         AND EXISTS (SELECT FROM workers WHERE workers.id = $4 AND lease_until > now())
                       ORDER BY id
                       FOR UPDATE SKIP LOCKED))
                   RETURNING id, kind, args, attempt, max_attempts, concurrency_key, is_awaited, scheduled_at, trace_context
               ), note AS (
                   INSERT INTO job_claims (worker_id, ids)
                   SELECT $4, array_agg(id) FROM claimed HAVING count(*) > 0
                   RETURNING id
               )
               SELECT claimed.id AS "id!: JobId", kind AS "kind!", args::text AS "args!", attempt AS "attempt!",
                      max_attempts AS "max_attempts!", concurrency_key, is_awaited AS "is_awaited!", trace_context,
                      greatest(0, extract(epoch FROM now() - scheduled_at))::float8 AS "waited!", note.id AS "note!"
               FROM claimed CROSS JOIN note"#,
            ids,
            self.queue,
            &self.kinds,
            self.worker,
            has_limits,
        )
        .fetch_all(executor)
        .await
    }
}

/// Which of the jobs have no concurrency key, or one with room for them. It only holds under the keys' locks.
async fn with_room(db: &mut PgConnection, ids: &[i64]) -> sqlx::Result<HashSet<i64>> {
    let ids = sqlx::query_scalar!(
        r#"SELECT asked.id FROM (
               SELECT id, concurrency_key AS key, concurrency_limit,
                      row_number() OVER (PARTITION BY concurrency_key ORDER BY priority, id) AS place
               FROM jobs WHERE id = ANY ($1) AND state = 'available') AS asked
           WHERE key IS NULL
              OR place <= concurrency_limit - (SELECT count(*) FROM jobs AS other WHERE other.running_key = key)"#,
        ids
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().collect())
}

/// Those that come before their time are due when it has come.
async fn put_off(db: &mut PgConnection, later: Vec<(i64, PgInterval)>) -> sqlx::Result<()> {
    if later.is_empty() {
        return Ok(());
    }
    let (ids, delays): (Vec<i64>, Vec<PgInterval>) = later.into_iter().unzip();
    sqlx::query!(
        "UPDATE jobs SET state = 'scheduled', scheduled_at = now() + later.delay, dispatched_at = NULL
         FROM unnest($1::bigint[], $2::interval[]) AS later (id, delay)
         WHERE jobs.id = later.id AND state = 'available'",
        &ids,
        &delays,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The same on every worker of every version: it names a lock. Two keys of one hash only wait for each other.
fn hash(key: &str) -> i64 {
    // FNV-1a.
    key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }) as i64
}
