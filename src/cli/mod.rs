//! The commands, one file each. Errors go to stderr with their causes; missing settings exit with 2, as a wrong
//! command line does, all else with 1.

mod api;
mod jobs;
mod keys;
mod migrate;
mod openapi;
mod queues;
mod schedules;
mod table;
mod workers;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Parser, Subcommand};
use labelfleet::{
    config::{Config, ConfigError, Secret},
    telemetry, up,
};
use serde::Serialize;
use sqlx::{Connection, PgPool, postgres::PgPoolOptions};

/// A fleet of Label Studio instances, one per annotator, and the operation around it.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API.
    Api,
    /// Run everything on this machine: Postgres, Redis, S3, the API and a worker.
    Up(up::UpArgs),
    /// Run a whole labeling day before your eyes, on real parts.
    Demo(up::DemoArgs),
    /// Run a command with the servers that tests share (TEST_DATABASE_URL, TEST_REDIS_URL, TEST_S3_…).
    Services(up::ServicesArgs),
    /// Bring the database's schema up to date.
    Migrate(migrate::Args),
    /// Look at background jobs, watch, retry, cancel or delete them.
    Jobs(jobs::Args),
    /// How much each queue holds and how fast it goes; pause and resume.
    Queues(queues::Args),
    /// Who runs jobs now.
    Workers(workers::Args),
    /// What starts by the clock; run one now, pause and resume.
    Schedules(schedules::Args),
    /// Make, list and revoke API keys.
    Keys(keys::Args),
    /// Print the OpenAPI document.
    Openapi(openapi::Args),
}

pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    let traces = telemetry::init(matches!(cli.command, Command::Api).then_some("labelfleet"));
    let done = match cli.command {
        Command::Api => api::run().await.map(success),
        Command::Up(args) => up::up(&args, std::env::vars().collect()).await.map(success),
        Command::Demo(args) => up::demo(&args, std::env::vars().collect()).await.map(success),
        Command::Services(args) => up::services(&args).await,
        Command::Migrate(args) => migrate::run(args).await.map(success),
        Command::Jobs(args) => jobs::run(args).await,
        Command::Queues(args) => queues::run(args).await.map(success),
        Command::Workers(args) => workers::run(args).await.map(success),
        Command::Schedules(args) => schedules::run(args).await.map(success),
        Command::Keys(args) => keys::run(args).await.map(success),
        Command::Openapi(args) => openapi::run(&args).map(success),
    };
    traces.flush(telemetry::FLUSH);
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
    })
}

fn success((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

fn config() -> anyhow::Result<Config> {
    Ok(Config::from_env()?)
}

/// How long a connection that nobody used is taken to be alive.
const PAUSE: Duration = Duration::from_secs(1);

/// Connects when it is first used, so that the database may come up later and go away in between. Whether a
/// connection still lives is asked only after a pause: it costs a round trip.
fn pool(url: &str, connections: u32) -> sqlx::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(3))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move { Ok(meta.idle_for < PAUSE || connection.ping().await.is_ok()) })
        })
        .connect_lazy(url)
}

/// What commands take that show what is in the database.
#[derive(Debug, clap::Args)]
struct Showing {
    /// The fleet's database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    database_url: Option<Secret>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

impl Showing {
    fn pool(&self) -> anyhow::Result<PgPool> {
        let url = self.database_url.as_ref().context("DATABASE_URL is not set")?;
        pool(url.expose(), 1).context("DATABASE_URL")
    }

    /// Prints what was asked for: as JSON, or in words.
    fn answer(&self, value: &impl Serialize, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? + "\n" } else { words() };
        Ok(print(&text)?)
    }

    /// Prints that something was done of which nothing is left to show.
    fn done(&self, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        self.answer(&serde_json::json!({ "success": true }), words)
    }
}

/// Whoever uses the command line, on record.
const OPERATOR: &str = "command line";

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Prints to stdout; a reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> io::Result<()> {
    say(text).map(drop)
}

/// Prints to stdout. False: nobody reads it any more.
fn say(text: &str) -> io::Result<bool> {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}
