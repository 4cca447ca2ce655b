//! What becomes of a job when its run does not succeed.

use std::time::Duration;

use labelfleet::queue::{JobState, admin};
use serde_json::json;

use super::{
    lab::Lab,
    probe::{Act, Overlong},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_job_is_tried_again_and_ends_in_the_dead_set() {
    let lab = Lab::new().await;
    let (worker, probes) = lab.worker().await;
    let failing = lab.enqueue(1, Act::Retry).await;
    let panicking = lab.enqueue(2, Act::Panic).await;
    for (id, key, outcome) in [(failing, 1, "retry"), (panicking, 2, "panic")] {
        let job = lab.ended(id).await;
        assert_eq!(job.state, JobState::Discarded);
        assert_eq!(lab.outcomes(id).await, [outcome; 3]);
        assert_eq!(probes.runs_of(key), 3);
    }
    let error = lab.job(failing).await.last_error;
    assert_eq!(error.as_deref(), Some("what failed: the cause"), "the chain of causes is kept");
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hopeless_job_is_discarded_at_once() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    let id = lab.enqueue(1, Act::Discard).await;
    assert_eq!(lab.ended(id).await.state, JobState::Discarded);
    assert_eq!(lab.outcomes(id).await, ["discard"]);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overlong_job_is_timed_out() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    let mut tx = lab.queue.begin().await.unwrap();
    let id = tx.enqueue(&Overlong).await.unwrap().id;
    tx.commit().await.unwrap();
    assert_eq!(lab.ended(id).await.state, JobState::Discarded);
    assert_eq!(lab.outcomes(id).await, ["timeout"]);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snoozing_costs_no_attempt() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    let id = lab.enqueue(1, Act::SnoozeOnce { millis: 300 }).await;
    let job = lab.ended(id).await;
    assert_eq!((job.state, job.attempt, job.max_attempts), (JobState::Completed, 2, 4));
    assert_eq!(lab.outcomes(id).await, ["snooze"]);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_arguments_are_discarded_with_the_reason() {
    let lab = Lab::new().await;
    let id = lab.enqueue(1, Act::Nothing).await;
    sqlx::query("UPDATE jobs SET args = '{\"key\": \"no number\"}'").execute(lab.pool()).await.unwrap();
    let (worker, _) = lab.worker().await;
    let job = lab.ended(id).await;
    assert_eq!(job.state, JobState::Discarded);
    assert!(job.last_error.unwrap().contains("the arguments are malformed: invalid type"));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_the_worker_does_not_know_is_left_to_others() {
    let lab = Lab::new().await;
    let unknown = lab.enqueue(1, Act::Nothing).await;
    sqlx::query("UPDATE jobs SET kind = 'of tomorrow'").execute(lab.pool()).await.unwrap();
    let (worker, _) = lab.worker().await;
    let known = lab.enqueue(2, Act::Nothing).await;
    lab.ended(known).await;
    let job = lab.job(unknown).await;
    assert_eq!((job.state, job.attempt), (JobState::Available, 0));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_kept_as_far_as_postgres_can_hold_it() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    let id = lab.enqueue(1, Act::Answer).await;
    let job = admin::wait_for(&lab.queue, id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(job.result, Some(json!({"found": 3, "name": "ab"})));
    worker.drain().await;
}
