//! `labelfleet up`: the stack in the foreground until Ctrl-C or SIGTERM.

use std::{path::PathBuf, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::stack::{Stack, Vars};

#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Where data, logs and secrets are kept.
    #[arg(long, env = "LABELFLEET_DIR", default_value = ".labelfleet")]
    pub dir: PathBuf,
}

/// Runs until it is told to stop, or until a part ends by itself (then it is an error).
pub async fn up(args: &UpArgs, vars: Vars) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let mut stack = Stack::prepare(&args.dir, vars)?;
    let outcome = tokio::select! {
        failed = run(&mut stack) => Err(failed),
        () = stop.asked() => Ok(()),
    };
    stop_all(stack, &mut stop).await;
    outcome
}

async fn run(stack: &mut Stack) -> anyhow::Error {
    match stack.start(&mut tell).await {
        Ok(config) => {
            tell_admin(stack, "  ");
            println!("ready {}", config.public_url);
            stack.watch().await
        }
        Err(error) => error,
    }
}

/// One line for each part that runs.
pub(super) fn tell(part: &str, what: &str, took: Duration) {
    println!("  {part:<10} {what:<40} {:>5.1} s", took.as_secs_f64());
}

pub(super) fn tell_admin(stack: &Stack, indent: &str) {
    println!("{indent}{:<10} {}, {}", "admin", stack.admin.email, stack.admin.password_hint());
    println!("{indent}{:<10} {}", "logs", stack.log_dir().display());
}

/// Stops in order; asked a second time, at once.
pub(super) async fn stop_all(mut stack: Stack, stop: &mut Stop) {
    println!("stopping (Ctrl-C once more: at once)");
    tokio::select! {
        outcome = stack.stop() => {
            if let Err(error) = outcome {
                tracing::warn!(error = format!("{error:#}"), "not everything stopped in order");
            }
        }
        () = stop.asked() => tracing::warn!("stopped at once; unfinished jobs run again at the next start"),
    }
}

/// Ctrl-C and SIGTERM, from the moment on that this exists.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Completes once for each time it is asked for.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
