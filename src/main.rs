//! `labelfleet`: the API, the single-machine stack, and what operators run by hand.

mod cli;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run().await
}
