//! `labelfleet schedules`: what starts by the clock; run one now, pause, resume.

use clap::Subcommand;
use labelfleet::queue::admin::schedules::{self, Order, ScheduleView};

use super::{
    Showing, json,
    table::{moment, table},
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
    /// What starts by the clock, and when.
    List,
    /// Fire once now, whatever the clock says.
    Run { name: String },
    /// It does not fire until it is resumed.
    Pause { name: String },
    /// It fires by its clock again.
    Resume { name: String },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let pool = args.showing.pool()?;
    let (name, order, done) = match args.command {
        Command::List => {
            let all = schedules::list(&pool).await?;
            return Ok(super::print(&if args.showing.json { json(&all)? } else { overview(&all) })?);
        }
        Command::Run { name } => (name, Order::Run, "fires within a second if a worker runs"),
        Command::Pause { name } => (name, Order::Pause, "is paused"),
        Command::Resume { name } => (name, Order::Resume, "is not paused"),
    };
    let schedule = schedules::tell(&pool, &name, order).await?;
    let schedule = schedule.ok_or_else(|| anyhow::anyhow!("there is no schedule {name:?}"))?;
    let text = if args.showing.json { json(&schedule)? } else { format!("schedule {name} {done}\n") };
    Ok(super::print(&text)?)
}

fn overview(all: &[ScheduleView]) -> String {
    let rows: Vec<_> = all
        .iter()
        .map(|schedule| {
            let state = match (schedule.paused_at, schedule.run_requested_at) {
                (Some(at), _) => format!("paused {}", time(at)),
                (None, Some(at)) => format!("asked to run {}", time(at)),
                (None, None) => "runs".to_owned(),
            };
            [
                schedule.name.clone(),
                schedule.kind.clone(),
                schedule.cron.clone(),
                schedule.time_zone.clone(),
                schedule.catch_up.clone(),
                moment(schedule.last_at),
                moment(schedule.next_at),
                state,
            ]
        })
        .collect();
    table(["SCHEDULE", "KIND", "CRON", "ZONE", "MISSED", "LAST", "NEXT", "STATE"], &rows)
}
