//! How long jobs are kept after their end, and that removing them is in nobody's way.

use std::{sync::Arc, time::Duration};

use labelfleet::queue::{JobId, JobState, Retention, Worker, WorkerOptions};

use super::{
    lab::Lab,
    probe::{self, Act, Probe, Probes},
};
use crate::support::wait;

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A job that ended so long ago.
async fn ended(lab: &Lab, state: &str, minutes: i32) -> JobId {
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO jobs (kind, queue, args, state, attempt, max_attempts, created_at, attempted_at, finalized_at,
                           dispatched_at)
         SELECT 'old', 'probes', '{}', $1, 1, 3, ago, ago, ago, CASE $1 WHEN 'completed' THEN ago END FROM (SELECT now() - $2 * interval '1 minute' AS ago) AS x
         RETURNING id",
    )
    .bind(state)
    .bind(minutes)
    .fetch_one(lab.pool())
    .await
    .unwrap();
    JobId(id)
}

async fn worker(lab: &Lab, retention: Retention) -> Worker {
    let options = WorkerOptions { retention, ..lab.options() };
    Worker::start(options, probe::registry(), Arc::new(Probes::new(lab.pool().clone()))).await.unwrap()
}

async fn are_left(lab: &Lab, sql: &str, count: i64) {
    wait::until(&format!("{count} left: {sql}"), PATIENCE, async || {
        (lab.scalar(sql).await == count).then_some(())
    })
    .await;
}

async fn left(lab: &Lab) -> Vec<JobId> {
    sqlx::query_scalar("SELECT id FROM jobs ORDER BY id").fetch_all(lab.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_state_is_kept_for_its_own_time() {
    let lab = Lab::new().await;
    let mut kept = Vec::new();
    for (state, young, old) in [("completed", 59, 61), ("cancelled", 119, 121), ("discarded", 179, 181)] {
        let gone = ended(&lab, state, old).await;
        kept.push(ended(&lab, state, young).await);
        for sql in [
            "INSERT INTO job_attempts (job_id, attempt, outcome) VALUES ($1, 1, 'retry')",
            "INSERT INTO job_logs (job_id, attempt, number, line) VALUES ($1, 1, 1, 'said')",
        ] {
            sqlx::query(sql).bind(gone.0).execute(lab.pool()).await.unwrap();
        }
    }
    // Open jobs are kept however old they are.
    let open = lab.enqueue(1, Act::Nothing).await;
    sqlx::query("UPDATE jobs SET created_at = now() - interval '1 year', kind = 'of tomorrow' WHERE id = $1")
        .bind(open.0)
        .execute(lab.pool())
        .await
        .unwrap();
    kept.push(open);
    let retention = Retention { completed: HOUR, cancelled: 2 * HOUR, discarded: 3 * HOUR };
    let worker = worker(&lab, retention).await;
    are_left(&lab, "SELECT count(*) FROM jobs", 4).await;
    assert_eq!(left(&lab).await, kept);
    assert_eq!(
        lab.scalar("SELECT (SELECT count(*) FROM job_attempts) + (SELECT count(*) FROM job_logs)").await,
        0
    );
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_for_no_time_a_job_goes_after_its_end() {
    let lab = Lab::new().await;
    let retention = Retention { completed: Duration::ZERO, ..Retention::default() };
    let worker = worker(&lab, retention).await;
    lab.enqueue(1, Act::Nothing).await;
    let dead = lab.enqueue(2, Act::Discard).await;
    are_left(&lab, "SELECT count(*) FROM jobs WHERE id NOT IN (SELECT job_id FROM job_attempts)", 0).await;
    assert_eq!(lab.job(dead).await.state, JobState::Discarded);
    worker.drain().await;
}

/// Nobody waits for the removal, and it waits for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_hold_is_left_out_and_the_leader_goes_on_meanwhile() {
    let lab = Lab::new().await;
    let held = ended(&lab, "completed", 3_000).await;
    sqlx::query(
        "INSERT INTO jobs (kind, queue, args, state, max_attempts, created_at, finalized_at)
         SELECT 'old', 'probes', '{}', 'completed', 3, ago, ago
         FROM generate_series(1, 20000), (SELECT now() - interval '2 days' AS ago) AS x",
    )
    .execute(lab.pool())
    .await
    .unwrap();
    let mut holder = lab.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM jobs WHERE id = $1 FOR UPDATE")
        .bind(held.0)
        .execute(&mut *holder)
        .await
        .unwrap();
    let worker = worker(&lab, Retention::default()).await;
    // The leader makes it due.
    let mut tx = lab.queue.begin().await.unwrap();
    let later =
        tx.enqueue_in(&Probe { key: 1, act: Act::Nothing }, Duration::from_millis(300)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lab.ended(later.id).await.state, JobState::Completed);
    are_left(&lab, "SELECT count(*) FROM jobs WHERE kind = 'old'", 1).await;
    assert_eq!(left(&lab).await, [held, later.id]);
    holder.rollback().await.unwrap();
    are_left(&lab, "SELECT count(*) FROM jobs WHERE kind = 'old'", 0).await;
    worker.drain().await;
}

/// However late that is: after an outage both are looked at at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_end_hears_of_it_before_the_job_is_removed() {
    let lab = Lab::new().await;
    let probe = |key| Probe { key, act: Act::Nothing };
    let mut tx = lab.queue.begin().await.unwrap();
    let first = tx.enqueue(&probe(1)).await.unwrap().id;
    let second = tx.enqueue_after(&[first], &probe(2)).await.unwrap().id;
    let batch = tx.enqueue_batch(&[probe(3)]).await.unwrap();
    let failed = tx.enqueue_on_failure(batch.id, &probe(4)).await.unwrap().id;
    let other = tx.enqueue_batch::<Probe>(&[]).await.unwrap();
    let others_failed = tx.enqueue_on_failure(other.id, &probe(5)).await.unwrap().id;
    tx.commit().await.unwrap();
    let anothers = ended(&lab, "discarded", 100_000).await;
    sqlx::query("INSERT INTO job_batch_others VALUES ($1, $2)")
        .bind(other.id.0)
        .bind(anothers.0)
        .execute(lab.pool())
        .await
        .unwrap();
    for (id, state) in [(first, "completed"), (batch.jobs[0].id, "cancelled")] {
        sqlx::query(
            "UPDATE jobs SET state = $2, created_at = now() - interval '3 days', finalized_at = now() - interval '2 days',
                    dispatched_at = CASE $2 WHEN 'completed' THEN now() END
             WHERE id = $1",
        )
        .bind(id.0)
        .bind(state)
        .execute(lab.pool())
        .await
        .unwrap();
    }
    ended(&lab, "completed", 3_000).await;
    // The leader can't look who waits, and removes what is old.
    let mut holder = lab.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM job_waits FOR UPDATE").execute(&mut *holder).await.unwrap();
    let worker = worker(&lab, Retention::default()).await;
    are_left(&lab, "SELECT count(*) FROM jobs WHERE kind = 'old' AND state = 'completed'", 0).await;
    for id in [first, batch.jobs[0].id, anothers] {
        assert!(lab.job(id).await.state.is_final(), "it is there");
    }
    holder.rollback().await.unwrap();
    for id in [second, failed, others_failed] {
        assert_eq!(lab.ended(id).await.state, JobState::Completed);
    }
    worker.drain().await;
}
