//! Chains: a job that becomes due once others are completed. Until then it is `scheduled`, and takes no slot.

use std::sync::Arc;

use anyhow::ensure;
use labelfleet::queue::{JobArgs, JobContext, JobResult, JobState, Registry, Run, admin};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Notes, Sandbox};

#[derive(Serialize, Deserialize)]
struct Step(String);

impl JobArgs for Step {
    type Output = ();

    const KIND: &'static str = "step";
    const QUEUE: &'static str = "steps";
}

impl Run<Notes> for Step {
    async fn run(self, _: JobContext, notes: Arc<Notes>) -> JobResult {
        notes.add(self.0);
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let step = |name: &str| Step(name.to_owned());
    // Two downloads at once, then one after the other.
    let mut tx = sandbox.queue.begin().await?;
    let left = tx.enqueue(&step("download the map")).await?.id;
    let right = tx.enqueue(&step("download the names")).await?.id;
    let join = tx.enqueue_after(&[left, right], &step("join them")).await?.id;
    let publish = tx.enqueue_after(&[join], &step("publish")).await?.id;
    tx.commit().await?;
    ensure!(admin::get(&sandbox.queue, publish).await?.state == JobState::Scheduled);
    println!("publish waits, and what it waits for waits, too");

    let notes = Arc::new(Notes::default());
    let worker = sandbox.worker(Registry::new().register::<Step>(), &notes).await?;
    sandbox.ended(publish).await?;
    worker.drain().await;
    let steps = notes.all();
    ensure!(steps.len() == 4 && steps.ends_with(&["join them".into(), "publish".into()]), "{steps:?}");
    println!("{}", steps.join(", then "));
    Ok(())
}
