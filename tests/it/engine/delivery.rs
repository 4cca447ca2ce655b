//! Jobs are run, each once, whatever becomes of their ids.

use std::time::Duration;

use labelfleet::{
    queue::{Client, JobState},
    up::Redis,
};

use super::{
    lab::{Lab, nothing},
    probe::{Act, QUEUE},
};
use crate::support::database::Database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_due_jobs_run_once_each() {
    let lab = Lab::new().await;
    lab.enqueue_all(&nothing(0..20_000)).await;
    let (worker, probes) = lab.worker().await;
    lab.completed(20_000, Duration::from_secs(60)).await;
    worker.drain().await;
    let runs = probes.runs.lock().unwrap();
    assert_eq!(runs.len(), 20_000);
    assert!(runs.values().all(|count| *count == 1), "a job ran more than once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_delivered_twice_runs_once() {
    let lab = Lab::new().await;
    let ids = lab.enqueue_all(&nothing(0..100)).await;
    let mut redis =
        redis::Client::open(lab.redis.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    // A level holds an id once; so it comes in two more.
    for level in [0, 2] {
        let mut add = redis::cmd("ZADD");
        add.arg(format!("{}:queue:{QUEUE}:{level}", lab.prefix));
        for id in &ids {
            add.arg(1).arg(id.0);
        }
        assert_eq!(add.query_async::<i64>(&mut redis).await.unwrap(), 100);
    }
    let (worker, probes) = lab.worker().await;
    let (second, second_probes) = lab.worker().await;
    lab.completed(100, Duration::from_secs(20)).await;
    worker.drain().await;
    second.drain().await;
    for key in 0..100 {
        assert_eq!(probes.runs_of(key) + second_probes.runs_of(key), 1, "job {key}");
    }
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE attempt <> 1").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_id_was_never_sent_runs_all_the_same() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    // The process that enqueued it ended between its commit and the push.
    let silent = Client::new(lab.pool().clone());
    let mut tx = silent.begin().await.unwrap();
    tx.enqueue_many(&nothing(0..3)).await.unwrap();
    tx.commit().await.unwrap();
    lab.completed(3, Duration::from_secs(10)).await;
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wiping_redis_loses_no_job() {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &dir.path().join("redis.log"), None).await.unwrap();
    let lab = Lab::on(Database::create().await, server.url()).await;
    let (worker, probes) = lab.worker().await;
    lab.enqueue_all(&nothing(0..5_000)).await;
    lab.completed(200, Duration::from_secs(20)).await;
    let mut redis =
        redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await.unwrap();
    let left = 5_000 - lab.count(JobState::Completed).await;
    assert!(left > 0, "the wipe came too late to show anything");
    lab.completed(5_000, Duration::from_secs(30)).await;
    worker.drain().await;
    assert!(probes.runs.lock().unwrap().values().all(|count| *count == 1), "a job ran more than once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_starts_a_job_at_once() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    // The first also waits for connections to be made.
    let first = lab.enqueue(0, Act::Nothing).await;
    lab.ended(first).await;
    let id = lab.enqueue(1, Act::Nothing).await;
    let job = lab.ended(id).await;
    worker.drain().await;
    let waited = job.attempted_at.unwrap() - job.created_at;
    assert!(waited < chrono::TimeDelta::milliseconds(1_000), "it waited {waited}");
}
