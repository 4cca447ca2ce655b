//! Taking jobs in Postgres: one statement checks the state, raises the attempt and names the worker.
//!
//! Jobs with a concurrency key or a rate take a way of their own ([`Claimer::limited`]), so that the others pay nothing
//! for them: under the locks of their keys, what may run is counted and claimed.
//!
//! Rows are locked in the order of their ids and locked ones are left out, so two workers never wait for each
//! other; an id that is stale, taken or delivered twice claims nothing. A worker without a lease claims nothing
//! either. Claims need not be durable: if a crash of Postgres undoes one, the job is due again.

use std::collections::HashSet;

use sqlx::{PgConnection, PgPool, postgres::types::PgInterval};
use uuid::Uuid;

use super::rates::{Limits, Rates};
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
}

/// What one worker claims for one queue.
pub(super) struct Claimer {
    pub pool: PgPool,
    pub worker: Uuid,
    pub queue: &'static str,
    /// Others are left to those who know them.
    pub kinds: Vec<String>,
}

impl Claimer {
    /// Those of `ids` that are due and ask for no limit.
    pub async fn by_id(&self, ids: &[i64]) -> sqlx::Result<Vec<Claim>> {
        sqlx::query_as!(
            Claim,
            r#"WITH due AS MATERIALIZED (
                   SELECT id FROM jobs
                   -- So compared, the index of due jobs is no way in: each id is looked up by the primary key.
                   WHERE id = ANY ($1) AND state IS NOT DISTINCT FROM 'available'
                     AND queue = $2 AND kind = ANY ($3) AND concurrency_key IS NULL AND rate_key IS NULL
                     AND EXISTS (SELECT FROM workers WHERE workers.id = $4 AND lease_until > now())
                   ORDER BY id
                   FOR UPDATE SKIP LOCKED
               )
               UPDATE jobs SET state = 'running', attempt = attempt + 1, worker_id = $4, attempted_at = now(),
                               progress = NULL
               FROM due WHERE jobs.id = due.id
               RETURNING jobs.id AS "id: JobId", kind, args::text AS "args!", attempt, max_attempts, concurrency_key, is_awaited,
                         trace_context,
                         greatest(0, extract(epoch FROM now() - scheduled_at))::float8 AS "waited!""#,
            ids,
            self.queue,
            &self.kinds,
            self.worker,
        )
        .fetch_all(&self.pool)
        .await
    }

    /// Ids of due jobs without Redis: the first of this level and those below it, and of each concurrency key what may
    /// start.
    pub async fn due(&self, level: i16, limit: usize) -> sqlx::Result<Vec<i64>> {
        let mut ids = sqlx::query_scalar!(
            "SELECT id FROM jobs
             WHERE state = 'available' AND concurrency_key IS NULL AND queue = $2 AND kind = ANY ($3) AND priority >= $4
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
    pub async fn limited(&self, ids: &[i64], rates: &mut Rates) -> sqlx::Result<Vec<Claim>> {
        let mut tx = self.pool.begin().await?;
        let asked = sqlx::query_as!(
            Limits,
            "SELECT id, concurrency_key, rate_key, rate_interval, rate_burst FROM jobs
             WHERE id = ANY ($1) AND state IS NOT DISTINCT FROM 'available' AND queue = $2 AND kind = ANY ($3)
               AND (concurrency_key IS NOT NULL OR rate_key IS NOT NULL)
             ORDER BY priority, id",
            ids,
            self.queue,
            &self.kinds,
        )
        .fetch_all(&mut *tx)
        .await?;
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let keys = asked.iter().filter_map(|job| job.concurrency_key.as_deref());
        lock_all_in(&mut tx, keys.map(|key| Key::Start(hash(key)))).await?;
        let ids: Vec<i64> = asked.iter().map(|job| job.id).collect();
        let with_room = self.with_room(&mut tx, &ids).await?;
        let (now, later) = rates.admit(asked.iter().filter(|job| with_room.contains(&job.id))).await;
        if !later.is_empty() {
            let (ids, delays): (Vec<i64>, Vec<PgInterval>) = later.into_iter().unzip();
            sqlx::query!(
                "UPDATE jobs SET state = 'scheduled', scheduled_at = now() + later.delay
                 FROM unnest($1::bigint[], $2::interval[]) AS later (id, delay)
                 WHERE jobs.id = later.id AND state = 'available'",
                &ids,
                &delays,
            )
            .execute(&mut *tx)
            .await?;
        }
        let claims = self.claim(&mut tx, &now).await?;
        tx.commit().await?;
        Ok(claims)
    }

    /// Which of the jobs have no concurrency key, or one with room for them. The caller holds the keys' locks.
    async fn with_room(&self, tx: &mut PgConnection, ids: &[i64]) -> sqlx::Result<HashSet<i64>> {
        let ids = sqlx::query_scalar!(
            r#"SELECT asked.id FROM (
                   SELECT id, concurrency_key AS key, concurrency_limit,
                          row_number() OVER (PARTITION BY concurrency_key ORDER BY priority, id) AS place
                   FROM jobs WHERE id = ANY ($1) AND state IS NOT DISTINCT FROM 'available') AS asked
               WHERE key IS NULL
                  OR place <= concurrency_limit - (SELECT count(*) FROM jobs AS other
                                                   WHERE other.state = 'running' AND other.concurrency_key = key)"#,
            ids
        )
        .fetch_all(tx)
        .await?;
        Ok(ids.into_iter().collect())
    }

    async fn claim(&self, tx: &mut PgConnection, ids: &[i64]) -> sqlx::Result<Vec<Claim>> {
        sqlx::query_as!(
            Claim,
            r#"WITH due AS MATERIALIZED (
                   SELECT id FROM jobs
                   WHERE id = ANY ($1) AND state IS NOT DISTINCT FROM 'available'
                     AND EXISTS (SELECT FROM workers WHERE workers.id = $2 AND lease_until > now())
                   ORDER BY id
                   FOR UPDATE SKIP LOCKED
               )
               UPDATE jobs SET state = 'running', attempt = attempt + 1, worker_id = $2, attempted_at = now(),
                               progress = NULL
               FROM due WHERE jobs.id = due.id
               RETURNING jobs.id AS "id: JobId", kind, args::text AS "args!", attempt, max_attempts, concurrency_key, is_awaited,
                         trace_context,
                         greatest(0, extract(epoch FROM now() - scheduled_at))::float8 AS "waited!""#,
            ids,
            self.worker,
        )
        .fetch_all(tx)
        .await
    }
}

/// The same on every worker of every version: it names a lock. Two keys of one hash only wait for each other.
fn hash(key: &str) -> i64 {
    // FNV-1a.
    key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }) as i64
}
