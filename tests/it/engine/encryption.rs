//! Arguments encrypted at rest: nothing of them is in Postgres, and the engine works as it does without.

use std::{sync::Arc, time::Duration};

use labelfleet::queue::{ArgsCipher, Client, JobArgs, JobId, JobState, Worker, WorkerOptions, admin};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    lab::Lab,
    probe::{self, Act, Probe, Probes, QUEUE, Single, Tick},
};
use crate::support::wait;

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: i64 = 4_711_081_500_000;

/// Keys of so many equal bytes.
fn keys(all: &[u8]) -> Option<ArgsCipher> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let keys: Vec<String> = all.iter().map(|byte| BASE64_STANDARD.encode([*byte; 32])).collect();
    Some(keys.join(",").parse().unwrap())
}

fn with(lab: &Lab, all: &[u8]) -> Client {
    lab.queue.clone().with_cipher(keys(all))
}

async fn worker(lab: &Lab, args_cipher: Option<ArgsCipher>) -> (Worker, Arc<Probes>) {
    lab.worker_with(WorkerOptions { args_cipher, ..lab.options() }).await
}

fn secret() -> Probe {
    Probe { key: SECRET, act: Act::Nothing }
}

/// All rows of a table, as text.
async fn rows(lab: &Lab, table: &str) -> String {
    let sql = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} AS t");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(lab.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_arguments_is_in_postgres_and_they_reach_the_handler() {
    let lab = Lab::new().await;
    let queue = with(&lab, &[1]);
    let mut tx = queue.begin().await.unwrap();
    let first = tx.enqueue(&secret()).await.unwrap().id;
    let batch = tx.enqueue_batch(&[secret(), secret()]).await.unwrap();
    tx.enqueue_many(&[secret()]).await.unwrap();
    tx.enqueue_in(&secret(), Duration::from_millis(1)).await.unwrap();
    tx.enqueue_after(&[first], &secret()).await.unwrap();
    tx.enqueue_when_done(batch.id, &secret()).await.unwrap();
    tx.commit().await.unwrap();
    queue.enqueue(&secret()).await.unwrap();

    let (worker, probes) = worker(&lab, keys(&[1])).await;
    lab.completed(8, PATIENCE).await;
    assert_eq!(probes.runs_of(SECRET), 8);
    for table in ["jobs", "job_attempts", "job_logs"] {
        let rows = rows(&lab, table).await;
        assert!(!rows.contains(&SECRET.to_string()) && !rows.contains("Nothing"), "{rows}");
    }
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE args ? '$encrypted'").await, 8);
    let shown = admin::get(&queue, first).await.unwrap();
    assert_eq!(shown.args, json!({"key": SECRET, "act": "Nothing"}));
    assert_eq!(lab.job(first).await.args["encrypted"], true);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_can_be_rotated_and_plain_jobs_still_run() {
    let lab = Lab::new().await;
    let mut ids = Vec::new();
    for queue in [lab.queue.clone(), with(&lab, &[1]), with(&lab, &[2])] {
        ids.push(queue.enqueue(&secret()).await.unwrap().id);
    }
    let (worker, probes) = worker(&lab, keys(&[2, 1])).await;
    for id in ids {
        assert_eq!(lab.ended(id).await.state, JobState::Completed);
    }
    assert_eq!(probes.runs_of(SECRET), 3);
    worker.drain().await;
}

/// Waits until the job was given back, with the reason.
async fn is_put_back(lab: &Lab, id: JobId) -> String {
    wait::until("the job is put back", PATIENCE, async || {
        let job = lab.job(id).await;
        assert!(!job.state.is_final(), "{job:?}");
        job.last_error.filter(|_| job.state == JobState::Scheduled)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_the_key_leaves_a_job_to_those_that_have_it() {
    let lab = Lab::new().await;
    let id = with(&lab, &[1]).enqueue(&secret()).await.unwrap().id;
    let shown = lab.job(id).await.args;
    let key = shown["key"].as_str().unwrap();
    for wrong in [None, keys(&[2])] {
        let before = lab.job(id).await;
        let (worker, probes) = worker(&lab, wrong).await;
        wait::until("another try", PATIENCE, async || {
            (lab.job(id).await.attempt > before.attempt + 1).then_some(())
        })
        .await;
        let reason = is_put_back(&lab, id).await;
        assert!(reason.contains(key) && reason.contains("JOB_ARGS_KEYS"), "{reason}");
        let job = lab.job(id).await;
        assert_eq!(job.max_attempts - job.attempt, 3, "it cost no attempt");
        assert_eq!(probes.runs_of(SECRET), 0);
        worker.drain().await;
    }
    let (worker, probes) = worker(&lab, keys(&[2, 1])).await;
    admin::retry(&lab.queue, id).await.unwrap();
    assert_eq!(lab.ended(id).await.state, JobState::Completed);
    assert_eq!(probes.runs_of(SECRET), 1);
    worker.drain().await;
}

#[tokio::test]
async fn what_is_open_is_found_whatever_key_it_is_encrypted_with() {
    let lab = Lab::new().await;
    let rotated = with(&lab, &[2, 1]);
    for (number, before) in [lab.queue.clone(), with(&lab, &[1]), rotated.clone()].into_iter().enumerate() {
        let probe = Probe { key: number as i64, act: Act::Nothing };
        let mut tx = before.begin().await.unwrap();
        assert!(tx.enqueue_unless_open(&probe).await.unwrap());
        assert!(!tx.enqueue_unless_open(&probe).await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = rotated.begin().await.unwrap();
        assert!(!tx.enqueue_unless_open(&probe).await.unwrap());
        let single = Single { key: number.to_string() };
        let first = before.enqueue(&single).await.unwrap().id;
        assert_eq!(tx.enqueue(&single).await.unwrap().id, first);
        assert_eq!(tx.enqueue_many(&[single]).await.unwrap(), []);
        tx.commit().await.unwrap();
    }
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs").await, 6);
}

/// Of the probes' kind, with arguments that are none of theirs.
#[derive(Debug, Serialize, Deserialize)]
struct Alien {
    key: String,
    act: Act,
}

impl JobArgs for Alien {
    type Output = ();

    const KIND: &'static str = Probe::KIND;
    const QUEUE: &'static str = QUEUE;
}

/// One that looks as if it were encrypted.
#[derive(Debug, Serialize, Deserialize)]
struct Pretender {
    #[serde(rename = "$encrypted")]
    token: String,
}

impl JobArgs for Pretender {
    type Output = ();

    const KIND: &'static str = "pretender";
    const QUEUE: &'static str = QUEUE;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_malformed_is_discarded_and_not_quoted() {
    let lab = Lab::new().await;
    let queue = with(&lab, &[1]);
    let alien = Alien { key: "so secret".into(), act: Act::Nothing };
    let malformed = queue.enqueue(&alien).await.unwrap().id;
    let changed = queue.enqueue(&secret()).await.unwrap().id;
    sqlx::query(
        "UPDATE jobs SET args = jsonb_build_object('$encrypted', left(args ->> '$encrypted', -4) || 'AAA=')
         WHERE id = $1",
    )
    .bind(changed.0)
    .execute(lab.pool())
    .await
    .unwrap();
    let (worker, _) = worker(&lab, keys(&[1])).await;
    for (id, reason) in
        [(malformed, "they are encrypted, so no more is said"), (changed, "can't be decrypted")]
    {
        let job = lab.ended(id).await;
        assert_eq!(job.state, JobState::Discarded);
        let error = job.last_error.unwrap();
        assert!(error.contains(reason) && !error.contains("so secret"), "{error}");
    }
    worker.drain().await;

    let pretender = Pretender { token: "a:b".into() };
    for queue in [&lab.queue, &queue] {
        let refused = queue.enqueue(&pretender).await.unwrap_err().to_string();
        assert!(refused.contains("pretender"), "{refused}");
    }
    // The limit is that of the arguments as they are.
    queue.enqueue(&Single { key: "x".repeat(2_000) }).await.unwrap();
    queue.enqueue(&Alien { key: "x".repeat(65_000), act: Act::Nothing }).await.unwrap();
    let refused = queue.enqueue(&Alien { key: "x".repeat(66_000), act: Act::Nothing }).await.unwrap_err();
    assert!(refused.to_string().contains("at most 65536"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedules_jobs_are_encrypted_too() {
    let lab = Lab::new().await;
    let registry = probe::registry().schedule("ticks", "* * * * * *", Tick).unwrap();
    let options = WorkerOptions { args_cipher: keys(&[1]), ..lab.options() };
    let worker = Worker::start(options, registry, Arc::new(Probes::new(lab.pool().clone()))).await.unwrap();
    lab.completed(1, PATIENCE).await;
    worker.drain().await;
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE NOT args ? '$encrypted'").await, 0);
}
