//! Each tick of a schedule fires once, however many workers run.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use labelfleet::queue::{CatchUp, Timing, Worker};
use nix::sys::signal::Signal;

use super::{
    lab::Lab,
    probe::{self, Probes, Tick},
};
use crate::support::wait;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_fire_each_second_once() {
    let lab = Lab::new().await;
    let (lease, drain) = (Duration::from_secs(5), Duration::from_secs(5));
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(lab.process_with(lease, drain, "* * * * * *").await);
    }
    lab.rows("schedule_ticks", 10, Duration::from_secs(30)).await;
    // The leader goes away in the middle: the first that started.
    workers.remove(0).signal(Signal::SIGKILL);
    lab.rows("schedule_ticks", 20, Duration::from_secs(30)).await;
    for worker in &mut workers {
        worker.signal(Signal::SIGTERM);
        worker.ended(drain).await;
    }
    let ticks: Vec<DateTime<Utc>> = sqlx::query_scalar("SELECT tick FROM schedule_ticks ORDER BY tick")
        .fetch_all(lab.pool())
        .await
        .unwrap();
    let gaps: Vec<_> = ticks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap == TimeDelta::seconds(1)), "a tick was left out: {ticks:?}");
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE kind = 'tick'").await, ticks.len() as i64);
}

const PATIENCE: Duration = Duration::from_secs(20);
const YEARLY: &str = "0 0 0 1 1 * *";

/// A leader with a schedule of each kind, and the ticks of the years since 2023 missed.
async fn missed(lab: &Lab) -> Worker {
    let utc = Timing::default();
    let registry = probe::registry()
        .schedule("once", YEARLY, Tick)
        .and_then(|all| all.schedule_with("skip", YEARLY, utc.catch_up(CatchUp::Skip), Tick))
        .and_then(|all| all.schedule_with("all", YEARLY, utc.catch_up(CatchUp::All), Tick))
        .and_then(|all| all.schedule_with("paused", YEARLY, utc.catch_up(CatchUp::All), Tick))
        .and_then(|all| all.schedule_with("berlin", YEARLY, utc.zone("Europe/Berlin".parse().unwrap()), Tick))
        .unwrap();
    let probes = Arc::new(Probes::new(lab.pool().clone()));
    let worker = Worker::start(lab.options(), registry, probes).await.unwrap();
    lab.rows("schedules", 5, PATIENCE).await;
    let berlin = "SELECT count(*) FROM schedules
                  WHERE time_zone = 'Europe/Berlin' AND to_char(next_at AT TIME ZONE 'UTC', 'MM-DD HH24') = '12-31 23'";
    assert_eq!(lab.scalar(berlin).await, 1, "it goes by the clock of its zone");
    sqlx::query(
        "UPDATE schedules SET next_at = '2023-01-01Z', paused_at = CASE name WHEN 'paused' THEN now() END
         WHERE name <> 'berlin'",
    )
    .execute(lab.pool())
    .await
    .unwrap();
    wait::until("all have come to the next", PATIENCE, async || {
        (lab.scalar("SELECT count(*) FROM schedules WHERE next_at < now()").await == 0).then_some(())
    })
    .await;
    worker
}

async fn ticks_of(lab: &Lab, schedule: &str) -> i64 {
    lab.scalar(&format!("SELECT count(*) FROM schedule_ticks WHERE schedule = '{schedule}'")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_schedule_catches_up_in_its_own_way() {
    let lab = Lab::new().await;
    let worker = missed(&lab).await;
    let years = lab.scalar("SELECT extract(year FROM now())::bigint - 2022").await;
    for (schedule, count) in [("once", 1), ("skip", 0), ("all", years), ("paused", 0), ("berlin", 0)] {
        assert_eq!(ticks_of(&lab, schedule).await, count, "{schedule}");
    }
    assert_eq!(lab.scalar("SELECT count(*) FROM jobs WHERE kind = 'tick'").await, years + 1);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_runs_once_when_it_is_asked_to_even_if_paused() {
    let lab = Lab::new().await;
    let worker = missed(&lab).await;
    let count = "SELECT count(*) FROM jobs WHERE kind = 'tick'";
    let before = lab.scalar(count).await;
    sqlx::query("UPDATE schedules SET run_requested_at = now() WHERE name = 'paused'")
        .execute(lab.pool())
        .await
        .unwrap();
    wait::until("it has fired", PATIENCE, async || {
        let left = "SELECT count(*) FROM schedules WHERE run_requested_at IS NOT NULL";
        (lab.scalar(left).await == 0).then_some(())
    })
    .await;
    lab.completed(before + 1, PATIENCE).await;
    assert_eq!(lab.scalar(count).await, before + 1);
    assert_eq!(lab.scalar("SELECT count(last_at) FROM schedules WHERE name IN ('paused', 'skip')").await, 1);
    worker.drain().await;
}
