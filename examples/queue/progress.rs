//! What a running job tells of itself: how far it has come, and lines of a log. Operators see both within a second.

use std::sync::Arc;

use anyhow::ensure;
use labelfleet::queue::{JobArgs, JobContext, JobResult, Registry, Run, admin};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::sandbox::Sandbox;

#[derive(Serialize, Deserialize)]
struct Import {
    rows: u32,
}

impl JobArgs for Import {
    type Output = ();

    const KIND: &'static str = "import";
    const QUEUE: &'static str = "imports";
}

/// Told to go on.
impl Run<Notify> for Import {
    async fn run(self, context: JobContext, go_on: Arc<Notify>) -> JobResult {
        let half = self.rows / 2;
        // Neither waits nor fails: it writes to memory, and the worker to Postgres.
        context.log(format!("row {half} has no price: left out"));
        context.progress(0.5);
        go_on.notified().await;
        context.log("the rest was well");
        context.progress(1.0);
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let go_on = Arc::new(Notify::new());
    let worker = sandbox.worker(Registry::new().register::<Import>(), &go_on).await?;
    let id = sandbox.enqueue(&Import { rows: 5_000 }).await?;
    let seen = async || Ok(admin::get(&sandbox.queue, id).await?.progress == Some(0.5));
    sandbox.until("half of it is done", seen).await?;
    let detail = admin::detail(&sandbox.queue, id).await?;
    ensure!(detail.log.len() == 1);
    println!("while it is {}: 50 %, {}", detail.job.state, detail.log[0].line);

    go_on.notify_one();
    sandbox.ended(id).await?;
    worker.drain().await;
    let detail = admin::detail(&sandbox.queue, id).await?;
    ensure!(detail.job.progress == Some(1.0) && detail.log.len() == 2);
    println!("{}: 100 %, {}", detail.job.state, detail.log[1].line);
    Ok(())
}
