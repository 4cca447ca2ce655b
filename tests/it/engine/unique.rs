//! Unique keys that are held for a time, also after their job ended.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use labelfleet::queue::{
    Enqueued, JobArgs, JobContext, JobFilter, JobId, JobResult, JobState, Run, Worker, admin,
};
use serde::{Deserialize, Serialize};

use super::{
    lab::Lab,
    probe::{self, Probes, QUEUE},
};
use crate::support::wait;

const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3_600);

/// Once an hour a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Hourly {
    key: Option<String>,
}

fn hourly(key: &str) -> Hourly {
    Hourly { key: Some(key.into()) }
}

impl JobArgs for Hourly {
    type Output = ();

    const KIND: &'static str = "hourly";
    const QUEUE: &'static str = QUEUE;
    const UNIQUE_FOR: Option<Duration> = Some(HOUR);

    fn unique_key(&self) -> Option<String> {
        self.key.clone()
    }
}

impl Run<Probes> for Hourly {
    async fn run(self, _: JobContext, _: Arc<Probes>) -> JobResult {
        Ok(())
    }
}

/// Once a second.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Secondly;

impl JobArgs for Secondly {
    type Output = ();

    const KIND: &'static str = "secondly";
    const QUEUE: &'static str = QUEUE;
    const UNIQUE_FOR: Option<Duration> = Some(Duration::from_secs(1));

    fn unique_key(&self) -> Option<String> {
        Some("the only one".into())
    }
}

impl Run<Probes> for Secondly {
    async fn run(self, _: JobContext, _: Arc<Probes>) -> JobResult {
        Ok(())
    }
}

async fn worker(lab: &Lab) -> Worker {
    let registry = probe::registry().register::<Hourly>().register::<Secondly>();
    Worker::start(lab.options(), registry, Arc::new(Probes::new(lab.pool().clone()))).await.unwrap()
}

async fn enqueue<J: JobArgs>(lab: &Lab, args: &J) -> Enqueued {
    let mut tx = lab.queue.begin().await.unwrap();
    let enqueued = tx.enqueue(args).await.unwrap();
    tx.commit().await.unwrap();
    enqueued
}

/// The hour of all keys is over.
async fn an_hour_passes(lab: &Lab) {
    sqlx::query("UPDATE job_holds SET until = until - interval '1 hour'").execute(lab.pool()).await.unwrap();
}

async fn completed(lab: &Lab, id: JobId) {
    assert_eq!(lab.ended(id).await.state, JobState::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_held_for_its_time_by_the_databases_clock_also_after_the_end() {
    let lab = Lab::new().await;
    let worker = worker(&lab).await;
    let first = lab.queue.enqueue(&Secondly).await.unwrap();
    assert!(first.is_new);
    let until: DateTime<Utc> =
        sqlx::query_scalar("SELECT until FROM job_holds").fetch_one(lab.pool()).await.unwrap();
    assert_eq!(lab.queue.enqueue(&Secondly).await.unwrap(), Enqueued { is_new: false, ..first });
    let second = wait::until("the key is free", PATIENCE, async || {
        let enqueued = lab.queue.enqueue(&Secondly).await.unwrap();
        assert!(enqueued.is_new || enqueued.id == first.id);
        enqueued.is_new.then_some(enqueued.id)
    })
    .await;
    let now: DateTime<Utc> =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(lab.pool()).await.unwrap();
    assert!(until <= now, "free before its time");
    let enqueued_at = lab.job(first.id).await.created_at;
    assert!(until >= enqueued_at + TimeDelta::seconds(1));
    completed(&lab, first.id).await;
    completed(&lab, second).await;
    worker.drain().await;
}

#[tokio::test]
async fn an_open_job_holds_its_key_however_long_it_takes() {
    let lab = Lab::new().await;
    let first = enqueue(&lab, &hourly("k")).await;
    an_hour_passes(&lab).await;
    assert_eq!(enqueue(&lab, &hourly("k")).await, Enqueued { is_new: false, ..first });
    // Its time was from the first enqueue on: the second has not begun it anew.
    admin::cancel(&lab.queue, first.id, "an operator").await.unwrap();
    assert!(enqueue(&lab, &hourly("k")).await.is_new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_race_get_one_job_also_for_a_key_whose_time_is_over() {
    let lab = Lab::new().await;
    let worker = worker(&lab).await;
    for round in 0..10 {
        // Old and new keys, so that both ways of taking one are raced for.
        let args = hourly(&(round / 2).to_string());
        let racing = (0..8).map(|_| async { enqueue(&lab, &args).await });
        let all = join_all(racing).await;
        assert_eq!(all.iter().filter(|enqueued| enqueued.is_new).count(), 1, "{all:?}");
        assert!(all.iter().all(|enqueued| enqueued.id == all[0].id));
        completed(&lab, all[0].id).await;
        assert_eq!(enqueue(&lab, &args).await, Enqueued { id: all[0].id, is_new: false });
        an_hour_passes(&lab).await;
    }
    worker.drain().await;
}

/// Postgres has it wait for another transaction.
async fn is_waiting(lab: &Lab) {
    wait::until("the other waits", PATIENCE, async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (lab.scalar(sql).await == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_second_waits_for_the_first_and_takes_over_if_it_is_rolled_back() {
    let lab = Lab::new().await;
    for is_committed in [true, false] {
        let args = hourly(&is_committed.to_string());
        let mut tx = lab.queue.begin().await.unwrap();
        let first = tx.enqueue(&args).await.unwrap();
        let second = tokio::spawn({
            let (queue, args) = (lab.queue.clone(), args.clone());
            async move { queue.enqueue(&args).await.unwrap() }
        });
        is_waiting(&lab).await;
        if is_committed {
            tx.commit().await.unwrap();
        } else {
            drop(tx);
        }
        let second = second.await.unwrap();
        assert_eq!((second.is_new, second.id == first.id), (!is_committed, is_committed));
    }
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_enqueue_keeps_to_it() {
    let lab = Lab::new().await;
    let worker = worker(&lab).await;
    let ended = enqueue(&lab, &hourly("ended")).await.id;
    completed(&lab, ended).await;

    let mut tx = lab.queue.begin().await.unwrap();
    let all = ["ended", "a", "b", "a"].map(hourly);
    let held = Enqueued { id: ended, is_new: false };
    assert_eq!(tx.enqueue_in(&all[0], HOUR).await.unwrap(), held);
    assert_eq!(tx.enqueue_at(&all[0], Utc::now() + TimeDelta::hours(1)).await.unwrap(), held);
    assert_eq!(tx.enqueue_after(&[ended], &all[0]).await.unwrap(), held);
    assert!(!tx.enqueue_unless_open(&all[0]).await.unwrap());

    let new = tx.enqueue_many(&all).await.unwrap();
    let mut keys: Vec<_> = new.iter().filter_map(|job| job.unique_key.as_deref()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["a", "b"], "twice in one call is once");
    assert_eq!(tx.enqueue_many(&all).await.unwrap(), []);
    let batch = tx.enqueue_batch(&all).await.unwrap();
    assert_eq!(batch.jobs, []);
    assert_eq!(tx.enqueue_when_done(batch.id, &all[0]).await.unwrap(), held);

    // Without a key nothing is held.
    let without = Hourly { key: None };
    assert_eq!(tx.enqueue_many(&[without.clone(), without.clone()]).await.unwrap().len(), 2);
    assert!(tx.enqueue(&without).await.unwrap().is_new);

    let later = tx.enqueue_in(&hourly("later"), HOUR).await.unwrap();
    assert!(later.is_new);
    assert_eq!(tx.enqueue(&hourly("later")).await.unwrap(), Enqueued { is_new: false, ..later });
    tx.commit().await.unwrap();
    assert_eq!(lab.scalar("SELECT count(*) FROM job_holds WHERE until > now()").await, 4);
    an_hour_passes(&lab).await;
    for job in new {
        completed(&lab, job.id).await;
    }
    let mut tx = lab.queue.begin().await.unwrap();
    assert_eq!(tx.enqueue_many(&all).await.unwrap().len(), 3);
    drop(tx);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_deletes_a_job_frees_its_key() {
    let lab = Lab::new().await;
    let worker = worker(&lab).await;
    for is_bulk in [false, true] {
        let first = enqueue(&lab, &hourly("k")).await;
        assert!(first.is_new);
        completed(&lab, first.id).await;
        if is_bulk {
            let filter = JobFilter { kind: Some("hourly".into()), ..JobFilter::default() };
            assert_eq!(admin::bulk::delete(&lab.queue, &filter).await.unwrap().count, 1);
        } else {
            admin::delete(&lab.queue, first.id).await.unwrap();
        }
    }
    // A key that another job has taken meanwhile is not freed.
    let first = enqueue(&lab, &hourly("k")).await.id;
    completed(&lab, first).await;
    an_hour_passes(&lab).await;
    let second = enqueue(&lab, &hourly("k")).await.id;
    completed(&lab, second).await;
    admin::delete(&lab.queue, first).await.unwrap();
    assert_eq!(enqueue(&lab, &hourly("k")).await, Enqueued { id: second, is_new: false });
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_is_removed_and_nothing_else() {
    let lab = Lab::new().await;
    enqueue(&lab, &hourly("over")).await;
    an_hour_passes(&lab).await;
    let held = enqueue(&lab, &hourly("held")).await;
    // A job's own removal after its end frees nothing.
    sqlx::query("DELETE FROM jobs").execute(lab.pool()).await.unwrap();
    let worker = worker(&lab).await;
    wait::until("one row is left", PATIENCE, async || {
        (lab.scalar("SELECT count(*) FROM job_holds").await == 1).then_some(())
    })
    .await;
    assert_eq!(enqueue(&lab, &hourly("held")).await, Enqueued { is_new: false, ..held });
    worker.drain().await;
}
