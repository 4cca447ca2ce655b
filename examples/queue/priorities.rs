//! Levels: a job of a higher one starts first, whenever it was enqueued. So that none starves, one turn of 16 begins at a
//! lower level.

use std::sync::Arc;

use anyhow::ensure;
use labelfleet::queue::{JobArgs, JobContext, JobResult, Priority, Registry, Run, Worker, WorkerOptions};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Notes, Sandbox};

#[derive(Serialize, Deserialize)]
struct Newsletter;

impl JobArgs for Newsletter {
    type Output = ();

    const KIND: &'static str = "newsletter";
    const QUEUE: &'static str = "mail";
    const PRIORITY: Priority = Priority::Bulk;
}

impl Run<Notes> for Newsletter {
    async fn run(self, _: JobContext, notes: Arc<Notes>) -> JobResult {
        notes.add("newsletter");
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct PasswordReset;

impl JobArgs for PasswordReset {
    type Output = ();

    const KIND: &'static str = "password_reset";
    const QUEUE: &'static str = "mail";
    const PRIORITY: Priority = Priority::Urgent;
}

impl Run<Notes> for PasswordReset {
    async fn run(self, _: JobContext, notes: Arc<Notes>) -> JobResult {
        notes.add("password reset");
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let mut tx = sandbox.queue.begin().await?;
    tx.enqueue_many(&std::array::from_fn::<_, 100, _>(|_| Newsletter)).await?;
    tx.enqueue_many(&[PasswordReset, PasswordReset, PasswordReset]).await?;
    tx.commit().await?;
    println!("enqueued 100 newsletters, then 3 password resets");

    let notes = Arc::new(Notes::default());
    let registry = Registry::new().register::<Newsletter>().register::<PasswordReset>();
    // One at a time, so that there is an order to see.
    let options = WorkerOptions { concurrency: 1, ..sandbox.options() };
    let worker = Worker::start(options, registry, notes.clone()).await?;
    sandbox.until("all ran", async || Ok(notes.all().len() == 103)).await?;
    worker.drain().await;

    let last = notes.all().iter().rposition(|note| note == "password reset").unwrap_or(usize::MAX);
    ensure!(last < 10, "a password reset ran as number {}", last + 1);
    println!("the last password reset ran as number {} of 103", last + 1);
    Ok(())
}
