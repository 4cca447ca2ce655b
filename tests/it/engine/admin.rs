//! What operators do with jobs.

use labelfleet::queue::{AdminError, JobFilter, JobId, JobState, admin};

use super::{
    lab::{Lab, nothing},
    probe::{Act, Single},
};

fn refusal<T: std::fmt::Debug>(result: Result<T, AdminError>) -> String {
    match result {
        Err(AdminError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discarded_job_is_run_again_on_request() {
    let lab = Lab::new().await;
    let (worker, probes) = lab.worker().await;
    let id = lab.enqueue(1, Act::Discard).await;
    lab.ended(id).await;
    assert_eq!(admin::retry(&lab.queue, id).await.unwrap().state, JobState::Available);
    let job = lab.ended(id).await;
    assert_eq!((job.state, job.attempt, probes.runs_of(1)), (JobState::Discarded, 2, 2));
    let done = lab.enqueue(2, Act::Nothing).await;
    lab.ended(done).await;
    assert!(refusal(admin::retry(&lab.queue, done).await).contains("is completed"));
    worker.drain().await;
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_and_a_running_one_is_asked_to_stop() {
    let lab = Lab::new().await;
    let ids = lab.enqueue_all(&nothing(0..2)).await;
    assert_eq!(admin::cancel(&lab.queue, ids[0], "an operator").await.unwrap().state, JobState::Cancelled);
    assert_eq!(
        admin::cancel(&lab.queue, ids[0], "an operator").await.unwrap().state,
        JobState::Cancelled,
        "twice is success"
    );
    sqlx::query(
        "UPDATE jobs SET state = 'running', attempt = 1, attempted_at = now(), worker_id = gen_random_uuid()
         WHERE id = $1",
    )
    .bind(ids[1].0)
    .execute(lab.pool())
    .await
    .unwrap();
    let asked = admin::cancel(&lab.queue, ids[1], "an operator").await.unwrap();
    assert_eq!(asked.state, JobState::Running);
    assert!(asked.cancel_requested_at.is_some());
    let again = admin::cancel(&lab.queue, ids[1], "an operator").await.unwrap();
    assert_eq!(again.cancel_requested_at, asked.cancel_requested_at, "twice is success");
    assert!(matches!(
        admin::cancel(&lab.queue, JobId(-1), "an operator").await,
        Err(AdminError::NotFound(_))
    ));
}

#[tokio::test]
async fn a_job_whose_key_another_holds_is_not_retried() {
    let lab = Lab::new().await;
    let single = Single { key: "k".into() };
    let mut tx = lab.queue.begin().await.unwrap();
    let first = tx.enqueue(&single).await.unwrap().id;
    tx.commit().await.unwrap();
    admin::cancel(&lab.queue, first, "an operator").await.unwrap();
    let mut tx = lab.queue.begin().await.unwrap();
    assert!(tx.enqueue(&single).await.unwrap().is_new);
    tx.commit().await.unwrap();
    assert!(refusal(admin::retry(&lab.queue, first).await).contains("unique key"));
}

#[tokio::test]
async fn jobs_are_listed_newest_first_page_by_page() {
    let lab = Lab::new().await;
    let mut ids = lab.enqueue_all(&nothing(0..5)).await;
    ids.sort_unstable();
    admin::cancel(&lab.queue, ids[0], "an operator").await.unwrap();
    let waiting = JobFilter { states: vec![JobState::Available], ..JobFilter::default() };
    let first = admin::list(&lab.queue, &waiting, None, 3).await.unwrap();
    assert_eq!(first.next_before, Some(ids[2]));
    let first = first.data;
    assert_eq!(first.iter().map(|job| job.id).collect::<Vec<_>>(), [ids[4], ids[3], ids[2]]);
    let second = admin::list(&lab.queue, &waiting, Some(ids[2]), 3).await.unwrap();
    assert_eq!(second.next_before, None);
    let second = second.data;
    assert_eq!(second.iter().map(|job| job.id).collect::<Vec<_>>(), [ids[1]]);
    assert_eq!((lab.count(JobState::Available).await, lab.count(JobState::Cancelled).await), (4, 1));
}
