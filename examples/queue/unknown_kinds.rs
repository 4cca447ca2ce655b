//! A rolling deploy: workers of the old version leave kinds that they don't know to those of the new one. Arguments that
//! don't decode end in the dead set, with the reason, and are retried once that is mended.

use std::sync::Arc;

use anyhow::ensure;
use labelfleet::queue::{JobArgs, JobContext, JobResult, JobState, Registry, Run, admin};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl JobArgs for Greet {
    type Output = ();

    const KIND: &'static str = "greet";
    const QUEUE: &'static str = "greetings";
}

impl Run<()> for Greet {
    async fn run(self, _: JobContext, _: Arc<()>) -> JobResult {
        Ok(())
    }
}

/// New.
#[derive(Serialize, Deserialize)]
struct Wave;

impl JobArgs for Wave {
    type Output = ();

    const KIND: &'static str = "wave";
    const QUEUE: &'static str = "greetings";
}

impl Run<()> for Wave {
    async fn run(self, _: JobContext, _: Arc<()>) -> JobResult {
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let old = sandbox.worker(Registry::new().register::<Greet>(), &Arc::default()).await?;
    let wave = sandbox.enqueue(&Wave).await?;
    let greet = sandbox.enqueue(&Greet { name: "Ada".into() }).await?;
    ensure!(sandbox.ended(greet).await?.state == JobState::Completed);
    let job = admin::get(&sandbox.queue, wave).await?;
    ensure!((job.state, job.attempt) == (JobState::Available, 0));
    println!("the old worker greets, and leaves the new kind where it is");

    let new = sandbox.worker(Registry::new().register::<Greet>().register::<Wave>(), &Arc::default()).await?;
    ensure!(sandbox.ended(wave).await?.state == JobState::Completed);
    println!("the new worker waves");

    // From a version that had ids in place of names.
    let mut tx = sandbox.queue.begin().await?;
    let strange = tx.enqueue(&Greet { name: "Bob".into() }).await?.id;
    sqlx::query("UPDATE jobs SET args = '{\"name\": 7}' WHERE id = $1")
        .bind(strange.0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    let job = sandbox.ended(strange).await?;
    ensure!(job.state == JobState::Discarded);
    println!("discarded: {}", job.last_error.unwrap_or_default());

    sqlx::query("UPDATE jobs SET args = '{\"name\": \"Bob\"}' WHERE id = $1")
        .bind(strange.0)
        .execute(&sandbox.pool)
        .await?;
    admin::retry(&sandbox.queue, strange).await?;
    ensure!(sandbox.ended(strange).await?.state == JobState::Completed);
    old.drain().await;
    new.drain().await;
    println!("mended and retried: completed");
    Ok(())
}
