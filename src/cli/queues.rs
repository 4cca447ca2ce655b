//! `labelfleet queues`: how much each queue holds and how fast it goes, pause and resume.

use clap::Subcommand;
use labelfleet::queue::{
    admin::queues::{self, Queue},
    queues as control,
};

use super::{
    Showing, json,
    table::{length, table},
    time,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    showing: Showing,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How much each holds, for how long jobs have been due, and how fast they go.
    List,
    /// Workers take nothing from it, a second from now on; what runs goes on.
    Pause { name: String },
    /// Workers take from it again.
    Resume { name: String },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let pool = args.showing.pool()?;
    let known = async |name: &str| {
        let queue = queues::get(&pool, name).await?;
        queue.ok_or_else(|| {
            anyhow::anyhow!("there is no queue {name:?}: no worker takes from it and it holds no job")
        })
    };
    let (text, changed) = match args.command {
        Command::List => {
            let all = queues::list(&pool).await?;
            (if args.showing.json { json(&all)? } else { overview(&all) }, None)
        }
        Command::Pause { name } => {
            known(&name).await?;
            control::pause(&pool, &name, "command line").await?;
            (format!("queue {name} is paused\n"), Some(name))
        }
        Command::Resume { name } => {
            known(&name).await?;
            control::resume(&pool, &name).await?;
            (format!("queue {name} is not paused\n"), Some(name))
        }
    };
    let text = match changed.filter(|_| args.showing.json) {
        Some(name) => json(&known(&name).await?)?,
        None => text,
    };
    Ok(super::print(&text)?)
}

fn overview(all: &[Queue]) -> String {
    let rows: Vec<_> = all
        .iter()
        .map(|queue| {
            let state = match (queue.paused_at, &queue.paused_by) {
                (Some(at), Some(by)) => format!("paused {} by {by}", time(at)),
                (Some(at), None) => format!("paused {}", time(at)),
                (None, _) => "runs".to_owned(),
            };
            [
                queue.name.clone(),
                queue.depth.available.to_string(),
                queue.depth.running.to_string(),
                queue.depth.scheduled.to_string(),
                queue.depth.retryable.to_string(),
                queue.depth.discarded.to_string(),
                length(queue.oldest_due_seconds),
                format!("{:.1}", queue.completed_per_second),
                length(queue.mean_run_seconds),
                length(queue.mean_wait_seconds),
                state,
            ]
        })
        .collect();
    let head = [
        "QUEUE",
        ">DUE",
        ">RUNNING",
        ">SCHEDULED",
        ">RETRYABLE",
        ">DEAD",
        ">OLDEST DUE",
        ">DONE/S",
        ">RUN",
        ">WAIT",
        "STATE",
    ];
    table(head, &rows)
}
