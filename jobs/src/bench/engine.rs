//! The job engine with jobs that do nothing: what remains is the engine itself.
//!
//! Postgres is durable, with stock settings; it, Redis, producer and worker share the machine.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use labelfleet::{
    queue::{Client, Dispatcher, JobArgs, JobContext, JobResult, Registry, Run, Worker, WorkerOptions},
    store::migrations,
    up::{Postgres, PostgresOptions, Redis},
};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::time::{MissedTickBehavior, interval, sleep};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Jobs in each measurement of throughput.
    #[arg(long, default_value_t = 20_000)]
    jobs: usize,
    /// Jobs that run at once in the worker.
    #[arg(long, default_value_t = 200)]
    concurrency: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Jobs a second while latency is measured, and for how long.
const RATE: u64 = 200;
const LATENCY_SECONDS: u64 = 10;
/// Jobs that a producer enqueues in one transaction.
const BULK: usize = 1_000;
const PRODUCED_TOGETHER: usize = 100;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    jobs: usize,
    concurrency: usize,
    bulk_enqueued_per_second: f64,
    drained_per_second: f64,
    end_to_end_per_second: f64,
    start_latency_p50_millis: f64,
    start_latency_p99_millis: f64,
}

/// About 200 bytes of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Nothing {
    number: usize,
    padding: String,
}

impl Nothing {
    fn new(number: usize) -> Self {
        Self { number, padding: "x".repeat(170) }
    }
}

impl JobArgs for Nothing {
    const KIND: &'static str = "bench_nothing";
    const QUEUE: &'static str = "bench";
}

#[derive(Default)]
struct Seen {
    count: AtomicUsize,
    /// When each job started, while latency is measured.
    starts: Mutex<Option<Vec<(usize, Instant)>>>,
}

impl Run<Seen> for Nothing {
    async fn run(self, _: JobContext, seen: Arc<Seen>) -> JobResult {
        if let Some(starts) = seen.starts.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            starts.push((self.number, Instant::now()));
        }
        seen.count.fetch_add(1, Ordering::Relaxed);
        Ok(serde_json::Value::Null)
    }
}

struct Bench {
    pool: PgPool,
    queue: Client,
    options: WorkerOptions,
    seen: Arc<Seen>,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("labelfleet-bench-{}", std::process::id()));
    let report = measure(args, &dir).await;
    std::fs::remove_dir_all(&dir).context("remove the measured servers' data")?;
    let report = report?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("jobs that do nothing: {} of 200 bytes, {} at once", report.jobs, report.concurrency);
        println!("  bulk enqueue   {:>9.0} jobs/s", report.bulk_enqueued_per_second);
        println!("  drain          {:>9.0} jobs/s", report.drained_per_second);
        println!("  end to end     {:>9.0} jobs/s", report.end_to_end_per_second);
        println!(
            "  start latency  {:>9.1} ms p50, {:.1} ms p99 at {RATE} jobs/s",
            report.start_latency_p50_millis, report.start_latency_p99_millis
        );
    }
    Ok(())
}

async fn measure(args: &Args, dir: &std::path::Path) -> anyhow::Result<Report> {
    let mut postgres = Postgres::start(PostgresOptions::new(dir.join("postgres"))).await?;
    let mut redis = Redis::start(&dir.join("redis"), &dir.join("redis.log"), None).await?;
    let pool = PgPoolOptions::new().max_connections(8).connect(&postgres.url()).await?;
    migrations::run(&mut *pool.acquire().await?).await?;
    let bench = Bench {
        queue: Client::with_dispatcher(pool.clone(), Dispatcher::spawn(&redis.url(), "bench")?),
        pool,
        options: WorkerOptions {
            database: postgres.url().parse()?,
            redis_url: redis.url(),
            redis_prefix: "bench".into(),
            lease: Duration::from_secs(15),
            drain: Duration::from_secs(10),
            concurrency: args.concurrency,
        },
        seen: Arc::default(),
    };
    let bulk_enqueued_per_second = bench.bulk(args.jobs).await?;
    let drained_per_second = bench.drain(args.jobs).await?;
    let end_to_end_per_second = bench.end_to_end(args.jobs).await?;
    let latencies = bench.latencies().await?;
    bench.pool.close().await;
    redis.stop().await?;
    postgres.stop().await?;
    Ok(Report {
        jobs: args.jobs,
        concurrency: args.concurrency,
        bulk_enqueued_per_second,
        drained_per_second,
        end_to_end_per_second,
        start_latency_p50_millis: percentile(&latencies, 50),
        start_latency_p99_millis: percentile(&latencies, 99),
    })
}

impl Bench {
    async fn worker(&self) -> anyhow::Result<Worker> {
        self.seen.count.store(0, Ordering::Relaxed);
        let registry = Registry::new().register::<Nothing>();
        Worker::start(self.options.clone(), registry, self.seen.clone()).await
    }

    async fn bulk(&self, jobs: usize) -> anyhow::Result<f64> {
        let started = Instant::now();
        self.enqueue(jobs, BULK).await?;
        Ok(rate(jobs, started))
    }

    async fn enqueue(&self, jobs: usize, together: usize) -> anyhow::Result<()> {
        let mut number = 0;
        while number < jobs {
            let until = (number + together).min(jobs);
            let batch: Vec<_> = (number..until).map(Nothing::new).collect();
            let mut tx = self.queue.begin().await?;
            tx.enqueue_many(&batch).await?;
            tx.commit().await?;
            number = until;
        }
        Ok(())
    }

    /// Runs what [`Bench::bulk`] has enqueued, from the worker's start until the last end is durable.
    async fn drain(&self, jobs: usize) -> anyhow::Result<f64> {
        let started = Instant::now();
        let worker = self.worker().await?;
        self.done(jobs).await?;
        let rate = rate(jobs, started);
        worker.drain().await;
        Ok(rate)
    }

    async fn end_to_end(&self, jobs: usize) -> anyhow::Result<f64> {
        let worker = self.worker().await?;
        let started = Instant::now();
        tokio::try_join!(self.enqueue(jobs, PRODUCED_TOGETHER), self.done(jobs))?;
        let rate = rate(jobs, started);
        worker.drain().await;
        Ok(rate)
    }

    async fn done(&self, jobs: usize) -> anyhow::Result<()> {
        while self.seen.count.load(Ordering::Relaxed) < jobs {
            sleep(Duration::from_millis(2)).await;
        }
        while sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM jobs WHERE state = 'running')")
            .fetch_one(&self.pool)
            .await?
        {
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// From the call that enqueues to the handler's start.
    async fn latencies(&self) -> anyhow::Result<Vec<Duration>> {
        let worker = self.worker().await?;
        *self.seen.starts.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
        let mut ticks = interval(Duration::from_micros(1_000_000 / RATE));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let jobs = usize::try_from(RATE * LATENCY_SECONDS)?;
        let mut calls = Vec::with_capacity(jobs);
        for number in 0..jobs {
            ticks.tick().await;
            calls.push(Instant::now());
            let mut tx = self.queue.begin().await?;
            tx.enqueue(&Nothing::new(number)).await?;
            tx.commit().await?;
        }
        self.done(jobs).await?;
        worker.drain().await;
        let starts =
            self.seen.starts.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let mut latencies: Vec<Duration> = starts
            .into_iter()
            .filter_map(|(number, started)| Some(started.saturating_duration_since(*calls.get(number)?)))
            .collect();
        latencies.sort_unstable();
        Ok(latencies)
    }
}

fn rate(jobs: usize, since: Instant) -> f64 {
    jobs as f64 / since.elapsed().as_secs_f64()
}

/// Of sorted values, in milliseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let index = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(index).map_or(f64::NAN, |value| value.as_secs_f64() * 1_000.0)
}
