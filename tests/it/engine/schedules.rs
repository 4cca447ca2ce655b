//! Each tick of a schedule fires once, however many workers run.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nix::sys::signal::Signal;

use super::lab::Lab;

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
