//! Retention: ended jobs are kept for a while, of each state its own, and then removed by the leading worker, a little at a
//! time.

use std::{sync::Arc, time::Duration};

use anyhow::{anyhow, ensure};
use labelfleet::queue::{
    JobArgs, JobContext, JobError, JobResult, JobState, Registry, Retention, Run, Worker, WorkerOptions,
    admin,
};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

#[derive(Serialize, Deserialize)]
struct Ping {
    is_answered: bool,
}

impl JobArgs for Ping {
    type Output = ();

    const KIND: &'static str = "ping";
    const QUEUE: &'static str = "pings";
}

impl Run<()> for Ping {
    async fn run(self, _: JobContext, _: Arc<()>) -> JobResult {
        if self.is_answered { Ok(()) } else { Err(JobError::Discard(anyhow!("no answer"))) }
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let keep = Retention::default();
    let hours = |time: Duration| time.as_secs() / 3_600;
    println!("kept by default: {} h, the dead set {} h", hours(keep.completed), hours(keep.discarded));
    let worker = sandbox.worker(Registry::new().register::<Ping>(), &Arc::default()).await?;
    let good = sandbox.enqueue(&Ping { is_answered: true }).await?;
    let dead = sandbox.enqueue(&Ping { is_answered: false }).await?;
    sandbox.ended(good).await?;
    sandbox.ended(dead).await?;
    worker.drain().await;
    ensure!(admin::get(&sandbox.queue, good).await?.state == JobState::Completed);

    // Of those that went well, nothing is to be kept.
    let retention = Retention { completed: Duration::ZERO, ..keep };
    let options = WorkerOptions { retention, ..sandbox.options() };
    let worker = Worker::start(options, Registry::new().register::<Ping>(), Arc::default()).await?;
    let gone =
        async || Ok(matches!(admin::get(&sandbox.queue, good).await, Err(admin::AdminError::NotFound(_))));
    sandbox.until("it is removed", gone).await?;
    ensure!(admin::get(&sandbox.queue, dead).await?.state == JobState::Discarded);
    worker.drain().await;
    println!("kept for 0 h: the completed job is gone, the dead one is still there");
    Ok(())
}
