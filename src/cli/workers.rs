//! `labelfleet workers`: who runs jobs now.

use chrono::Utc;
use labelfleet::queue::admin::workers::{self, WorkerView};

use super::{
    Showing,
    table::{ago, table},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    showing: Showing,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let all = workers::list(&args.showing.pool()?).await?;
    args.showing.answer(&all, || overview(&all))
}

fn overview(all: &[WorkerView]) -> String {
    let now = Utc::now();
    let rows: Vec<_> = all
        .iter()
        .map(|worker| {
            [
                worker.name.clone(),
                worker.queues.join(","),
                worker.running_jobs.to_string(),
                ago(worker.started_at, now),
                ago(worker.heartbeat_at, now),
                if worker.is_alive {
                    "alive".to_owned()
                } else {
                    format!("lost {}", ago(worker.lease_until, now))
                },
                worker.id.to_string(),
            ]
        })
        .collect();
    table(["WORKER", "QUEUES", ">RUNNING", "STARTED", "HEARTBEAT", "STATE", "ID"], &rows)
}
