//! `labelfleet queues`: how much each queue holds and how fast it goes, pause and resume.

use anyhow::Context;
use chrono::Utc;
use clap::Subcommand;
use labelfleet::queue::{
    admin::queues::{self, Queue},
    queues as control,
};

use sqlx::PgPool;

use super::{
    OPERATOR, Showing,
    table::{ago, length, table},
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

pub async fn run(Args { showing, command }: Args) -> anyhow::Result<()> {
    let pool = showing.pool()?;
    let (name, done) = match command {
        Command::List => {
            let all = queues::list(&pool).await?;
            return showing.answer(&all, || overview(&all));
        }
        Command::Pause { name } => {
            known(&pool, &name).await?;
            control::pause(&pool, &name, OPERATOR).await?;
            (name, "is paused")
        }
        Command::Resume { name } => {
            known(&pool, &name).await?;
            control::resume(&pool, &name).await?;
            (name, "is not paused")
        }
    };
    let queue = known(&pool, &name).await?;
    showing.answer(&queue, || format!("queue {name} {done}\n"))
}

async fn known(pool: &PgPool, name: &str) -> anyhow::Result<Queue> {
    let queue = queues::get(pool, name).await?;
    queue.with_context(|| format!("there is no queue {name:?}: no worker takes from it and it holds no job"))
}

fn overview(all: &[Queue]) -> String {
    let now = Utc::now();
    let span = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), length);
    let rows: Vec<_> = all
        .iter()
        .map(|queue| {
            let state = match (queue.paused_at, &queue.paused_by) {
                (Some(at), Some(by)) => format!("paused {} by {by}", ago(at, now)),
                (Some(at), None) => format!("paused {}", ago(at, now)),
                (None, _) if queue.workers == 0 => "no worker takes from it".to_owned(),
                (None, _) => "runs".to_owned(),
            };
            [
                queue.name.clone(),
                queue.depth.available.to_string(),
                queue.depth.running.to_string(),
                queue.depth.scheduled.to_string(),
                queue.depth.retryable.to_string(),
                queue.depth.discarded.to_string(),
                span(queue.oldest_due_seconds),
                format!("{:.2}", queue.completed_per_second),
                span(queue.mean_run_seconds),
                span(queue.mean_wait_seconds),
                queue.workers.to_string(),
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
        ">WORKERS",
        "STATE",
    ];
    table(head, &rows)
}
