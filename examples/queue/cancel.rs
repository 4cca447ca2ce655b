//! Cancelling: a waiting job ends at once. A running one is asked to stop; it has 5 s to do so in order, then it is dropped
//! where it waits.

use std::sync::Arc;

use anyhow::{anyhow, ensure};
use labelfleet::queue::{JobArgs, JobContext, JobError, JobResult, JobState, Registry, Run, admin};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Notes, Sandbox};

#[derive(Serialize, Deserialize)]
struct Render {
    frame: u32,
}

impl JobArgs for Render {
    type Output = ();

    const KIND: &'static str = "render";
    const QUEUE: &'static str = "renders";
}

impl Run<Notes> for Render {
    async fn run(self, context: JobContext, notes: Arc<Notes>) -> JobResult {
        notes.add("running");
        // Work in small pieces would ask `context.is_cancelled()` between them.
        context.cancelled().await;
        notes.add("tidied up");
        Err(JobError::Retry(anyhow!("stopped at frame {}", self.frame)))
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let waiting = sandbox.enqueue(&Render { frame: 1 }).await?;
    let job = admin::cancel(&sandbox.queue, waiting, "an operator").await?;
    ensure!(job.state == JobState::Cancelled);
    println!("the waiting job is cancelled");

    let notes = Arc::new(Notes::default());
    let worker = sandbox.worker(Registry::new().register::<Render>(), &notes).await?;
    let running = sandbox.enqueue(&Render { frame: 2 }).await?;
    sandbox.until("it runs", async || Ok(notes.all() == ["running"])).await?;
    let job = admin::cancel(&sandbox.queue, running, "an operator").await?;
    println!("the running job is {} and asked to stop", job.state);

    let job = sandbox.ended(running).await?;
    worker.drain().await;
    ensure!(job.state == JobState::Cancelled && notes.all() == ["running", "tidied up"]);
    println!("it tidied up and is {}: {}", job.state, job.last_error.unwrap_or_default());
    Ok(())
}
