//! Batches: a job that runs when all of a batch are done, and one for its first failure.

use std::sync::Arc;

use anyhow::{anyhow, ensure};
use labelfleet::queue::{JobArgs, JobContext, JobError, JobResult, JobState, Registry, Run};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Notes, Sandbox};

#[derive(Clone, Serialize, Deserialize)]
struct Thumbnail {
    image: String,
}

impl JobArgs for Thumbnail {
    type Output = ();

    const KIND: &'static str = "thumbnail";
    const QUEUE: &'static str = "gallery";

    fn unique_key(&self) -> Option<String> {
        Some(self.image.clone())
    }
}

impl Run<Notes> for Thumbnail {
    async fn run(self, _: JobContext, notes: Arc<Notes>) -> JobResult {
        if self.image.ends_with(".txt") {
            return Err(JobError::Discard(anyhow!("{} is no image", self.image)));
        }
        notes.add(self.image);
        Ok(())
    }
}

/// What follows from a batch.
#[derive(Serialize, Deserialize)]
enum Then {
    Publish,
    Complain,
}

impl JobArgs for Then {
    type Output = ();

    const KIND: &'static str = "then";
    const QUEUE: &'static str = "gallery";
}

impl Run<Notes> for Then {
    async fn run(self, _: JobContext, notes: Arc<Notes>) -> JobResult {
        notes.add(if matches!(self, Self::Publish) { "published" } else { "complained" });
        Ok(())
    }
}

fn thumbnail(image: &str) -> Thumbnail {
    Thumbnail { image: image.into() }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    // Somebody else has asked for one of them before.
    sandbox.enqueue(&thumbnail("c.png")).await?;
    let mut tx = sandbox.queue.begin().await?;
    let good = tx.enqueue_batch(&["a.png", "b.png", "c.png"].map(thumbnail)).await?;
    ensure!(good.jobs.len() == 2 && good.others.len() == 1);
    let published = tx.enqueue_when_done(good.id, &Then::Publish).await?.id;
    let quiet = tx.enqueue_on_failure(good.id, &Then::Complain).await?.id;

    let bad = tx.enqueue_batch(&["d.png", "e.txt"].map(thumbnail)).await?;
    let waiting = tx.enqueue_when_done(bad.id, &Then::Publish).await?.id;
    let complained = tx.enqueue_on_failure(bad.id, &Then::Complain).await?.id;
    tx.commit().await?;

    let notes = Arc::new(Notes::default());
    let worker = sandbox.worker(Registry::new().register::<Thumbnail>().register::<Then>(), &notes).await?;
    sandbox.ended(published).await?;
    let before: Vec<_> = notes.all().into_iter().take_while(|note| note != "published").collect();
    ensure!(
        ["a.png", "b.png", "c.png"].iter().all(|image| before.iter().any(|note| note == image)),
        "{before:?}"
    );
    println!("published after all three images, one of them another's job");
    ensure!(sandbox.ended(quiet).await?.state == JobState::Cancelled);
    println!("nothing failed, so nobody complains");

    ensure!(sandbox.ended(complained).await?.state == JobState::Completed);
    ensure!(labelfleet::queue::admin::get(&sandbox.queue, waiting).await?.state == JobState::Scheduled);
    worker.drain().await;
    println!("the other batch: complained of e.txt, and its end waits for the retry");
    Ok(())
}
