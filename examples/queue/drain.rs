//! A worker that is told to stop takes no more jobs and lets running ones finish. Those that are still running at the end of
//! its drain are handed back, at no attempt's cost, and another worker starts them anew.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::ensure;
use labelfleet::queue::{
    JobArgs, JobContext, JobResult, JobState, Registry, Run, Worker, WorkerOptions, admin,
};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Notes, Sandbox};

#[derive(Serialize, Deserialize)]
struct Encode {
    /// Of its first run.
    seconds: u64,
}

impl JobArgs for Encode {
    type Output = ();

    const KIND: &'static str = "encode";
    const QUEUE: &'static str = "videos";
}

impl Run<Notes> for Encode {
    async fn run(self, context: JobContext, notes: Arc<Notes>) -> JobResult {
        notes.add(format!("run {}", context.attempt));
        if context.attempt == 1 {
            tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        }
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let notes = Arc::new(Notes::default());
    let registry = || Registry::new().register::<Encode>();
    let options = WorkerOptions { drain: Duration::from_secs(4), ..sandbox.options() };
    let worker = Worker::start(options, registry(), notes.clone()).await?;
    let short = sandbox.enqueue(&Encode { seconds: 1 }).await?;
    let long = sandbox.enqueue(&Encode { seconds: 600 }).await?;
    sandbox.until("both run", async || Ok(notes.all().len() == 2)).await?;

    let started = Instant::now();
    worker.drain().await;
    ensure!(started.elapsed() < Duration::from_secs(5));
    ensure!(admin::get(&sandbox.queue, short).await?.state == JobState::Completed);
    println!("the drain took no more than 4 s: the short job is completed");
    let job = admin::get(&sandbox.queue, long).await?;
    ensure!((job.state, job.attempt) == (JobState::Available, 1));
    println!("the long one is handed back: {} attempts are left, as before", job.max_attempts - job.attempt);
    ensure!(job.max_attempts - job.attempt == Encode::MAX_ATTEMPTS);

    let next = sandbox.worker(registry(), &notes).await?;
    let job = sandbox.ended(long).await?;
    ensure!((job.state, job.attempt) == (JobState::Completed, 2));
    next.drain().await;
    println!("the next worker has completed it");
    Ok(())
}
