//! `labelfleet-worker`: runs jobs until it is told to stop.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::{Parser, Subcommand};
use labelfleet::{
    config::Config,
    http::WorkerEndpoint,
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
    let command = cli.command.unwrap_or(Command::Run);
    let traces = telemetry::init(matches!(command, Command::Run).then_some("labelfleet-worker"));
    let outcome = match command {
        Command::Run => run(&traces),
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

fn run(traces: &telemetry::Traces) -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let stop = stop_on_signals(config.engine.drain)?;
    let flush = traces.reserve(config.engine.drain);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let registry = registry(&config.engine)?;
        let options = WorkerOptions {
            database: config.database_url.expose().parse().context("DATABASE_URL")?,
            redis_url: config.redis_url.expose().to_owned(),
            redis_prefix: config.redis_prefix.clone(),
            lease: config.engine.lease,
            drain: config.engine.drain - flush,
            concurrency: config.engine.concurrency,
            args_cipher: config.engine.args_cipher.clone(),
            retention: config.engine.retention,
        };
        let endpoint = match config.engine.metrics {
            Some(address) => Some(WorkerEndpoint::bind(address).await?),
            None => None,
        };
        let deps = Arc::new(Deps::new(config)?);
        let worker = Worker::start(options, registry, deps.clone()).await.context("start the worker")?;
        look_around(&deps).await.context("enqueue the first reconciliation")?;
        if let Some(endpoint) = endpoint {
            tracing::info!(address = %endpoint.address()?, "metrics are served");
            // It ends with the process.
            tokio::spawn(endpoint.serve());
        }
        println!("ready worker {}", worker.id());
        stop.cancelled().await;
        worker.drain().await;
        // A part of the time is for ending.
        traces.flush(flush * 3 / 4);
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
