//! `make bench`: how fast the fleet is, as a report for people or (`--json`) for programs.
//!
//! Everything is real and private to the run: a durable Postgres (default settings), Redis, and our own processes
//! built for release. Figures of one run are comparable with each other; machines are too different, and too
//! noisy, for more. A module a subject.

use anyhow::Context;
use clap::{Parser, ValueEnum};

mod assignment;
mod engine;
mod export;
mod fleet;
mod http;
mod monitoring;
mod provisioning;
mod report;
mod s3;
mod seed;
mod webhook;

#[derive(Parser)]
#[command(about = "How fast the fleet is")]
struct Args {
    /// What to measure; all, if none is named.
    #[arg(value_enum)]
    subjects: Vec<Subject>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Seconds that each load lasts.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    Webhook,
    Assignment,
    Export,
    Monitoring,
    Provisioning,
    Engine,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let subjects = if args.subjects.is_empty() { Subject::value_variants().to_vec() } else { args.subjects };
    let mut report = report::Report::new();
    let mut fleet = fleet::Fleet::start().await.context("start the servers")?;
    for subject in subjects {
        let section = match subject {
            Subject::Webhook => webhook::measure(&fleet, args.seconds).await.context("webhook")?,
            Subject::Assignment => assignment::measure(&fleet).await.context("assignment")?,
            Subject::Export => export::measure(&fleet).await.context("export")?,
            Subject::Monitoring => monitoring::measure(&fleet, args.seconds).await.context("monitoring")?,
            Subject::Provisioning => provisioning::measure(&fleet).await.context("provisioning")?,
            Subject::Engine => engine::measure().await.context("engine")?,
        };
        if !args.json {
            section.print();
        }
        report.sections.push(section);
    }
    fleet.stop().await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}
