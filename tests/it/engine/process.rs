//! A worker as a process of its own, so that it can be killed and frozen: this test binary, started again to run
//! the one ignored test below. No production binary holds test code.

use std::{process::Stdio, sync::Arc, time::Duration};

use labelfleet::queue::{Worker, WorkerOptions, signals::stop_on_signals};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::probe::{self, Probes, Tick};

pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Ready; with `cron`, ticks are started by that schedule.
    pub async fn start(
        database: &str,
        redis: &str,
        prefix: &str,
        lease: Duration,
        drain: Duration,
        cron: Option<&str>,
    ) -> Self {
        let cron = cron.map(|cron| ("PROBE_CRON", cron));
        Self::start_with(database, redis, prefix, lease, drain, cron).await
    }

    /// The same, with more of an environment.
    pub async fn start_with<'a>(
        database: &str,
        redis: &str,
        prefix: &str,
        lease: Duration,
        drain: Duration,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "engine::process::worker", "--ignored", "--nocapture"])
            .env("PROBE_DATABASE_URL", database)
            .env("PROBE_REDIS_URL", redis)
            .env("PROBE_PREFIX", prefix)
            .env("PROBE_LEASE_MILLIS", lease.as_millis().to_string())
            .env("PROBE_DRAIN_MILLIS", drain.as_millis().to_string())
            .envs(variables)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, lines };
        process.says("ready").await;
        process
    }

    /// It has written a line that ends so: `ready`, then `stopping` once it has heard a signal.
    pub async fn says(&mut self, what: &str) {
        let said = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.ends_with(what) {
                    return;
                }
            }
            panic!("the worker ended before it was {what}");
        };
        timeout(Duration::from_secs(20), said)
            .await
            .unwrap_or_else(|_| panic!("the worker is {what} in time"));
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("the worker was not waited for yet");
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }

    /// Its exit code, none if a signal ended it; panics when it does not end in time.
    pub async fn ended(&mut self, deadline: Duration) -> Option<i32> {
        timeout(deadline, self.child.wait()).await.expect("the worker ends in time").unwrap().code()
    }
}

#[test]
#[ignore = "no test but a worker's process, which tests start"]
fn worker() {
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by who starts this"));
    let millis = |name: &str| Duration::from_millis(var(name).parse().unwrap());
    let drain = millis("PROBE_DRAIN_MILLIS");
    let stop = stop_on_signals(drain).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (database, redis, prefix) =
            (var("PROBE_DATABASE_URL"), var("PROBE_REDIS_URL"), var("PROBE_PREFIX"));
        let options = WorkerOptions {
            lease: millis("PROBE_LEASE_MILLIS"),
            drain,
            concurrency: 200,
            ..probe::options(&database, &redis, &prefix)
        };
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(10).connect_lazy(&database).unwrap();
        let mut registry = probe::registry();
        if let Ok(cron) = std::env::var("PROBE_CRON") {
            registry = registry.schedule("ticks", &cron, Tick).unwrap();
        }
        let worker = Worker::start(options, registry, Arc::new(Probes::new(pool))).await.unwrap();
        println!("ready");
        stop.cancelled().await;
        println!("stopping");
        worker.drain().await;
    });
    // A handler that blocks its thread would keep the runtime from ending.
    std::process::exit(0);
}
