//! What operators tell running workers, and what running jobs tell operators.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use labelfleet::queue::{
    JobArgs, JobContext, JobError, JobId, JobResult, JobState, OrRetry, Run, Worker, WorkerOptions, admin,
    queues,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Notify;

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
    type Output = ();

    const KIND: &'static str = "aside";
    const QUEUE: &'static str = "asides";
}

impl Run<Probes> for Aside {
    async fn run(self, _: JobContext, _: Arc<Probes>) -> JobResult {
        Ok(())
    }
}

/// Talks, and does what its operators want or not.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Talk {
    /// Stops when it is asked to, by error.
    Heed,
    Ignore,
    /// Is asked to stop, and succeeds.
    Succeed,
    /// So many lines, and fails the first time.
    Lines(i32),
    /// Says more once told to.
    Late,
    /// So many bytes; in its own transaction or not.
    Answer(usize, bool),
}

static LATE: Notify = Notify::const_new();

impl JobArgs for Talk {
    type Output = Option<String>;

    const KIND: &'static str = "talk";
    const QUEUE: &'static str = QUEUE;
}

impl Run<Probes> for Talk {
    async fn run(self, context: JobContext, state: Arc<Probes>) -> JobResult<Option<String>> {
        match self {
            Self::Heed | Self::Succeed => {
                context.log("a start\0ed");
                context.progress(0.4);
                context.cancelled().await;
                assert!(context.is_cancelled());
                context.log("asked to stop");
                if matches!(self, Self::Heed) {
                    return Err(JobError::Retry(anyhow!("stopped half way")));
                }
            }
            Self::Ignore => {
                context.log("deaf");
                std::future::pending().await
            }
            Self::Lines(count) => {
                (1..=count).for_each(|line| context.log(format!("line {line}")));
                if context.attempt == 1 {
                    return Err(JobError::Snooze(Duration::from_millis(1)));
                }
                let mut tx = state.queue.begin().await.or_retry()?;
                context.finish_in::<Self>(&mut tx, &None).await.or_retry()?;
                tx.commit().await.or_retry()?;
            }
            Self::Late => {
                context.log("in time");
                LATE.notified().await;
                context.log("too late");
                context.progress(0.9);
            }
            Self::Answer(bytes, false) => return Ok(Some("x".repeat(bytes))),
            Self::Answer(bytes, true) => {
                let mut tx = state.queue.begin().await.or_retry()?;
                context.finish_in::<Self>(&mut tx, &Some("x".repeat(bytes))).await.or_retry()?;
                tx.commit().await.or_retry()?;
            }
        }
        Ok(None)
    }
}

async fn talk(lab: &Lab, talk: Talk) -> JobId {
    let mut tx = lab.queue.begin().await.unwrap();
    let id = tx.enqueue(&talk).await.unwrap().id;
    tx.commit().await.unwrap();
    id
}

/// Attempt, number and text.
async fn lines(lab: &Lab, id: JobId) -> Vec<(i32, i32, String)> {
    sqlx::query_as("SELECT attempt, number, line FROM job_logs WHERE job_id = $1 ORDER BY attempt, number")
        .bind(id.0)
        .fetch_all(lab.pool())
        .await
        .unwrap()
}

async fn has_said(lab: &Lab, id: JobId, count: usize) {
    wait::until("it has said so much", PATIENCE, async || {
        (lines(lab, id).await.len() >= count).then_some(())
    })
    .await;
}

async fn worker(lab: &Lab) -> Worker {
    let registry = probe::registry().register::<Aside>().register::<Talk>();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_stopped_and_may_be_retried() {
    let lab = Lab::new().await;
    let worker = worker(&lab).await;
    let id = talk(&lab, Talk::Heed).await;
    has_said(&lab, id, 1).await;
    assert_eq!(
        lab.scalar("SELECT count(*) FROM jobs WHERE progress = 0.4::real AND state = 'running'").await,
        1
    );
    let asked = admin::cancel(&lab.queue, id, "an operator").await.unwrap();
    assert!(matches!(asked.state, JobState::Running | JobState::Cancelled));
    let job = lab.ended(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Cancelled, 1));
    assert_eq!(job.last_error.as_deref(), Some("cancelled: stopped half way"));
    assert_eq!(lab.outcomes(id).await, ["cancelled"]);
    let said = [(1, 1, "a started".to_owned()), (1, 2, "asked to stop".to_owned())];
    assert_eq!(lines(&lab, id).await, said);

    admin::retry(&lab.queue, id).await.unwrap();
    has_said(&lab, id, 3).await;
    assert_eq!(lab.job(id).await.state, JobState::Running, "the old wish holds on");
    admin::cancel(&lab.queue, id, "an operator").await.unwrap();
    assert_eq!(lab.ended(id).await.state, JobState::Cancelled);
    assert_eq!(lab.outcomes(id).await, ["cancelled"; 2]);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_succeeds_all_the_same_is_completed_and_a_deaf_one_is_dropped() {
    let lab = Lab::new().await;
    let worker = worker(&lab).await;
    let succeeds = talk(&lab, Talk::Succeed).await;
    let ignores = talk(&lab, Talk::Ignore).await;
    for id in [succeeds, ignores] {
        has_said(&lab, id, 1).await;
        admin::cancel(&lab.queue, id, "an operator").await.unwrap();
    }
    assert_eq!(lab.ended(succeeds).await.state, JobState::Completed);
    let dropped = lab.ended(ignores).await;
    assert_eq!(dropped.state, JobState::Cancelled);
    assert_eq!(dropped.last_error.as_deref(), Some("cancelled: asked to stop, it went on for 5s"));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_workers_job_that_was_to_stop_does_not_run_again() {
    let lab = Lab::new().await;
    let id = lab.enqueue(1, Act::Nothing).await;
    sqlx::query(
        "WITH claimed AS (
             UPDATE jobs SET state = 'running', attempt = 1, attempted_at = now(), worker_id = gen_random_uuid()
             RETURNING id, worker_id)
         INSERT INTO job_claims (worker_id, ids) SELECT worker_id, ARRAY [id] FROM claimed",
    )
    .execute(lab.pool())
    .await
    .unwrap();
    assert_eq!(admin::cancel(&lab.queue, id, "an operator").await.unwrap().state, JobState::Running);
    let lease = Duration::from_secs(2);
    let (worker, probes) = lab.worker_with(WorkerOptions { lease, ..lab.options() }).await;
    assert_eq!(lab.ended(id).await.state, JobState::Cancelled);
    assert_eq!((lab.outcomes(id).await, probes.runs_of(1)), (vec!["lost".to_owned()], 0));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_lines_of_a_job_are_kept() {
    let lab = Lab::new().await;
    let worker = worker(&lab).await;
    let id = talk(&lab, Talk::Lines(600)).await;
    assert_eq!(lab.ended(id).await.state, JobState::Completed);
    let kept = lines(&lab, id).await;
    assert_eq!(kept.len(), 1_000);
    assert_eq!(kept[0], (1, 201, "line 201".to_owned()));
    assert_eq!(kept[999], (2, 600, "line 600".to_owned()));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_lost_its_lease_says_nothing_more() {
    let lab = Lab::new().await;
    let worker = worker(&lab).await;
    let id = talk(&lab, Talk::Late).await;
    has_said(&lab, id, 1).await;
    sqlx::query("UPDATE jobs SET attempt = 2, worker_id = gen_random_uuid()")
        .execute(lab.pool())
        .await
        .unwrap();
    LATE.notify_one();
    worker.drain().await;
    assert_eq!(lines(&lab, id).await, [(1, 1, "in time".to_owned())]);
    assert_eq!(lab.scalar("SELECT count(progress) FROM jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_results_are_replaced_and_large_arguments_refused() {
    let lab = Lab::new().await;
    let worker = worker(&lab).await;
    for is_finished in [false, true] {
        let id = talk(&lab, Talk::Answer(70_000, is_finished)).await;
        assert_eq!(lab.ended(id).await.result, Some(json!({"truncated": true, "bytes": 70_002})));
    }
    let mut tx = lab.queue.begin().await.unwrap();
    let refused = tx.enqueue(&probe::Single { key: "x".repeat(70_000) }).await.unwrap_err().to_string();
    for part in ["single", "70010 bytes", "65536"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    worker.drain().await;
}
