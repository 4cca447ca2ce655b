//! Many jobs by one call: one statement and one commit, however many they are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::ensure;
use labelfleet::queue::{JobArgs, JobContext, JobResult, Priority, Registry, Run};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

const COUNT: usize = 10_000;

#[derive(Serialize, Deserialize)]
struct Resize {
    image: usize,
}

impl JobArgs for Resize {
    type Output = ();

    const KIND: &'static str = "resize";
    const QUEUE: &'static str = "images";
    const PRIORITY: Priority = Priority::Bulk;
}

impl Run<AtomicUsize> for Resize {
    async fn run(self, _: JobContext, done: Arc<AtomicUsize>) -> JobResult {
        done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let images: Vec<Resize> = (0..COUNT).map(|image| Resize { image }).collect();
    let started = Instant::now();
    let mut tx = sandbox.queue.begin().await?;
    let new = tx.enqueue_many(&images).await?;
    tx.commit().await?;
    ensure!(new.len() == COUNT);
    println!("{COUNT} jobs are enqueued and committed after {:.2} s", started.elapsed().as_secs_f64());

    let done = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let worker = sandbox.worker(Registry::new().register::<Resize>(), &done).await?;
    sandbox.until("all ran", async || Ok(done.load(Ordering::Relaxed) >= COUNT)).await?;
    println!("all of them have run {:.2} s later", started.elapsed().as_secs_f64());
    worker.drain().await;
    let completed: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE state = 'completed'")
        .fetch_one(&sandbox.pool)
        .await?;
    ensure!(usize::try_from(completed)? == COUNT && done.load(Ordering::Relaxed) == COUNT);
    println!("{completed} jobs are completed, each ran once");
    Ok(())
}
