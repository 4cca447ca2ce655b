//! The job engine, as `labelfleet-worker bench engine` measures it on servers of its own.

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::{
    fleet,
    report::{Bound, Section},
};

const JOBS: usize = 20_000;

#[derive(Deserialize)]
struct Measured {
    enqueue_per_s: f64,
    drain_per_s: f64,
    end_to_end_per_s: f64,
    latency_ms: Latency,
    peak_rss_mb: f64,
    idle_cpu_pct: f64,
}

#[derive(Deserialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
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
    let Latency { p50, p95, p99 } = measured.latency_ms;
    section.row_with_aim("bulk enqueue", measured.enqueue_per_s, "jobs/s", Bound::AtLeast(80_000.0));
    section.row_with_aim("drain", measured.drain_per_s, "jobs/s", Bound::AtLeast(45_000.0));
    let meanwhile = "end to end, enqueued meanwhile";
    section.row_with_aim(meanwhile, measured.end_to_end_per_s, "jobs/s", Bound::AtLeast(30_000.0));
    section.row_with_aim("enqueue to start at 200 jobs/s: p50", p50, "ms", Bound::AtMost(0.9));
    section.row("enqueue to start at 200 jobs/s: p95", p95, "ms");
    section.row_with_aim("enqueue to start at 200 jobs/s: p99", p99, "ms", Bound::AtMost(3.0));
    section.row_with_aim("peak memory, producer and worker", measured.peak_rss_mb, "MB", Bound::AtMost(40.0));
    section.row_with_aim("idle worker, of a core", measured.idle_cpu_pct, "%", Bound::AtMost(1.0));
    Ok(section)
}
