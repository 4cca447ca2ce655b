//! Redis or Postgres away for a while: jobs go on or wait, and none is lost.

use std::time::Duration;

use labelfleet::{
    queue::{JobState, WorkerOptions},
    up::{Postgres, PostgresOptions, Redis},
};
use nix::sys::signal::Signal;

use super::{
    lab::{Lab, nothing},
    probe::{Act, Probe},
};
use crate::support::{database::Database, wait};

const LEASE: Duration = Duration::from_secs(15);
const DRAIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_on_while_redis_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(dir.path(), &dir.path().join("redis.log"), None).await.unwrap();
    let lab = Lab::on(Database::create().await, redis.url()).await;
    let mut worker = lab.process(LEASE, DRAIN).await;
    lab.enqueue_all(&nothing(0..500)).await;
    lab.completed(1, Duration::from_secs(20)).await;

    redis.kill().await.unwrap();
    lab.enqueue_all(&nothing(500..1_000)).await;
    lab.completed(1_000, Duration::from_secs(20)).await;

    redis.restart().await.unwrap();
    // Through Redis again: the list is read by the worker and nobody else.
    let mut connection =
        redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    wait::until("the worker waits at Redis again", Duration::from_secs(10), async || {
        let clients: String =
            redis::cmd("CLIENT").arg("LIST").query_async(&mut connection.clone()).await.unwrap();
        clients.contains("cmd=bzmpop").then_some(())
    })
    .await;
    redis::cmd("PING").query_async::<String>(&mut connection).await.unwrap();
    lab.enqueue_all(&nothing(1_000..1_500)).await;
    lab.completed(1_500, Duration::from_secs(20)).await;

    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended(DRAIN).await, Some(0));
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE attempt <> 1").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_outlives_a_restart_of_postgres() {
    survives_postgres(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_outlives_a_crash_of_postgres() {
    survives_postgres(true).await;
}

async fn survives_postgres(crash: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Postgres::start(PostgresOptions::new(dir.path())).await.unwrap();
    let lab = Lab::on(Database::create_on(&server.url()).await, crate::support::redis_url()).await;
    let mut worker = lab.process(LEASE, DRAIN).await;
    // Some run while the server is away, and end then; the others wait.
    let act = Act::Effect { first_sleeps_millis: 300 };
    let probes: Vec<_> = (0..2_000).map(|key| Probe { key, act: act.clone() }).collect();
    lab.enqueue_all(&probes).await;
    lab.rows("starts", 300, Duration::from_secs(30)).await;
    if crash {
        server.kill().await.unwrap()
    } else {
        server.stop().await.unwrap()
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.restart().await.unwrap();
    wait::until("all jobs completed", Duration::from_secs(60), async || {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE state = 'completed'")
            .fetch_one(lab.pool())
            .await
            .ok()?;
        (count == 2_000).then_some(())
    })
    .await;
    assert_eq!(lab.scalar("SELECT count(*) FROM effects").await, 2_000, "an effect stands twice");
    assert_eq!(lab.scalar("SELECT count(DISTINCT key) FROM effects").await, 2_000);
    assert_eq!(lab.count(JobState::Discarded).await, 0);
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended(DRAIN).await, Some(0));
}

/// What an outage of Postgres that outlasts the lease leaves behind: no leader, and no lease that stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_were_kept_from_their_heartbeat_are_not_taken_for_dead() {
    let lab = Lab::new().await;
    let lease = Duration::from_secs(20);
    let (worker, _) = lab.worker_with(WorkerOptions { lease, ..lab.options() }).await;
    let id = lab.enqueue(1, Act::Sleep { millis: 8_000 }).await;
    wait::until("the job runs under a leader", Duration::from_secs(20), async || {
        let leads = "SELECT count(*) FROM pg_stat_activity
                     WHERE application_name = 'labelfleet-lock' AND datname = current_database()";
        (lab.count(JobState::Running).await == 1 && lab.scalar(leads).await == 1).then_some(())
    })
    .await;
    let mut tx = lab.pool().begin().await.unwrap();
    sqlx::query("UPDATE workers SET lease_until = now() - interval '1 s'").execute(&mut *tx).await.unwrap();
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'labelfleet-lock' AND datname = current_database()",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let job = lab.ended(id).await;
    worker.drain().await;
    assert_eq!((job.state, job.attempt), (JobState::Completed, 1));
    assert_eq!(lab.outcomes(id).await, [""; 0], "a living worker was taken for dead");
}
