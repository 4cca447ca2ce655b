//! `labelfleet-worker`: runs jobs until it is told to stop.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::{Parser, Subcommand};
use labelfleet::{
    config::Config,
    ops::jobs::Reconcile,
    queue::{Worker, WorkerOptions, signals::stop_on_signals},
    telemetry,
};
use labelfleet_jobs::{Deps, bench, registry::registry, runtime};

#[derive(Debug, Parser)]
#[command(name = "labelfleet-worker", version, about = "Runs LabelFleet's jobs")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run jobs until SIGTERM (the default).
    Run,
    /// Measure, on servers started for it.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Stop every instance of this fleet and keep its data, as before the machine goes down. Those of active
    /// annotators come back with the next worker.
    StopInstances,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init();
    let outcome = match cli.command.unwrap_or(Command::Run) {
        Command::Run => run(),
        Command::Bench(bench) => bench::run(bench),
        Command::StopInstances => stop_instances(),
    };
    match outcome {
        // Not by returning: a handler that blocks its thread would keep the runtime from ending.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::exit(1)
        }
    }
}

fn run() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let stop = stop_on_signals(config.engine.drain)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let registry = registry(&config.engine)?;
        let options = WorkerOptions {
            database: config.database_url.expose().parse().context("DATABASE_URL")?,
            redis_url: config.redis_url.expose().to_owned(),
            redis_prefix: config.redis_prefix.clone(),
            lease: config.engine.lease,
            drain: config.engine.drain,
            concurrency: config.engine.concurrency,
            args_cipher: config.engine.args_cipher.clone(),
            retention: config.engine.retention,
        };
        let deps = Arc::new(Deps::new(config)?);
        let worker = Worker::start(options, registry, deps.clone()).await.context("start the worker")?;
        look_around(&deps).await.context("enqueue the first reconciliation")?;
        println!("ready worker {}", worker.id());
        stop.cancelled().await;
        worker.drain().await;
        Ok(())
    })
}

/// What happened while no worker ran is looked for at once and not with the next tick of the schedule.
async fn look_around(deps: &Deps) -> sqlx::Result<()> {
    let mut tx = deps.queue.begin().await?;
    tx.enqueue(&Reconcile {}).await?;
    tx.commit().await
}

fn stop_instances() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let runtime = runtime::from_config(&config.instances)?;
        let running = runtime.list().await?.into_iter().filter(|instance| instance.running);
        let stops = running.map(|instance| {
            let runtime = &runtime;
            async move { runtime.stop(instance.annotator).await.context(instance.name) }
        });
        futures::future::try_join_all(stops).await.map(drop)
    })
}
