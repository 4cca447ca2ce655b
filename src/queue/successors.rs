//! What follows at once when a worker's job ends: the next of its concurrency key, and jobs that waited for it. Best
//! effort: the leader finds what is missed here.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use super::{
    client::Client,
    dispatch::{DueJob, lanes},
    job::JobId,
    keyed, waits,
};

/// A job that ended, and for which something waits.
#[derive(Debug)]
pub(super) struct Ended {
    pub concurrency_key: Option<String>,
    pub awaited: Option<JobId>,
}

/// Of one queue's jobs.
pub(super) struct Successors {
    pub client: Client,
    pub queue: &'static str,
    pub ended: mpsc::UnboundedReceiver<Ended>,
}

impl Successors {
    /// Until the worker holds no more jobs.
    pub async fn run(mut self) {
        let mut ended = Vec::new();
        while self.ended.recv_many(&mut ended, 1_000).await > 0 {
            let (mut keys, mut awaited) = (BTreeSet::new(), Vec::new());
            for one in ended.drain(..) {
                keys.extend(one.concurrency_key);
                awaited.extend(one.awaited.map(|id| id.0));
            }
            match self.find(keys.into_iter().collect(), &awaited).await {
                Ok(jobs) => lanes(jobs).into_iter().for_each(|(lane, ids)| self.client.dispatch(lane, ids)),
                Err(error) => {
                    tracing::debug!(%error, queue = self.queue, "what may start next can't be looked up")
                }
            }
        }
    }

    async fn find(&self, keys: Vec<String>, awaited: &[i64]) -> sqlx::Result<Vec<DueJob>> {
        let mut jobs = Vec::new();
        if !keys.is_empty() {
            jobs = keyed::startable(self.client.pool(), self.queue, Some(&keys)).await?;
        }
        if !awaited.is_empty() {
            jobs.extend(waits::settle(&self.client, Some(awaited)).await?);
        }
        Ok(jobs)
    }
}
