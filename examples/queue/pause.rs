//! Pausing a queue: a second later no worker takes anything from it. What runs goes on, what is enqueued waits. It is said in
//! Postgres, so it outlives workers.

use std::sync::Arc;

use anyhow::ensure;
use labelfleet::queue::{JobArgs, JobContext, JobResult, JobState, Registry, Run, admin, queues};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

#[derive(Serialize, Deserialize)]
struct Export;

impl JobArgs for Export {
    type Output = ();

    const KIND: &'static str = "export";
    const QUEUE: &'static str = "exports";
}

#[derive(Serialize, Deserialize)]
struct Mail;

impl JobArgs for Mail {
    type Output = ();

    const KIND: &'static str = "mail";
    const QUEUE: &'static str = "mail";
}

impl Run<()> for Export {
    async fn run(self, _: JobContext, _: Arc<()>) -> JobResult {
        Ok(())
    }
}

impl Run<()> for Mail {
    async fn run(self, _: JobContext, _: Arc<()>) -> JobResult {
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    queues::pause(&sandbox.pool, Export::QUEUE, "Ada: the disk is full").await?;
    let export = sandbox.enqueue(&Export).await?;
    let worker =
        sandbox.worker(Registry::new().register::<Export>().register::<Mail>(), &Arc::default()).await?;
    // That others run shows that the worker is well.
    for _ in 0..10 {
        let mail = sandbox.enqueue(&Mail).await?;
        ensure!(sandbox.ended(mail).await?.state == JobState::Completed);
    }
    let job = admin::get(&sandbox.queue, export).await?;
    ensure!((job.state, job.attempt) == (JobState::Available, 0));
    for paused in queues::paused(&sandbox.pool).await? {
        println!("{} is paused, {}", paused.queue, paused.paused_by.unwrap_or_default());
    }
    println!("10 mails were sent, the export waits");

    ensure!(queues::resume(&sandbox.pool, Export::QUEUE).await?);
    ensure!(sandbox.ended(export).await?.state == JobState::Completed);
    worker.drain().await;
    println!("resumed: the export has run");
    Ok(())
}
