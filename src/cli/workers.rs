//! `labelfleet workers`: who runs jobs now.

use labelfleet::queue::admin::workers::{self, WorkerView};

use super::{Showing, json, table::table, time};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    showing: Showing,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let all = workers::list(&args.showing.pool()?).await?;
    Ok(super::print(&if args.showing.json { json(&all)? } else { overview(&all) })?)
}

fn overview(all: &[WorkerView]) -> String {
    let rows: Vec<_> = all
        .iter()
        .map(|worker| {
            [
                worker.name.clone(),
                worker.queues.join(","),
                worker.running_jobs.to_string(),
                time(worker.started_at),
                time(worker.heartbeat_at),
                if worker.is_alive {
                    "alive".to_owned()
                } else {
                    format!("lost {}", time(worker.lease_until))
                },
                worker.id.to_string(),
            ]
        })
        .collect();
    table(["WORKER", "QUEUES", ">RUNNING", "STARTED", "HEARTBEAT", "STATE", "ID"], &rows)
}
