//! Brings the totals that monitoring and the audit log read to what their events say. They are kept as events come in, so it finds
//! nothing to do but after an upgrade, whose old processes did not count yet, or after a restore.
//!
//! One short transaction an annotator for the hours, one for what is counted once for all. Nobody waits for it: the difference is added to whatever is counted meanwhile.

use std::sync::Arc;

use labelfleet::{
    lock::{Key, lock_in},
    ops::{jobs::CorrectRollups, outputs::Corrected},
    queue::{JobContext, JobResult, OrRetry, Run},
    store::rollups,
};

use crate::Deps;

impl Run<Deps> for CorrectRollups {
    async fn run(self, _: JobContext, deps: Arc<Deps>) -> JobResult<Corrected> {
        let annotators = rollups::annotators(&mut *deps.pool.acquire().await.or_retry()?).await.or_retry()?;
        let mut hours = 0;
        for annotator in annotators {
            let mut tx = deps.queue.begin().await.or_retry()?;
            let lock = lock_in(&mut tx, Key::Rollups).await.or_retry()?;
            hours += rollups::correct_hours(&mut tx, &lock, annotator).await.or_retry()?;
            tx.commit().await.or_retry()?;
        }
        let mut tx = deps.queue.begin().await.or_retry()?;
        let lock = lock_in(&mut tx, Key::Rollups).await.or_retry()?;
        let events = rollups::correct_events(&mut tx, &lock).await.or_retry()?;
        tx.commit().await.or_retry()?;
        let mut tx = deps.queue.begin().await.or_retry()?;
        let lock = lock_in(&mut tx, Key::Rollups).await.or_retry()?;
        let gold = rollups::correct_gold(&mut tx, &lock).await.or_retry()?;
        let assignments = rollups::correct_assignments(&mut tx, &lock).await.or_retry()?;
        let rejections = rollups::correct_rejections(&mut tx, &lock).await.or_retry()?;
        tx.commit().await.or_retry()?;
        if hours + events + gold + assignments + rejections > 0 {
            tracing::warn!(
                hours,
                events,
                gold,
                assignments,
                rejections,
                "totals were wrong and are corrected"
            );
        }
        Ok(Corrected { hours, events, gold, assignments, rejections })
    }
}
