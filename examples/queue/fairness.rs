//! Flows take turns: ten jobs of one customer don't wait for a thousand of another. By default the kind is the flow.

use std::sync::Arc;

use anyhow::ensure;
use labelfleet::queue::{JobArgs, JobContext, JobResult, Registry, Run, Worker, WorkerOptions};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Notes, Sandbox};

#[derive(Serialize, Deserialize)]
struct Invoice {
    customer: String,
}

impl JobArgs for Invoice {
    type Output = ();

    const KIND: &'static str = "invoice";
    const QUEUE: &'static str = "invoices";

    fn flow(&self) -> Option<String> {
        Some(self.customer.clone())
    }
}

impl Run<Notes> for Invoice {
    async fn run(self, _: JobContext, notes: Arc<Notes>) -> JobResult {
        notes.add(self.customer);
        Ok(())
    }
}

fn of(customer: &str, count: usize) -> Vec<Invoice> {
    (0..count).map(|_| Invoice { customer: customer.into() }).collect()
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let mut tx = sandbox.queue.begin().await?;
    tx.enqueue_many(&of("Large Ltd", 1_000)).await?;
    tx.enqueue_many(&of("Small & Sons", 10)).await?;
    tx.commit().await?;
    println!("enqueued 1,000 invoices of Large Ltd, then 10 of Small & Sons");

    let notes = Arc::new(Notes::default());
    // One at a time, so that there is an order to see.
    let options = WorkerOptions { concurrency: 1, ..sandbox.options() };
    let worker = Worker::start(options, Registry::new().register::<Invoice>(), notes.clone()).await?;
    let small = || notes.all().iter().filter(|customer| *customer == "Small & Sons").count();
    sandbox.until("the small customer's are done", async || Ok(small() == 10)).await?;
    worker.drain().await;

    let last = notes.all().iter().rposition(|customer| customer == "Small & Sons").unwrap_or(usize::MAX);
    ensure!(last < 25, "the last ran as number {}", last + 1);
    println!("the last of Small & Sons ran as number {} of 1,010", last + 1);
    Ok(())
}
