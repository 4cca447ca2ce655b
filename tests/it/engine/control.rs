//! What operators tell running workers, and what running jobs tell operators.

use std::{sync::Arc, time::Duration};

use labelfleet::queue::{JobArgs, JobContext, JobId, JobResult, JobState, Run, Worker, queues};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    lab::{Lab, nothing},
    probe::{self, Act, Probes, QUEUE},
};
use crate::support::{database::Database, wait};

const PATIENCE: Duration = Duration::from_secs(20);

/// Of another queue: its end shows that the worker is well.
#[derive(Debug, Serialize, Deserialize)]
struct Aside;

impl JobArgs for Aside {
    const KIND: &'static str = "aside";
    const QUEUE: &'static str = "asides";
}

impl Run<Probes> for Aside {
    async fn run(self, _: JobContext, _: Arc<Probes>) -> JobResult {
        Ok(Value::Null)
    }
}

async fn worker(lab: &Lab) -> Worker {
    let registry = probe::registry().register::<Aside>();
    let probes = Arc::new(Probes::new(lab.pool().clone()));
    Worker::start(lab.options(), registry, probes).await.unwrap()
}

async fn run_aside(lab: &Lab) {
    let mut tx = lab.queue.begin().await.unwrap();
    let id = tx.enqueue(&Aside).await.unwrap().id;
    tx.commit().await.unwrap();
    assert_eq!(lab.ended(id).await.state, JobState::Completed);
}

/// As long as workers may take to hear of a pause.
async fn pause_and_wait(lab: &Lab) {
    queues::pause(lab.pool(), QUEUE, "an operator").await.unwrap();
    wait::until("a second after the pause", PATIENCE, async || {
        let sql = "SELECT count(*) FROM queues WHERE paused_at < now() - interval '1 second'";
        (lab.scalar(sql).await == 1).then_some(())
    })
    .await;
}

async fn is_untouched(lab: &Lab, ids: &[JobId]) {
    for _ in 0..5 {
        run_aside(lab).await;
    }
    for id in ids {
        let job = lab.job(*id).await;
        assert_eq!((job.state, job.attempt), (JobState::Available, 0), "taken from a paused queue");
    }
}

async fn a_pause(lab: Lab) {
    let first = worker(&lab).await;
    let running = lab.enqueue(1, Act::Effect { first_sleeps_millis: 3_000 }).await;
    lab.rows("starts", 1, PATIENCE).await;
    pause_and_wait(&lab).await;
    let ids = lab.enqueue_all(&nothing(10..15)).await;
    is_untouched(&lab, &ids).await;
    assert_eq!(lab.ended(running).await.state, JobState::Completed, "what runs goes on");
    first.drain().await;

    let second = worker(&lab).await;
    is_untouched(&lab, &ids).await;
    let paused = queues::pause(lab.pool(), QUEUE, "another").await.unwrap();
    assert_eq!(paused.paused_by.as_deref(), Some("an operator"));
    assert_eq!(queues::paused(lab.pool()).await.unwrap(), [paused]);
    assert!(queues::resume(lab.pool(), QUEUE).await.unwrap());
    assert!(!queues::resume(lab.pool(), QUEUE).await.unwrap());
    for id in ids {
        assert_eq!(lab.ended(id).await.state, JobState::Completed);
    }
    second.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_waits_and_outlives_workers() {
    a_pause(Lab::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_waits_without_redis() {
    a_pause(Lab::on(Database::create().await, "redis://127.0.0.1:1".into()).await).await;
}
