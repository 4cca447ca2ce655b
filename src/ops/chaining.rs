//! What follows in other workflows when a batch is completed, or something in a completed one changes.

use super::{Result, assign::offer};
use crate::{
    domain::{AssignmentId, review::is_review},
    lock::{Key, lock_in},
    queue::Tx,
    store::chaining::{self, Rule},
};

/// Brings every workflow that goes on with a completed batch up to date; returns how many tasks became available.
pub async fn go_on(tx: &mut Tx, batch: AssignmentId) -> Result<u64> {
    let targets = chaining::targets(tx, batch).await?;
    if targets.is_empty() {
        return Ok(0);
    }
    let only_accepted = chaining::source_config(tx, batch).await?.is_some_and(|xml| is_review(&xml));
    let mut made = 0;
    for target in targets {
        // By ascending ids, so that two batches don't wait for each other.
        let lock = lock_in(tx, Key::Workflow(target.id.0)).await?;
        let rule = Rule { only_accepted, is_review: target.config_xml.as_deref().is_some_and(is_review) };
        made += chaining::pull(tx, &lock, target.id, batch, rule).await?;
        offer(tx, target.id).await?;
    }
    Ok(made)
}
