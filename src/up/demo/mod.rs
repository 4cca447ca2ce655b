//! `labelfleet demo`: a labeling day before your eyes, on real parts. Whoever runs it should see each step, how
//! long it took, and at the end where to look around.
//!
//! - [`pictures`]: images that can really be labeled
//! - [`fleet`]: the public HTTP API; nothing here reaches past it, but for putting images into the bucket
//! - [`annotator`]: labels by Label Studio's own API
//! - [`day`]: the steps; [`review`]: the one in which work comes back; [`screen`]: how they are shown

mod annotator;
mod day;
mod fleet;
mod pictures;
mod review;
mod screen;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;

use self::{day::Day, screen::Screen};
use super::{
    run::{Stop, stop_all, tell_admin},
    stack::{Stack, Vars},
};

#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Stop everything at the end instead of staying up.
    #[arg(long)]
    pub once: bool,
    /// Where data, logs and secrets are kept.
    #[arg(long, env = "LABELFLEET_DIR", default_value = ".labelfleet")]
    pub dir: PathBuf,
}

/// Steps 1 and 2, setup and build, are `scripts/demo`'s.
const FIRST_STEP: usize = 3;
const STEPS: usize = 11;

pub async fn demo(args: &DemoArgs, vars: Vars) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let mut screen = Screen::new(FIRST_STEP, STEPS);
    screen.step("Start everything on this machine");
    let mut stack = Stack::prepare(&args.dir, vars)?;
    let outcome = tokio::select! {
        outcome = run(&mut stack, &mut screen, args.once) => outcome,
        () = stop.asked() => Ok(()),
    };
    println!();
    stop_all(stack, &mut stop).await;
    outcome
}

async fn run(stack: &mut Stack, screen: &mut Screen, once: bool) -> anyhow::Result<()> {
    let mut report = |part: &str, what: &str, took: Duration| {
        screen.line(format!("{part:<10} {what:<40} {:>5.1} s", took.as_secs_f64()));
    };
    let config = stack.start(&mut report).await?;
    tell_admin(stack, "      ");
    screen.done("start");

    let logs = stack.log_dir();
    let admin = stack.admin.clone();
    let day = Day::new(&config, &admin);
    tokio::select! {
        outcome = day.run(screen) => {
            outcome.with_context(|| format!("the demo failed; the logs are in {}", logs.display()))?;
        }
        failed = stack.watch() => return Err(failed),
    }
    if once {
        return Ok(());
    }
    println!("\nEverything stays up; Ctrl-C stops it.\nready {}", config.public_url);
    Err(stack.watch().await)
}
