//! Concurrency keys: never more than so many jobs of a key run at once, on all workers together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use labelfleet::queue::{Concurrency, JobArgs, JobContext, JobResult, Registry, Run};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

/// The customer's server bears two at once.
#[derive(Serialize, Deserialize)]
struct Crawl {
    customer: String,
}

impl JobArgs for Crawl {
    type Output = ();

    const KIND: &'static str = "crawl";
    const QUEUE: &'static str = "crawls";

    fn concurrency(&self) -> Option<Concurrency> {
        Some(Concurrency { key: format!("crawl {}", self.customer), limit: 2 })
    }
}

#[derive(Default)]
struct Running {
    now: AtomicUsize,
    most: AtomicUsize,
    ended: AtomicUsize,
}

impl Run<Running> for Crawl {
    async fn run(self, _: JobContext, running: Arc<Running>) -> JobResult {
        let now = running.now.fetch_add(1, Ordering::SeqCst) + 1;
        running.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(30)).await;
        running.now.fetch_sub(1, Ordering::SeqCst);
        running.ended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let running = Arc::new(Running::default());
    let first = sandbox.worker(Registry::new().register::<Crawl>(), &running).await?;
    let second = sandbox.worker(Registry::new().register::<Crawl>(), &running).await?;
    println!("two workers, each with room for 200 jobs");

    let mut tx = sandbox.queue.begin().await?;
    tx.enqueue_many(&std::array::from_fn::<_, 12, _>(|_| Crawl { customer: "Example Ltd".into() })).await?;
    tx.commit().await?;
    sandbox.until("all ran", async || Ok(running.ended.load(Ordering::SeqCst) == 12)).await?;
    first.drain().await;
    second.drain().await;

    let most = running.most.load(Ordering::SeqCst);
    ensure!(most == 2, "{most} ran at once");
    println!("12 crawls of one customer: {most} at once, never more");
    Ok(())
}
