//! A job exists exactly when its transaction was committed, and by a unique key only once.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use labelfleet::queue::{Client, Dispatcher, JobState};
use opentelemetry::{
    Context,
    trace::{FutureExt, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};

use super::{
    lab::{Lab, nothing},
    probe::{Act, Probe, Single},
};

#[tokio::test]
async fn a_rolled_back_transaction_leaves_no_job() {
    let lab = Lab::new().await;
    let mut tx = lab.queue.begin().await.unwrap();
    tx.enqueue(&Probe { key: 1, act: Act::Nothing }).await.unwrap();
    drop(tx);
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_race_for_a_unique_key_get_one_job() {
    let lab = Lab::new().await;
    for round in 0..10 {
        let single = Single { key: round.to_string() };
        let racing = (0..8).map(|_| async {
            let mut tx = lab.queue.begin().await.unwrap();
            let enqueued = tx.enqueue(&single).await.unwrap();
            tx.commit().await.unwrap();
            enqueued
        });
        let all = join_all(racing).await;
        assert_eq!(all.iter().filter(|enqueued| enqueued.is_new).count(), 1);
        assert!(all.iter().all(|enqueued| enqueued.id == all[0].id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_free_again_once_its_job_ended_even_in_the_same_transaction() {
    let lab = Lab::new().await;
    let (worker, _) = lab.worker().await;
    let single = Single { key: "one".into() };
    let mut tx = lab.queue.begin().await.unwrap();
    let first = tx.enqueue(&single).await.unwrap();
    tx.commit().await.unwrap();
    // It asserts that it can enqueue its successor.
    assert_eq!(lab.ended(first.id).await.state, JobState::Completed);
    let mut tx = lab.queue.begin().await.unwrap();
    assert!(tx.enqueue(&single).await.unwrap().is_new);
    drop(tx);
    worker.drain().await;
}

#[tokio::test]
async fn many_at_once_leave_out_those_that_are_open() {
    let lab = Lab::new().await;
    let singles = ["a", "b", "a"].map(|key| Single { key: key.into() });
    let mut tx = lab.queue.begin().await.unwrap();
    assert!(tx.enqueue(&singles[1]).await.unwrap().is_new);
    let new = tx.enqueue_many(&singles).await.unwrap();
    assert_eq!(new.iter().map(|job| job.unique_key.as_deref()).collect::<Vec<_>>(), [Some("a")]);
    assert_eq!(tx.enqueue_many::<Single>(&[]).await.unwrap(), []);
    tx.commit().await.unwrap();
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_job_waits_for_its_time() {
    let lab = Lab::new().await;
    let (worker, probes) = lab.worker().await;
    let mut tx = lab.queue.begin().await.unwrap();
    let probe = |key| Probe { key, act: Act::Nothing };
    let later = tx.enqueue_at(&probe(1), Utc::now() + TimeDelta::hours(1)).await.unwrap();
    let soon = tx.enqueue_in(&probe(2), Duration::from_millis(1_500)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lab.job(soon.id).await.state, JobState::Scheduled);
    let job = lab.ended(soon.id).await;
    assert!(job.attempted_at >= job.scheduled_at);
    assert_eq!(lab.job(later.id).await.state, JobState::Scheduled);
    assert_eq!(probes.runs_of(1), 0);
    worker.drain().await;
}

#[tokio::test]
async fn redis_away_holds_up_no_caller() {
    let lab = Lab::new().await;
    // Takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let queue = Client::with_dispatcher(lab.pool().clone(), Dispatcher::spawn(&url, "x").unwrap());
    let started = Instant::now();
    for probe in nothing(0..300) {
        let mut tx = queue.begin().await.unwrap();
        tx.enqueue(&probe).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(10), "300 commits took {:?}", started.elapsed());
    assert_eq!(lab.count(JobState::Available).await, 300);
}

#[tokio::test]
async fn every_way_of_enqueueing_keeps_the_trace() {
    let lab = Lab::new().await;
    let enqueue = async |first: i64| {
        let mut keys = first..;
        let mut probe = || Probe { key: keys.next().unwrap(), act: Act::Nothing };
        let single = |key: &str| Single { key: format!("{key}{first}") };
        lab.queue.enqueue(&probe()).await.unwrap();
        let mut tx = lab.queue.begin().await.unwrap();
        let one = tx.enqueue(&probe()).await.unwrap().id;
        assert!(tx.enqueue_unless_open(&single("a")).await.unwrap());
        tx.enqueue_at(&probe(), Utc::now() + TimeDelta::hours(1)).await.unwrap();
        tx.enqueue_in(&probe(), Duration::from_secs(3600)).await.unwrap();
        tx.enqueue_after(&[one], &probe()).await.unwrap();
        tx.enqueue_many(&[probe(), probe()]).await.unwrap();
        let batch = tx.enqueue_batch(&[probe()]).await.unwrap().id;
        tx.add_to_batch(batch, &[single("b")]).await.unwrap();
        tx.enqueue_when_done(batch, &probe()).await.unwrap();
        tx.enqueue_on_failure(batch, &probe()).await.unwrap();
        tx.commit().await.unwrap();
    };
    let span = |flags| {
        let (trace, span) = (TraceId::from(7), SpanId::from(8));
        Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::NONE))
    };
    enqueue(0).await;
    enqueue(100).with_context(span(TraceFlags::NOT_SAMPLED)).await;
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE trace_context IS NULL").await, 24);
    enqueue(200).with_context(span(TraceFlags::SAMPLED)).await;
    let traced = format!("SELECT count(*) FROM jobs WHERE trace_context = '00-{:032x}-{:016x}-01'", 7, 8);
    assert_eq!(lab.scalar(&traced).await, 12);
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs").await, 36);
}

/// Whoever gives up while a transaction begins leaves no connection behind in it, on which the next job would be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beginning_that_is_given_up_costs_no_job() {
    let lab = Lab::new().await;
    // One connection, so that the next statement gets it.
    let pool =
        sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(&lab.database.url).await.unwrap();
    let queue = labelfleet::queue::Client::new(pool);
    for key in 0..50 {
        for polls in 1..6 {
            let mut begin = std::pin::pin!(queue.begin());
            for _ in 0..polls {
                if futures::poll!(&mut begin).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let id = queue.enqueue(&nothing(key..key + 1)[0]).await.unwrap().id;
        assert_eq!(
            lab.scalar(&format!("SELECT count(*) FROM jobs WHERE id = {id}")).await,
            1,
            "job {id} was lost"
        );
    }
}
