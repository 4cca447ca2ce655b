//! What the job engine does, one file for each feature:
//!
//!     cargo run --example queue              # the list
//!     cargo run --example queue -- unique    # one of them
//!
//! Each starts servers of its own in a temporary folder, shows what happens in a few lines, and fails if anything else
//! does. docs/QUEUE.md has the whole.

mod batches;
mod bulk;
mod cancel;
mod chains;
mod concurrency;
mod dead_set;
mod drain;
mod fairness;
mod pause;
mod payload;
mod priorities;
mod progress;
mod rate_limits;
mod results;
mod retention;
mod sandbox;
mod schedules;
mod unique;
mod unknown_kinds;

use futures::future::LocalBoxFuture;

use sandbox::Sandbox;

type Example = (&'static str, &'static str, fn(&Sandbox) -> LocalBoxFuture<'_, anyhow::Result<()>>);

macro_rules! examples {
    ($($name:ident: $about:literal,)*) => {
        &[$((stringify!($name), $about, |sandbox| Box::pin($name::run(sandbox)))),*]
    };
}

const EXAMPLES: &[Example] = examples! {
    priorities: "urgent jobs start before bulk ones",
    concurrency: "at most two jobs of a key at once, on all workers together",
    rate_limits: "one start an interval, after a burst",
    unique: "one job of a key while it is open, or for a time",
    schedules: "cron with a time zone, catching up, run now",
    batches: "a job when all of a batch are done, one for its failure",
    chains: "a job after others",
    bulk: "10,000 jobs by one call",
    pause: "a queue that workers leave alone for a while",
    cancel: "a waiting job, and a running one",
    progress: "what a running job tells of itself",
    results: "what a job returns, and effects that happen exactly once",
    dead_set: "jobs that failed for good: look, mend, retry by filter",
    retention: "how long ended jobs are kept",
    unknown_kinds: "a rolling deploy, and arguments that don't decode",
    drain: "a worker that stops hands its jobs back",
    payload: "limits of arguments and results, encryption",
    fairness: "flows take turns",
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Some(name) = std::env::args().nth(1) else {
        for (name, about, _) in EXAMPLES {
            println!("{name:<14} {about}");
        }
        return Ok(());
    };
    let found = EXAMPLES.iter().find(|(known, _, _)| *known == name);
    let (_, _, run) =
        found.ok_or_else(|| anyhow::anyhow!("there is no example {name}: see the list without a name"))?;
    let sandbox = Sandbox::start().await?;
    let done = run(&sandbox).await;
    let stopped = sandbox.stop().await;
    done.and(stopped)
}
