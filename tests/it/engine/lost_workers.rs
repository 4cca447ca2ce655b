//! Workers that are killed or frozen: their jobs run elsewhere, and their effects stand once.

use std::time::{Duration, Instant};

use labelfleet::queue::JobState;
use nix::sys::signal::Signal;

use super::{
    lab::Lab,
    probe::{Act, Probe},
};

const LEASE: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(10);
const LONG: u64 = 120_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_killed_worker_run_again_within_the_lease() {
    // The default, as it is promised.
    let lease = Duration::from_secs(15);
    let lab = Lab::new().await;
    let doomed = lab.process(lease, DRAIN).await;
    let act = Act::Effect { first_sleeps_millis: LONG };
    let probes: Vec<_> = (0..20).map(|key| Probe { key, act: act.clone() }).collect();
    lab.enqueue_all(&probes).await;
    lab.rows("starts", 20, Duration::from_secs(20)).await;
    let survivor = lab.process(lease, DRAIN).await;
    let killed = Instant::now();
    doomed.signal(Signal::SIGKILL);
    lab.rows("starts WHERE attempt = 2", 20, lease * 2).await;
    let rescued = killed.elapsed();
    lab.rows("effects", 20, Duration::from_secs(20)).await;
    lab.completed(20, Duration::from_secs(20)).await;
    survivor.signal(Signal::SIGTERM);
    assert!(rescued <= lease, "rescued after {rescued:?}");
    assert_eq!(lab.scalar("SELECT count(DISTINCT key) FROM effects").await, 20);
    assert_eq!(lab.scalar("SELECT count(*) FROM effects").await, 20, "an effect stands twice");
    assert_eq!(lab.scalar("SELECT count(*) FROM job_attempts WHERE outcome = 'lost'").await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lost_its_lease_cannot_finish() {
    let lab = Lab::new().await;
    let frozen = lab.process(LEASE, DRAIN).await;
    // One would write its effect with its end, one its end alone: both wake up too late.
    let bound = lab.enqueue(1, Act::Effect { first_sleeps_millis: 1_500 }).await;
    let loose = lab.enqueue(2, Act::LooseEffect { first_sleeps_millis: 1_500 }).await;
    lab.rows("starts", 2, Duration::from_secs(20)).await;
    frozen.signal(Signal::SIGSTOP);
    let other = lab.process(LEASE, DRAIN).await;
    let first = lab.ended(bound).await;
    let second = lab.ended(loose).await;
    frozen.signal(Signal::SIGCONT);
    // It runs on, registers again and takes jobs, once the other is gone.
    other.signal(Signal::SIGTERM);
    let mut other = other;
    other.ended(DRAIN).await;
    let after = lab.enqueue(3, Act::Effect { first_sleeps_millis: 0 }).await;
    lab.ended(after).await;
    for (id, before) in [(bound, first), (loose, second)] {
        assert_eq!((before.state, before.attempt), (JobState::Completed, 2));
        assert_eq!(lab.job(id).await, before, "the run that had lost its lease changed the job");
    }
    assert_eq!(lab.job(loose).await.result, Some(2.into()), "the second run's result counts");
    assert_eq!(lab.scalar("SELECT count(*) FROM effects WHERE key = 1").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_its_worker_each_time_ends_discarded() {
    let lab = Lab::new().await;
    let lease = Duration::from_secs(2);
    let mut worker = lab.process(lease, DRAIN).await;
    let id = lab.enqueue(1, Act::KillWorker).await;
    assert_eq!(worker.ended(Duration::from_secs(20)).await, None, "it was not killed");
    for _ in 0..2 {
        let mut worker = lab.process(lease, DRAIN).await;
        assert_eq!(worker.ended(Duration::from_secs(20)).await, None, "it was not killed");
    }
    let last = lab.process(lease, DRAIN).await;
    let job = lab.ended(id).await;
    last.signal(Signal::SIGTERM);
    assert_eq!((job.state, job.attempt), (JobState::Discarded, 3));
    assert_eq!(lab.outcomes(id).await, ["lost"; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_all_threads_does_not_cost_the_lease() {
    let lab = Lab::new().await;
    let lease = Duration::from_secs(2);
    let blocked = lab.process(lease, DRAIN).await;
    let probes: Vec<_> = (0..2).map(|key| Probe { key, act: Act::Block { millis: 6_000 } }).collect();
    lab.enqueue_all(&probes).await;
    // It would take them over.
    let (other, _) = lab.worker_with(labelfleet::queue::WorkerOptions { lease, ..lab.options() }).await;
    lab.completed(2, Duration::from_secs(20)).await;
    other.drain().await;
    blocked.signal(Signal::SIGTERM);
    assert_eq!(lab.scalar("SELECT count(*) FROM job_attempts").await, 0, "a live worker was taken for dead");
}
