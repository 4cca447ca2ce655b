//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use labelfleet::{telemetry, up};

#[derive(Debug, Parser)]
#[command(name = "labelfleet", version, about = "A fleet of Label Studio instances, one per annotator")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: Postgres, Redis, S3, the API and a worker.
    Up(up::UpArgs),
    /// Run a whole labeling day before your eyes, on real parts.
    Demo(up::DemoArgs),
    /// Run a command with the servers that tests share (TEST_DATABASE_URL, TEST_REDIS_URL, TEST_S3_…).
    Services(up::ServicesArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init();
    let outcome = match cli.command {
        Command::Up(args) => up::up(&args, std::env::vars().collect()).await.map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => up::demo(&args, std::env::vars().collect()).await.map(|()| ExitCode::SUCCESS),
        Command::Services(args) => up::services(&args).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
