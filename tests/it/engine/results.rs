//! What a job returns, read by whoever enqueued it.

use std::time::Duration;

use labelfleet::queue::{JobId, JobState, ResultError, WorkerOptions};
use sqlx::AssertSqlSafe;

use super::{
    lab::Lab,
    probe::{Act, Overlong, Probe, Single, Told},
};

async fn completed(lab: &Lab, act: Act) -> JobId {
    let id = lab.enqueue(1, act).await;
    assert_eq!(lab.ended(id).await.state, JobState::Completed);
    id
}

async fn error(lab: &Lab, id: JobId) -> ResultError {
    lab.queue.result::<Probe>(id).await.unwrap_err()
}

async fn set_result(lab: &Lab, json: &str) {
    sqlx::query(AssertSqlSafe(format!("UPDATE jobs SET result = '{json}'")))
        .execute(lab.pool())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_comes_back_as_what_was_returned() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    for (act, returned) in [
        (Act::Answer, Some(Told::Found { found: 3, name: "ab".into() })),
        (Act::LooseEffect { first_sleeps_millis: 0 }, Some(Told::Attempt(1))),
        (Act::FinishTelling, Some(Told::Attempt(1))),
        (Act::Nothing, None),
    ] {
        let id = completed(&lab, act).await;
        assert_eq!(lab.queue.result::<Probe>(id).await.unwrap(), returned);
    }
    assert_eq!(
        lab.scalar("SELECT count(*) FROM jobs WHERE result IS NULL").await,
        1,
        "nothing is not stored"
    );
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_there_is_no_result_is_said() {
    let lab = Lab::new().await;
    let waiting = lab.enqueue(1, Act::Answer).await;
    let early = error(&lab, waiting).await;
    assert!(matches!(early, ResultError::NotCompleted { state: JobState::Available, .. }), "{early}");

    let (worker, _) = lab.worker_with(WorkerOptions { drain: Duration::from_secs(5), ..lab.options() }).await;
    assert_eq!(lab.ended(waiting).await.state, JobState::Completed);
    let dead = lab.enqueue(2, Act::Discard).await;
    lab.ended(dead).await;
    let failed = error(&lab, dead).await.to_string();
    assert_eq!(failed, format!("job {dead} is discarded: it has a result once it is completed"));
    sqlx::query("DELETE FROM jobs WHERE id = $1").bind(dead.0).execute(lab.pool()).await.unwrap();
    assert!(matches!(error(&lab, dead).await, ResultError::NoJob(id) if id == dead));

    let other = lab.queue.result::<Overlong>(waiting).await.unwrap_err().to_string();
    assert_eq!(
        other,
        format!("job {waiting} is of the kind probe: its result was asked for as one of overlong")
    );

    set_result(&lab, r#"{"truncated": true, "bytes": 70002}"#).await;
    let large = error(&lab, waiting).await.to_string();
    assert_eq!(large, format!("the result of job {waiting} was 70002 bytes of JSON: at most 65536 are kept"));
    set_result(&lab, r#"{"of": "an older version"}"#).await;
    let old = error(&lab, waiting).await;
    assert!(matches!(old, ResultError::Undecodable { kind: "probe", .. }), "{old}");
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_asked_for_what_its_jobs_of_a_kind_returned() {
    let lab = Lab::new().await;
    let mut tx = lab.queue.begin().await.unwrap();
    let acts = [Act::LooseEffect { first_sleeps_millis: 0 }, Act::Discard, Act::Nothing];
    let batch = tx.enqueue_batch(&acts.map(|act| Probe { key: 1, act })).await.unwrap();
    let other = tx.add_to_batch(batch.id, &[Single { key: "again".into() }]).await.unwrap();
    tx.commit().await.unwrap();
    let (worker, _) = lab.worker().await;
    for job in batch.jobs.iter().chain(&other) {
        lab.ended(job.id).await;
    }
    let results = lab.queue.batch_results::<Probe>(batch.id).await.unwrap();
    let returned: Vec<_> = results.iter().map(|(_, told)| told.clone()).collect();
    assert_eq!(returned, [Some(Told::Attempt(1)), None], "the dead one has none");
    assert!(results.iter().all(|(id, _)| batch.jobs.iter().any(|job| job.id == *id)));
    let results = lab.queue.batch_results::<Single>(batch.id).await.unwrap();
    assert_eq!(results, [(other[0].id, ())]);
    worker.drain().await;
}
