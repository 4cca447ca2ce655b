//! The dead set: jobs that failed for good are kept, with every attempt and its causes. Once what was wrong is mended, an
//! operator retries those that died of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, anyhow, ensure};
use labelfleet::queue::{
    JobArgs, JobContext, JobError, JobFilter, JobResult, JobState, OrDiscard, OrRetry, Registry, Run, admin,
};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

#[derive(Clone, Serialize, Deserialize)]
struct Deliver {
    parcel: String,
}

impl JobArgs for Deliver {
    type Output = ();

    const KIND: &'static str = "deliver";
    const QUEUE: &'static str = "parcels";
    const MAX_ATTEMPTS: i32 = 2;
}

/// Whether the other side answers.
type IsUp = AtomicBool;

impl Run<IsUp> for Deliver {
    async fn run(self, _: JobContext, is_up: Arc<IsUp>) -> JobResult {
        // Trying again can't help.
        let _: u32 = self.parcel.parse().context("the parcel's number").or_discard()?;
        // Trying again may help: after a backoff, until the attempts are used up.
        if !is_up.load(Ordering::Relaxed) {
            Err(anyhow!("connection refused")).context("calling the carrier").or_retry()?;
        }
        Ok::<_, JobError>(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let is_up = Arc::new(IsUp::new(false));
    let worker = sandbox.worker(Registry::new().register::<Deliver>(), &is_up).await?;
    let mut tx = sandbox.queue.begin().await?;
    let jobs =
        tx.enqueue_many(&["1", "2", "3", "four"].map(|parcel| Deliver { parcel: parcel.into() })).await?;
    tx.commit().await?;
    for job in &jobs {
        ensure!(sandbox.ended(job.id).await?.state == JobState::Discarded);
    }
    let dead = JobFilter { states: vec![JobState::Discarded], ..JobFilter::default() };
    for job in admin::list(&sandbox.queue, &dead, None, 50).await?.data.iter().rev() {
        let error = job.last_error.as_deref().unwrap_or_default();
        println!("{} died after {} attempts: {error}", job.args, job.attempt);
    }

    is_up.store(true, Ordering::Relaxed);
    let refused = JobFilter { text: Some("connection refused".into()), ..dead.clone() };
    let retried = admin::bulk::retry(&sandbox.queue, &refused).await?;
    ensure!(retried.count == 3);
    println!("the carrier answers again: {} are retried", retried.count);
    let left = async || Ok(admin::list(&sandbox.queue, &dead, None, 50).await?.data.len() == 1);
    sandbox.until("one is left", left).await?;
    sandbox
        .until("three are completed", async || {
            let completed = JobFilter { states: vec![JobState::Completed], ..JobFilter::default() };
            Ok(admin::list(&sandbox.queue, &completed, None, 50).await?.data.len() == 3)
        })
        .await?;

    let removed = admin::bulk::delete(&sandbox.queue, &dead).await?;
    ensure!(removed.count == 1);
    worker.drain().await;
    println!("3 are completed, and the one that nothing helps is deleted");
    Ok(())
}
