//! SIGTERM: running jobs finish or are released at no attempt's cost, and the process ends within its deadline.

use std::time::{Duration, Instant};

use labelfleet::queue::JobState;
use nix::sys::signal::Signal;

use super::{
    lab::Lab,
    probe::{Act, Probe},
};
use crate::support::wait;

const LEASE: Duration = Duration::from_secs(15);

async fn running(lab: &Lab, count: i64) {
    wait::until("the jobs run", Duration::from_secs(20), async || {
        (lab.count(JobState::Running).await >= count).then_some(())
    })
    .await;
}

fn sleeping(count: i64, millis: u64) -> Vec<Probe> {
    (0..count).map(|key| Probe { key, act: Act::Sleep { millis } }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_running_jobs_finish() {
    let lab = Lab::new().await;
    let mut worker = lab.process(LEASE, Duration::from_secs(15)).await;
    let act = Act::LooseEffect { first_sleeps_millis: 3_000 };
    lab.enqueue_all(&(0..300).map(|key| Probe { key, act: act.clone() }).collect::<Vec<_>>()).await;
    lab.rows("starts", 200, Duration::from_secs(20)).await;
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended(Duration::from_secs(15)).await, Some(0));
    assert_eq!(lab.count(JobState::Running).await, 0);
    assert_eq!(lab.count(JobState::Completed).await, 200);
    assert_eq!(lab.count(JobState::Available).await, 100, "it took new jobs while it stopped");
    assert_eq!(lab.scalar("SELECT count(*) FROM workers").await, 0, "it kept its lease");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_finish_is_released_and_costs_no_attempt() {
    let lab = Lab::new().await;
    let drain = Duration::from_secs(3);
    let mut worker = lab.process(LEASE, drain).await;
    lab.enqueue_all(&sleeping(200, 120_000)).await;
    running(&lab, 200).await;
    let told = Instant::now();
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended(drain).await, Some(0));
    assert!(told.elapsed() <= drain);
    assert_eq!(lab.count(JobState::Available).await, 200);
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE max_attempts - attempt = 3").await, 200);
    assert_eq!(lab.scalar("SELECT count(*) FROM job_attempts WHERE outcome = 'released'").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_is_released_too() {
    let lab = Lab::new().await;
    let drain = Duration::from_secs(3);
    let mut worker = lab.process(LEASE, drain).await;
    let id = lab.enqueue(1, Act::Block { millis: 120_000 }).await;
    running(&lab, 1).await;
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended(drain).await, Some(0));
    let job = lab.job(id).await;
    assert_eq!((job.state, job.max_attempts - job.attempt), (JobState::Available, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let lab = Lab::new().await;
    let mut worker = lab.process(LEASE, Duration::from_secs(60)).await;
    lab.enqueue_all(&sleeping(1, 120_000)).await;
    running(&lab, 1).await;
    worker.signal(Signal::SIGTERM);
    // Two signals that are sent before the first is heard are one.
    worker.says("stopping").await;
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended(Duration::from_secs(5)).await, Some(1));
}
