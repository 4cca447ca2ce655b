//! What a worker tells Prometheus, and whoever looks after it.

use std::time::Duration;

use labelfleet::{ops::jobs::ReclaimIdle, up::ports::Port};

use crate::support::{fleet::Fleet, program::Program, wait};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_serves_its_metrics() {
    let fleet = Fleet::local().await;
    let port = Port::free().unwrap();
    let address = format!("127.0.0.1:{}", port.number());
    let worker = Program::worker(&fleet.settings, &[("WORKER_METRICS_ADDR", &address)]).await;
    fleet.deps.queue.enqueue(&ReclaimIdle {}).await.unwrap();
    let get = async |path: &str| {
        let answer = reqwest::get(format!("http://{address}{path}")).await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    };
    assert_eq!(get("/health").await.as_deref(), Some("ok"));
    let ended = r#"jobs_ended_total{queue="labeling",kind="reclaim_idle",outcome="completed"}"#;
    let text = wait::until("the job is counted", PATIENCE, async || {
        get("/metrics").await.filter(|text| text.lines().any(|line| line.starts_with(ended)))
    })
    .await;
    for name in [
        "jobs_wait_seconds_bucket",
        "jobs_run_seconds_bucket",
        r#"jobs_claimed_bucket{queue="labeling",le="1"}"#,
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    let told = ["jobs_waiting", "jobs_oldest_seconds", "jobs_dead"];
    wait::until("the leader has counted what waits", PATIENCE, async || {
        get("/metrics").await.filter(|text| told.iter().all(|name| text.contains(name)))
    })
    .await;
    assert_eq!(worker.stop(PATIENCE).await.0, Some(0));
}
