//! Unique keys: one job of a kind and key while it is open, or for a time. The second enqueue returns the first one's id,
//! also when two race for it.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use labelfleet::queue::{JobArgs, JobContext, JobResult, Registry, Run, admin};
use serde::{Deserialize, Serialize};

use crate::sandbox::{Notes, Sandbox};

/// One is enough while it waits or runs: it looks at everything.
#[derive(Serialize, Deserialize)]
struct Reindex {
    shop: u32,
}

impl JobArgs for Reindex {
    type Output = ();

    const KIND: &'static str = "reindex";
    const QUEUE: &'static str = "search";

    fn unique_key(&self) -> Option<String> {
        Some(self.shop.to_string())
    }
}

/// At most one a day, also after it was sent.
#[derive(Serialize, Deserialize)]
struct Reminder {
    user: u32,
}

impl JobArgs for Reminder {
    type Output = ();

    const KIND: &'static str = "reminder";
    const QUEUE: &'static str = "mail";
    const UNIQUE_FOR: Option<Duration> = Some(Duration::from_secs(24 * 60 * 60));

    fn unique_key(&self) -> Option<String> {
        Some(self.user.to_string())
    }
}

impl Run<Notes> for Reindex {
    async fn run(self, _: JobContext, _: Arc<Notes>) -> JobResult {
        Ok(())
    }
}

impl Run<Notes> for Reminder {
    async fn run(self, _: JobContext, _: Arc<Notes>) -> JobResult {
        Ok(())
    }
}

pub async fn run(sandbox: &Sandbox) -> anyhow::Result<()> {
    let queue = &sandbox.queue;
    let (one, other) = (Reindex { shop: 7 }, Reindex { shop: 7 });
    let (one, other) = tokio::try_join!(queue.enqueue(&one), queue.enqueue(&other))?;
    ensure!(one.id == other.id && one.is_new != other.is_new);
    println!("reindex: two callers at once get one job");
    let reminder = queue.enqueue(&Reminder { user: 1 }).await?;

    let registry = Registry::new().register::<Reindex>().register::<Reminder>();
    let worker = sandbox.worker(registry, &Arc::default()).await?;
    sandbox.ended(one.id).await?;
    sandbox.ended(reminder.id).await?;
    ensure!(queue.enqueue(&Reindex { shop: 7 }).await?.is_new);
    println!("reindex: a new job, now that the first has ended");

    let again = queue.enqueue(&Reminder { user: 1 }).await?;
    ensure!(!again.is_new && again.id == reminder.id);
    let mut tx = queue.begin().await?;
    let new = tx.enqueue_many(&[1, 2, 3, 2].map(|user| Reminder { user })).await?;
    tx.commit().await?;
    ensure!(new.len() == 2, "{new:?}");
    println!("reminder: still the first one's id, and of four at once only the two that are new");

    admin::delete(&sandbox.queue, reminder.id).await?;
    ensure!(queue.enqueue(&Reminder { user: 1 }).await?.is_new);
    worker.drain().await;
    println!("reminder: a new job, since an operator deleted the first");
    Ok(())
}
