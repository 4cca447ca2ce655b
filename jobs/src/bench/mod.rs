//! `labelfleet-worker bench`: measurements on servers of their own. They report; they judge nothing.

mod engine;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Jobs enqueued and run a second, and how soon a job starts.
    Engine(engine::Args),
}

pub fn run(bench: Bench) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    match bench {
        Bench::Engine(args) => runtime.block_on(engine::run(&args)),
    }
}
