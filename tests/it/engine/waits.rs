//! Chains and batches: who waits runs when what it waits for has come, and not before.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use labelfleet::queue::{
    JobArgs, JobContext, JobId, JobResult, JobState, Run, WaitError, Worker, WorkerOptions, admin,
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{
    lab::{Lab, nothing},
    probe::{self, Act, Probe, Probes, QUEUE, Single},
};
use crate::support::wait;

const PATIENCE: Duration = Duration::from_secs(30);

fn probe(key: i64, act: Act) -> Probe {
    Probe { key, act }
}

/// A probe of which one with its key is open at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Keyed(Probe);

impl JobArgs for Keyed {
    type Output = ();

    const KIND: &'static str = "keyed";
    const QUEUE: &'static str = QUEUE;

    fn unique_key(&self) -> Option<String> {
        Some(self.0.key.to_string())
    }
}

impl Run<Probes> for Keyed {
    async fn run(self, context: JobContext, state: Arc<Probes>) -> JobResult {
        self.0.run(context, state).await.map(drop)
    }
}

fn keyed(key: i64, act: Act) -> Keyed {
    Keyed(probe(key, act))
}

async fn worker(lab: &Lab) -> (Worker, Arc<Probes>) {
    let probes = Arc::new(Probes::new(lab.pool().clone()));
    let registry = probe::registry().register::<Keyed>();
    (Worker::start(lab.options(), registry, probes.clone()).await.unwrap(), probes)
}

/// The leader has looked once more at all that wait: it alone finds the end of a batch without jobs.
async fn leader_looks(lab: &Lab) {
    let mut tx = lab.queue.begin().await.unwrap();
    let empty = tx.enqueue_batch::<Probe>(&[]).await.unwrap();
    let end = tx.enqueue_when_done(empty.id, &probe(-1, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    assert_eq!(lab.ended(end).await.state, JobState::Completed);
}

async fn state(lab: &Lab, id: JobId) -> JobState {
    lab.job(id).await.state
}

/// Started no earlier than each of the others ended.
async fn comes_after(lab: &Lab, id: JobId, others: &[JobId]) {
    let started = lab.ended(id).await.attempted_at.unwrap();
    for other in others {
        let ended: DateTime<Utc> = lab.job(*other).await.finalized_at.unwrap();
        assert!(ended <= started, "job {id} started before job {other} ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_runs_link_by_link() {
    let lab = Lab::new().await;
    let workers = [lab.worker().await.0, lab.worker().await.0];
    let mut tx = lab.queue.begin().await.unwrap();
    let first = tx.enqueue(&probe(1, Act::Sleep { millis: 50 })).await.unwrap().id;
    let second =
        tx.enqueue_after(&[first], &probe(2, Act::Effect { first_sleeps_millis: 0 })).await.unwrap().id;
    let third = tx.enqueue_after(&[second], &probe(3, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    comes_after(&lab, third, &[second]).await;
    comes_after(&lab, second, &[first]).await;
    for worker in workers {
        worker.drain().await;
    }
    assert_eq!(lab.count(JobState::Completed).await, 3);
    assert_eq!(lab.scalar("SELECT count(*) FROM job_waits").await, 0);
}

/// The worker that runs it took it when nobody waited yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_already_can_be_waited_for() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    let first = lab.enqueue(1, Act::LooseEffect { first_sleeps_millis: 1_000 }).await;
    lab.rows("starts", 1, PATIENCE).await;
    let mut tx = lab.queue.begin().await.unwrap();
    let second = tx.enqueue_after(&[first], &probe(2, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    assert_eq!(state(&lab, first).await, JobState::Running);
    comes_after(&lab, second, &[first]).await;
    worker.drain().await;
}

/// The two may end at once on different workers, each of which sees that the other has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_for_two_runs_once_both_are_done() {
    let lab = Lab::new().await;
    let workers = [lab.worker().await.0, lab.worker().await.0];
    let mut joins = Vec::new();
    for key in 0..40 {
        let mut tx = lab.queue.begin().await.unwrap();
        let pair = [
            tx.enqueue(&probe(key, Act::Nothing)).await.unwrap().id,
            tx.enqueue(&probe(key, Act::Nothing)).await.unwrap().id,
        ];
        let join = tx.enqueue_after(&pair, &probe(key, Act::Nothing)).await.unwrap().id;
        tx.commit().await.unwrap();
        joins.push((join, pair));
    }
    for (join, pair) in joins {
        comes_after(&lab, join, &pair).await;
    }
    for worker in workers {
        worker.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_a_job_at_its_end_and_one_for_failure() {
    let lab = Lab::new().await;
    let mut tx = lab.queue.begin().await.unwrap();
    let batch = tx.enqueue_batch(&nothing(0..20)).await.unwrap();
    let slow = tx.add_to_batch(batch.id, &[probe(20, Act::Sleep { millis: 200 })]).await.unwrap();
    let done = tx.enqueue_when_done(batch.id, &probe(100, Act::Nothing)).await.unwrap().id;
    let failed = tx.enqueue_on_failure(batch.id, &probe(101, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    let (worker, probes) = lab.worker().await;
    let all: Vec<JobId> = batch.jobs.iter().chain(&slow).map(|job| job.id).collect();
    assert_eq!(all.len(), 21);
    comes_after(&lab, done, &all).await;
    let given_up = lab.ended(failed).await;
    assert_eq!(given_up.state, JobState::Cancelled, "nothing failed");
    let why = format!("it waited for a failure in batch {}, whose jobs have all completed", batch.id.0);
    assert_eq!(given_up.last_error, Some(why));
    assert_eq!((probes.runs_of(100), probes.runs_of(101)), (1, 0));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_a_batch_is_told_and_its_end_waits_for_the_retry() {
    let lab = Lab::new().await;
    let mut tx = lab.queue.begin().await.unwrap();
    let mut jobs = nothing(0..5);
    jobs.push(probe(5, Act::Discard));
    let batch = tx.enqueue_batch(&jobs).await.unwrap();
    let done = tx.enqueue_when_done(batch.id, &probe(100, Act::Nothing)).await.unwrap().id;
    let failed = tx.enqueue_on_failure(batch.id, &probe(101, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    let (worker, probes) = lab.worker().await;
    assert_eq!(lab.ended(failed).await.state, JobState::Completed);
    lab.completed(6, PATIENCE).await;
    assert_eq!(state(&lab, done).await, JobState::Scheduled);
    // What was wrong is put right, and the job tried again.
    sqlx::query("UPDATE jobs SET args = '{\"key\": 5, \"act\": \"Nothing\"}' WHERE state = 'discarded'")
        .execute(lab.pool())
        .await
        .unwrap();
    let dead: i64 = sqlx::query_scalar("SELECT id FROM jobs WHERE state = 'discarded'")
        .fetch_one(lab.pool())
        .await
        .unwrap();
    admin::retry(&lab.queue, JobId(dead)).await.unwrap();
    comes_after(&lab, done, &[JobId(dead)]).await;
    assert_eq!((probes.runs_of(100), probes.runs_of(101)), (1, 1));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_or_gone_is_not_waited_for() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    let over = lab.enqueue(1, Act::Nothing).await;
    lab.ended(over).await;
    let gone = lab.enqueue(2, Act::Discard).await;
    lab.ended(gone).await;

    let mut tx = lab.queue.begin().await.unwrap();
    let at_once = tx.enqueue_after(&[over], &probe(3, Act::Nothing)).await.unwrap().id;
    let waiting = tx.enqueue_after(&[over, gone], &probe(4, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    assert_eq!(lab.ended(at_once).await.state, JobState::Completed);
    assert_eq!(state(&lab, waiting).await, JobState::Scheduled, "the other may be retried");

    sqlx::query("DELETE FROM jobs WHERE id = $1").bind(gone.0).execute(lab.pool()).await.unwrap();
    wait::until("nothing is waited for in vain", PATIENCE, async || {
        (state(&lab, waiting).await == JobState::Cancelled).then_some(())
    })
    .await;
    let why = format!("it waited for job {gone}, which was removed");
    assert_eq!(lab.job(waiting).await.last_error, Some(why));
    assert_eq!(lab.outcomes(waiting).await, ["cancelled"]);
    let mut tx = lab.queue.begin().await.unwrap();
    let refused = tx.enqueue_after(&[over, gone], &probe(5, Act::Nothing)).await.unwrap_err();
    assert!(matches!(refused, WaitError::NoJob(id) if id == gone), "{refused}");
    drop(tx);
    worker.drain().await;
}

/// Somebody else asked for some of the work before: the batch's end waits for theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_waits_for_open_jobs_that_hold_its_keys() {
    let lab = Lab::new().await;
    let (worker, probes) = worker(&lab).await;
    let mut tx = lab.queue.begin().await.unwrap();
    let runs = tx.enqueue(&keyed(1, Act::LooseEffect { first_sleeps_millis: 1_500 })).await.unwrap().id;
    let later = tx.enqueue_in(&keyed(2, Act::Nothing), Duration::from_secs(3_600)).await.unwrap().id;
    tx.commit().await.unwrap();
    lab.rows("starts", 1, PATIENCE).await;

    let mut tx = lab.queue.begin().await.unwrap();
    let batch = tx.enqueue_batch(&[1, 2, 3].map(|key| keyed(key, Act::Nothing))).await.unwrap();
    let own = batch.jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    let mut others = batch.others.clone();
    others.sort_unstable();
    assert_eq!((own.len(), others), (1, vec![runs, later]));
    assert_eq!(tx.add_to_batch(batch.id, &[keyed(2, Act::Nothing)]).await.unwrap(), []);
    let done = tx.enqueue_when_done(batch.id, &probe(100, Act::Nothing)).await.unwrap().id;
    let failed = tx.enqueue_on_failure(batch.id, &probe(101, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    assert_eq!(state(&lab, runs).await, JobState::Running, "it was to run while the batch was enqueued");

    lab.ended(own[0]).await;
    lab.ended(runs).await;
    leader_looks(&lab).await;
    assert_eq!(state(&lab, done).await, JobState::Scheduled, "one of the others is open");
    admin::retry(&lab.queue, later).await.unwrap();
    comes_after(&lab, done, &[own[0], runs, later]).await;
    assert_eq!(lab.ended(failed).await.state, JobState::Cancelled, "nothing failed");
    assert_eq!((probes.runs_of(100), probes.runs_of(101)), (1, 0));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_anothers_job_in_a_batch_is_told_and_its_end_waits_for_the_retry() {
    let lab = Lab::new().await;
    let mut tx = lab.queue.begin().await.unwrap();
    let doomed = tx.enqueue(&keyed(1, Act::Discard)).await.unwrap().id;
    // The batch adds it, and nothing of its own.
    let batch = tx.enqueue_batch::<Keyed>(&[]).await.unwrap();
    assert_eq!(tx.add_to_batch(batch.id, &[keyed(1, Act::Nothing)]).await.unwrap(), []);
    let done = tx.enqueue_when_done(batch.id, &probe(100, Act::Nothing)).await.unwrap().id;
    let failed = tx.enqueue_on_failure(batch.id, &probe(101, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    let (worker, _) = worker(&lab).await;
    assert_eq!(lab.ended(failed).await.state, JobState::Completed);
    leader_looks(&lab).await;
    assert_eq!(state(&lab, done).await, JobState::Scheduled);
    sqlx::query("UPDATE jobs SET args = '{\"key\": 1, \"act\": \"Nothing\"}' WHERE state = 'discarded'")
        .execute(lab.pool())
        .await
        .unwrap();
    admin::retry(&lab.queue, doomed).await.unwrap();
    comes_after(&lab, done, &[doomed]).await;
    worker.drain().await;
}

/// All that is known of who waits is in Postgres: a worker that dies loses none of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_outlives_its_workers() {
    let lab = Lab::new().await;
    let lease = Duration::from_secs(2);
    let mut tx = lab.queue.begin().await.unwrap();
    let first = tx.enqueue(&probe(1, Act::LooseEffect { first_sleeps_millis: 60_000 })).await.unwrap().id;
    let second = tx.enqueue_after(&[first], &probe(2, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    let process = lab.process(lease, Duration::from_secs(5)).await;
    lab.rows("starts", 1, PATIENCE).await;
    process.signal(Signal::SIGKILL);
    let (worker, _) = lab.worker_with(WorkerOptions { lease, ..lab.options() }).await;
    comes_after(&lab, second, &[first]).await;
    assert_eq!(lab.job(first).await.attempt, 2);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_job_runs_at_once_when_an_operator_wishes() {
    let lab = Lab::new().await;
    let (worker, probes) = lab.worker().await;
    let mut tx = lab.queue.begin().await.unwrap();
    let first = tx.enqueue(&probe(1, Act::LooseEffect { first_sleeps_millis: 60_000 })).await.unwrap().id;
    let second = tx.enqueue_after(&[first], &probe(2, Act::Nothing)).await.unwrap().id;
    let third = tx.enqueue_after(&[first], &probe(3, Act::Nothing)).await.unwrap().id;
    tx.commit().await.unwrap();
    lab.rows("starts", 1, PATIENCE).await;
    admin::retry(&lab.queue, second).await.unwrap();
    assert_eq!(lab.ended(second).await.state, JobState::Completed);
    assert_eq!(
        (state(&lab, first).await, state(&lab, third).await),
        (JobState::Running, JobState::Scheduled)
    );
    assert_eq!(lab.scalar("SELECT count(*) FROM job_waits").await, 1, "the other waits on");
    // One that is given another chance after it was cancelled waits no more, either.
    admin::cancel(&lab.queue, third, "an operator").await.unwrap();
    admin::retry(&lab.queue, third).await.unwrap();
    assert_eq!(lab.ended(third).await.state, JobState::Completed);
    assert_eq!(lab.scalar("SELECT count(*) FROM job_waits").await, 0);
    assert_eq!((probes.runs_of(2), probes.runs_of(3)), (1, 1));
    admin::cancel(&lab.queue, first, "an operator").await.unwrap();
    lab.ended(first).await;
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_which_nothing_is_left_are_removed() {
    let lab = Lab::new().await;
    let mut tx = lab.queue.begin().await.unwrap();
    let [over, dead, awaited, young] = [
        tx.enqueue_batch(&nothing(0..1)).await.unwrap(),
        tx.enqueue_batch(&nothing(1..2)).await.unwrap(),
        tx.enqueue_batch(&nothing(2..3)).await.unwrap(),
        tx.enqueue_batch(&nothing(3..4)).await.unwrap(),
    ]
    .map(|batch| batch.id);
    tx.enqueue_when_done(awaited, &probe(9, Act::Nothing)).await.unwrap();
    tx.commit().await.unwrap();
    for sql in [
        "UPDATE jobs SET state = 'discarded', dispatched_at = NULL, finalized_at = now(), attempt = 3 WHERE args ->> 'key' IN ('1', '2')",
        "DELETE FROM jobs WHERE args ->> 'key' IN ('0', '3')",
        "UPDATE job_batches SET created_at = now() - interval '25 h' WHERE id <> (SELECT max(id) FROM job_batches)",
        // Many more, which it takes more than one statement to look at.
        "INSERT INTO job_batches (created_at) SELECT now() - interval '2 days' FROM generate_series(1, 4500)",
    ] {
        sqlx::query(sql).execute(lab.pool()).await.unwrap();
    }
    let (worker, _) = lab.worker().await;
    wait::until("they are removed", PATIENCE, async || {
        (lab.scalar("SELECT count(*) FROM job_batches").await <= 3).then_some(())
    })
    .await;
    let left: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM job_batches ORDER BY id").fetch_all(lab.pool()).await.unwrap();
    assert_eq!(left, [dead.0, awaited.0, young.0]);
    assert!(!left.contains(&over.0));
    worker.drain().await;
}

/// What was waited for may have been lost: the chain is mended by who says anew what is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_still_waits_waits_for_what_was_said_last() {
    let lab = Lab::new().await;
    let single = Single { key: "again".into() };
    let after = async |others: &[JobId]| {
        let mut tx = lab.queue.begin().await.unwrap();
        let enqueued = tx.enqueue_after(others, &single).await.unwrap();
        tx.commit().await.unwrap();
        enqueued
    };
    let (worker, _) = lab.worker().await;
    let dead = lab.enqueue(1, Act::Discard).await;
    lab.ended(dead).await;
    let waiting = after(&[dead]).await;
    assert!(waiting.is_new);
    let slow = lab.enqueue(2, Act::LooseEffect { first_sleeps_millis: 3_000 }).await;
    lab.rows("starts", 1, PATIENCE).await;
    let again = after(&[slow]).await;
    assert_eq!((again.id, again.is_new), (waiting.id, false));
    comes_after(&lab, waiting.id, &[slow]).await;

    let waiting = after(&[dead]).await;
    assert_eq!(state(&lab, waiting.id).await, JobState::Scheduled);
    let over = after(&[slow]).await;
    assert_eq!((over.id, over.is_new), (waiting.id, false));
    assert_eq!(lab.ended(waiting.id).await.state, JobState::Completed, "nothing is left to wait for");
    worker.drain().await;
    assert_eq!(lab.scalar("SELECT count(*) FROM job_waits").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_in_vain_is_brought_on_and_nobody_else() {
    let lab = Lab::new().await;
    let bring_on = async |key: &str| {
        let mut tx = lab.queue.begin().await.unwrap();
        let brought = tx.bring_on(&Single { key: key.into() }).await.unwrap();
        tx.commit().await.unwrap();
        brought
    };
    let mut tx = lab.queue.begin().await.unwrap();
    let batch = tx.enqueue_batch(&[probe(1, Act::Discard), probe(2, Act::Nothing)]).await.unwrap();
    let held = tx.add_to_batch(batch.id, &[probe(3, Act::Nothing)]).await.unwrap()[0].id;
    let end = tx.enqueue_when_done(batch.id, &Single { key: "batch again".into() }).await.unwrap().id;
    let chain = tx.enqueue_after(&[held], &Single { key: "chain again".into() }).await.unwrap().id;
    // One of the batch goes on for as long as this says.
    sqlx::query("UPDATE jobs SET queue = 'nobody takes from it' WHERE id = $1")
        .bind(held.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let (worker, _) = lab.worker().await;
    wait::until("one failed", PATIENCE, async || {
        (lab.count(JobState::Discarded).await == 1 && lab.count(JobState::Completed).await == 1).then_some(())
    })
    .await;
    assert!(!bring_on("batch again").await, "one goes on");
    assert!(!bring_on("chain again").await, "what it waits for is on its way");
    admin::cancel(&lab.queue, held, "an operator").await.unwrap();
    assert_eq!(state(&lab, end).await, JobState::Scheduled);
    assert!(bring_on("batch again").await);
    assert!(bring_on("chain again").await);
    for id in [end, chain] {
        assert_eq!(lab.ended(id).await.state, JobState::Completed);
    }
    assert!(bring_on("another again").await, "there was none");
    worker.drain().await;
}
