//! `labelfleet schedules`: what starts by the clock; run one now, pause, resume.

use anyhow::Context;
use chrono::Utc;
use clap::Subcommand;
use labelfleet::queue::admin::schedules::{self, Order, ScheduleView};

use super::{
    Showing,
    table::{ago, moment, table},
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

pub async fn run(Args { showing, command }: Args) -> anyhow::Result<()> {
    let pool = showing.pool()?;
    let (name, order, done) = match command {
        Command::List => {
            let all = schedules::list(&pool).await?;
            return showing.answer(&all, || overview(&all));
        }
        Command::Run { name } => (name, Order::Run, "fires within a second if a worker runs"),
        Command::Pause { name } => (name, Order::Pause, "is paused"),
        Command::Resume { name } => (name, Order::Resume, "is not paused"),
    };
    let schedule = schedules::tell(&pool, &name, order).await?;
    let schedule = schedule.with_context(|| format!("there is no schedule {name:?}"))?;
    showing.answer(&schedule, || format!("schedule {name} {done}\n"))
}

fn overview(all: &[ScheduleView]) -> String {
    let now = Utc::now();
    let rows: Vec<_> = all
        .iter()
        .map(|schedule| {
            let state = match (schedule.paused_at, schedule.run_requested_at) {
                (Some(at), _) => format!("paused {}", ago(at, now)),
                (None, Some(at)) => format!("asked to run {}", ago(at, now)),
                (None, None) => "runs".to_owned(),
            };
            [
                schedule.name.clone(),
                schedule.kind.clone(),
                schedule.cron.clone(),
                schedule.time_zone.clone(),
                schedule.catch_up.clone(),
                moment(schedule.last_at, now),
                moment(schedule.next_at, now),
                state,
            ]
        })
        .collect();
    table(["SCHEDULE", "KIND", "CRON", "ZONE", "MISSED", "LAST", "NEXT", "STATE"], &rows)
}
