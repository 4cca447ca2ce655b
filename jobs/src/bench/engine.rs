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
use chrono::{DateTime, Utc};
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
    /// Workers that drain, each with connections of its own.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Jobs that the table holds from before and that went well.
    #[arg(long, default_value_t = 0)]
    finished: i64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Jobs a second while latency is measured, and for how long.
const RATE: u64 = 200;
const LATENCY_SECONDS: u64 = 10;
const IDLE: Duration = Duration::from_secs(5);
const PREFIX: &str = "labelfleet-bench";
/// Jobs that a producer enqueues in one transaction.
const BULK: usize = 5_000;
const PRODUCED_TOGETHER: usize = 500;

#[derive(Debug, Serialize)]
struct Report {
    jobs: usize,
    concurrency: usize,
    workers: usize,
    finished: i64,
    enqueue_per_s: f64,
    drain_per_s: f64,
    end_to_end_per_s: f64,
    /// From the enqueue call's start to the handler's start.
    latency_ms: Latency,
    /// The part of it that Postgres takes to make the job durable.
    enqueue_call_ms: Latency,
    /// Of this process: producer and worker.
    peak_rss_mb: f64,
    /// Of one core, while the worker waits for work.
    idle_cpu_pct: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Latency {
    /// Of sorted values.
    fn of(sorted: &[Duration]) -> Self {
        let of = |percent| percentile(sorted, percent);
        Self { p50: of(50), p95: of(95), p99: of(99) }
    }
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
    type Output = ();

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
        Ok(())
    }
}

struct Bench {
    pool: PgPool,
    queue: Client,
    options: WorkerOptions,
    seen: Arc<Seen>,
    workers: usize,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let report = match (std::env::var("DATABASE_URL"), std::env::var("REDIS_URL")) {
        (Ok(postgres), Ok(redis)) => measure(args, &postgres, &redis).await?,
        _ => on_private_servers(args).await?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        let Report { jobs, concurrency, workers, finished, .. } = report;
        println!(
            "jobs that do nothing: {jobs} of 200 bytes, {concurrency} at once, {workers} workers, {finished} finished before"
        );
        println!("  bulk enqueue   {:>9.0} jobs/s", report.enqueue_per_s);
        println!("  drain          {:>9.0} jobs/s", report.drain_per_s);
        println!("  end to end     {:>9.0} jobs/s", report.end_to_end_per_s);
        let Latency { p50, p95, p99 } = report.latency_ms;
        println!("  start latency  {p50:>9.2} ms p50, {p95:.2} ms p95, {p99:.2} ms p99 at {RATE} jobs/s");
        let Latency { p50, p95, p99 } = report.enqueue_call_ms;
        println!("  of it enqueue  {p50:>9.2} ms p50, {p95:.2} ms p95, {p99:.2} ms p99: the job is durable");
        println!("  peak memory    {:>9.1} MB, producer and worker", report.peak_rss_mb);
        println!("  idle worker    {:>9.2} % of a core", report.idle_cpu_pct);
    }
    Ok(())
}

async fn on_private_servers(args: &Args) -> anyhow::Result<Report> {
    let dir = std::env::temp_dir().join(format!("labelfleet-bench-{}", std::process::id()));
    let mut postgres = Postgres::start(PostgresOptions::new(dir.join("postgres"))).await?;
    let mut redis = Redis::start(&dir.join("redis"), &dir.join("redis.log"), None).await?;
    let report = measure(args, &postgres.url(), &redis.url()).await;
    redis.stop().await?;
    postgres.stop().await?;
    std::fs::remove_dir_all(&dir).context("remove the measured servers' data")?;
    report
}

/// Leaves no job behind.
async fn measure(args: &Args, postgres: &str, redis: &str) -> anyhow::Result<Report> {
    let pool = PgPoolOptions::new().max_connections(8).test_before_acquire(false).connect(postgres).await?;
    migrations::run(&mut *pool.acquire().await?).await?;
    let bench = Bench {
        queue: Client::with_dispatcher(pool.clone(), Dispatcher::spawn(redis, PREFIX)?),
        pool,
        options: WorkerOptions {
            drain: Duration::from_secs(10),
            concurrency: args.concurrency,
            ..WorkerOptions::new(postgres.parse()?, redis, PREFIX)
        },
        seen: Arc::default(),
        workers: args.workers,
    };
    bench.finish_before(args.finished).await?;
    let enqueue_per_s = bench.bulk(args.jobs).await?;
    let drain_per_s = bench.drain(args.jobs).await?;
    let end_to_end_per_s = bench.end_to_end(args.jobs).await?;
    let (latencies, calls) = bench.latencies().await?;
    let idle_cpu_pct = bench.idle().await?;
    sqlx::query("DELETE FROM jobs WHERE kind = $1").bind(Nothing::KIND).execute(&bench.pool).await?;
    bench.pool.close().await;
    Ok(Report {
        jobs: args.jobs,
        concurrency: args.concurrency,
        workers: args.workers,
        finished: args.finished,
        enqueue_per_s,
        drain_per_s,
        end_to_end_per_s,
        latency_ms: Latency::of(&latencies),
        enqueue_call_ms: Latency::of(&calls),
        peak_rss_mb: peak_rss_mb()?,
        idle_cpu_pct,
    })
}

impl Bench {
    /// By the server's clock.
    async fn now(&self) -> sqlx::Result<DateTime<Utc>> {
        sqlx::query_scalar("SELECT now()").fetch_one(&self.pool).await
    }

    /// As if so many jobs had gone well in the last day.
    async fn finish_before(&self, jobs: i64) -> anyhow::Result<()> {
        let insert = "INSERT INTO jobs (kind, queue, args, state, attempt, max_attempts, scheduled_at, dispatched_at, created_at,
                                        attempted_at, finalized_at)
            SELECT $2, $3, $4, 'completed', 1, 10, at, at, at, at, at
            FROM (SELECT now() - interval '23 hours' * (1 - number::float8 / $1) AS at
                  FROM generate_series(1, $1) AS number) AS ended";
        sqlx::query(insert)
            .bind(jobs)
            .bind(Nothing::KIND)
            .bind(Nothing::QUEUE)
            .bind(serde_json::to_value(Nothing::new(0))?)
            .execute(&self.pool)
            .await?;
        sqlx::query("ANALYZE jobs").execute(&self.pool).await?;
        Ok(())
    }

    async fn workers(&self, count: usize) -> anyhow::Result<Vec<Worker>> {
        self.seen.count.store(0, Ordering::Relaxed);
        futures::future::try_join_all((0..count).map(|_| self.worker())).await
    }

    async fn worker(&self) -> anyhow::Result<Worker> {
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
        let now = self.now().await?;
        let started = Instant::now();
        let workers = self.workers(self.workers).await?;
        self.done(jobs, now).await?;
        let rate = rate(jobs, started);
        futures::future::join_all(workers.into_iter().map(Worker::drain)).await;
        Ok(rate)
    }

    async fn end_to_end(&self, jobs: usize) -> anyhow::Result<f64> {
        let workers = self.workers(self.workers).await?;
        let now = self.now().await?;
        let started = Instant::now();
        tokio::try_join!(self.enqueue(jobs, PRODUCED_TOGETHER), self.done(jobs, now))?;
        let rate = rate(jobs, started);
        futures::future::join_all(workers.into_iter().map(Worker::drain)).await;
        Ok(rate)
    }

    /// Until so many have ended since `since`, and their ends are durable.
    async fn done(&self, jobs: usize, since: DateTime<Utc>) -> anyhow::Result<()> {
        while self.seen.count.load(Ordering::Relaxed) < jobs {
            sleep(Duration::from_millis(2)).await;
        }
        let ended = "SELECT count(*) FROM jobs WHERE dispatched_at IS NOT NULL AND finalized_at >= $1";
        let jobs = i64::try_from(jobs)?;
        while sqlx::query_scalar::<_, i64>(ended).bind(since).fetch_one(&self.pool).await? < jobs {
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// From the call that enqueues to the handler's start, and of the calls alone, which end when the job is durable.
    async fn latencies(&self) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
        let workers = self.workers(1).await?;
        let now = self.now().await?;
        *self.seen.starts.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
        let mut ticks = interval(Duration::from_micros(1_000_000 / RATE));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let jobs = usize::try_from(RATE * LATENCY_SECONDS)?;
        let mut calls = Vec::with_capacity(jobs);
        let queue = self.queue.clone();
        // A task as an API's requests are.
        let producer = tokio::spawn(async move {
            for number in 0..jobs {
                ticks.tick().await;
                let called = Instant::now();
                queue.enqueue(&Nothing::new(number)).await?;
                calls.push((called, called.elapsed()));
            }
            Ok::<_, sqlx::Error>(calls)
        });
        let calls = producer.await??;
        self.done(jobs, now).await?;
        futures::future::join_all(workers.into_iter().map(Worker::drain)).await;
        let starts =
            self.seen.starts.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let mut latencies: Vec<Duration> = starts
            .into_iter()
            .filter_map(|(number, started)| Some(started.saturating_duration_since(calls.get(number)?.0)))
            .collect();
        latencies.sort_unstable();
        let mut calls: Vec<Duration> = calls.into_iter().map(|(_, took)| took).collect();
        calls.sort_unstable();
        Ok((latencies, calls))
    }

    /// What a worker with nothing to do takes of a core, in percent.
    async fn idle(&self) -> anyhow::Result<f64> {
        let worker = self.worker().await?;
        sleep(Duration::from_secs(1)).await;
        let (started, before) = (Instant::now(), cpu_time()?);
        sleep(IDLE).await;
        let used = cpu_time()?.saturating_sub(before);
        let percent = 100.0 * used.as_secs_f64() / started.elapsed().as_secs_f64();
        worker.drain().await;
        Ok(percent)
    }
}

/// Of this process, in all its threads.
fn cpu_time() -> anyhow::Result<Duration> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let micros = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default())
    };
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}

fn peak_rss_mb() -> anyhow::Result<f64> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    Ok(usage.max_rss() as f64 / 1024.0)
}

fn rate(jobs: usize, since: Instant) -> f64 {
    jobs as f64 / since.elapsed().as_secs_f64()
}

/// Of sorted values, in milliseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let index = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(index).map_or(f64::NAN, |value| value.as_secs_f64() * 1_000.0)
}
