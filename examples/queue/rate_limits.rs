//! Rates: one job of a key starts an interval, after a burst, on all workers together. One that comes too early is
//! `scheduled` for when its turn will be; it takes no slot meanwhile, and no attempt.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::ensure;
use labelfleet::queue::{JobArgs, JobContext, JobResult, Rate, Registry, Run};
use serde::{Deserialize, Serialize};

use crate::sandbox::Sandbox;

const INTERVAL: Duration = Duration::from_millis(100);

/// The provider takes ten a second, and three at once after a rest.
#[derive(Serialize, Deserialize)]
struct TextMessage;

impl JobArgs for TextMessage {
    type Output = ();

    const KIND: &'static str = "text_message";
    const QUEUE: &'static str = "texts";

    fn rate(&self) -> Option<Rate> {
        Some(Rate { key: "text provider".into(), interval: INTERVAL, burst: 3 })
    }
}

type Starts = Mutex<Vec<Instant>>;

impl Run<Starts> for TextMessage {
    async fn run(self, _: JobContext, starts: Arc<Starts>) -> JobResult {
        starts.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let starts = Arc::new(Starts::default());
    let worker = sandbox.worker(Registry::new().register::<TextMessage>(), &starts).await?;
    let mut tx = sandbox.queue.begin().await?;
    tx.enqueue_many(&std::array::from_fn::<_, 10, _>(|_| TextMessage)).await?;
    tx.commit().await?;
    println!("enqueued 10 text messages at once");

    let all = || starts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    sandbox.until("all ran", async || Ok(all().len() == 10)).await?;
    worker.drain().await;
    let starts = all();
    let took =
        starts.iter().max().zip(starts.iter().min()).map_or(Duration::ZERO, |(last, first)| *last - *first);
    // Seven intervals, less what the first was late for want of a quicker machine.
    ensure!(took >= 4 * INTERVAL, "all within {took:?}");
    println!(
        "3 at once, then one each {INTERVAL:?}: the last came {:.1} s after the first",
        took.as_secs_f64()
    );
    Ok(())
}
