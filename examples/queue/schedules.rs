//! Jobs that start by the clock: cron with a time zone, what becomes of ticks that nobody was there for, and a schedule that
//! is run at an operator's wish. Each tick fires once, however many workers run.

use std::sync::Arc;

use anyhow::ensure;
use labelfleet::queue::{
    CatchUp, JobArgs, JobContext, JobResult, Registry, Run, Timing,
    admin::schedules::{self, Order},
};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Notes, Sandbox};

#[derive(Clone, Serialize, Deserialize)]
struct Report(String);

impl JobArgs for Report {
    type Output = ();

    const KIND: &'static str = "report";
    const QUEUE: &'static str = "reports";
}

impl Run<Notes> for Report {
    async fn run(self, _: JobContext, notes: Arc<Notes>) -> JobResult {
        notes.add(self.0);
        Ok(())
    }
}

/// Seconds first: at three in the morning.
const AT_NIGHT: &str = "0 0 3 * * *";

fn registry() -> anyhow::Result<Registry<Notes>> {
    let berlin = Timing::default().zone("Europe/Berlin".parse()?);
    let report = |name: &str| Report(name.to_owned());
    Ok(Registry::new()
        .register::<Report>()
        .schedule_with("each", AT_NIGHT, berlin.catch_up(CatchUp::All), report("each"))?
        .schedule_with("latest", AT_NIGHT, berlin.catch_up(CatchUp::Once), report("latest"))?
        .schedule_with("punctual", AT_NIGHT, berlin.catch_up(CatchUp::Skip), report("punctual"))?)
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let notes = Arc::new(Notes::default());
    let worker = sandbox.worker(registry()?, &notes).await?;
    let all = async || anyhow::Ok(schedules::list(&sandbox.pool).await?);
    sandbox.until("all are known", async || Ok(all().await?.len() == 3)).await?;
    for schedule in all().await? {
        println!(
            "{}: {} of {}, catch up: {}",
            schedule.name, schedule.cron, schedule.time_zone, schedule.catch_up
        );
    }

    // As if no worker had run for three days.
    sqlx::query("UPDATE schedules SET next_at = next_at - interval '3 days'").execute(&sandbox.pool).await?;
    sandbox.until("four reports", async || Ok(notes.all().len() == 4)).await?;
    let ran = |name: &str| notes.all().iter().filter(|note| *note == name).count();
    ensure!((ran("each"), ran("latest"), ran("punctual")) == (3, 1, 0), "{:?}", notes.all());
    println!("after three nights without a worker: each fired 3 times, latest once, punctual never");

    schedules::tell(&sandbox.pool, "punctual", Order::Run).await?;
    sandbox.until("one more", async || Ok(ran("punctual") == 1)).await?;
    worker.drain().await;
    println!("punctual ran at an operator's wish");
    Ok(())
}
