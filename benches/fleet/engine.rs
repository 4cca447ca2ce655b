//! The job engine, as `labelfleet-worker bench engine` measures it on servers of its own.

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::{
    fleet,
    report::{Bound, Section},
};

const JOBS: usize = 20_000;
const DRAIN_AIM: f64 = 20_000.0;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    bulk_enqueued_per_second: f64,
    drained_per_second: f64,
    end_to_end_per_second: f64,
    start_latency_p50_millis: f64,
    start_latency_p99_millis: f64,
}

pub async fn measure() -> anyhow::Result<Section> {
    let worker = fleet::worker_program()?;
    let output = Command::new(&worker)
        .args(["bench", "engine", "--jobs", &JOBS.to_string(), "--json"])
        .output()
        .await
        .with_context(|| format!("run {}", worker.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let measured: Measured = serde_json::from_slice(&output.stdout).context("read what it printed")?;
    let mut section = Section::new(format!("Engine: {JOBS} jobs of 200 bytes that do nothing, one worker"));
    section.row("bulk enqueue", measured.bulk_enqueued_per_second, "jobs/s");
    section.row_with_aim("drain", measured.drained_per_second, "jobs/s", Bound::AtLeast(DRAIN_AIM));
    section.row("end to end, enqueued meanwhile", measured.end_to_end_per_second, "jobs/s");
    section.row("enqueue to start at 200 jobs/s: p50", measured.start_latency_p50_millis, "ms");
    section.row("enqueue to start at 200 jobs/s: p99", measured.start_latency_p99_millis, "ms");
    Ok(section)
}
