//! Mixes gold tasks into a reserved batch, where nobody can tell them from the rest.

use std::sync::Arc;

use labelfleet::{
    domain::{
        JobRef,
        batch::{choose_gold, gold_count, gold_positions},
    },
    ops::jobs::{InjectGold, PublishAssignment},
    queue::{JobContext, JobResult, OrRetry, Run, Tx},
    store,
};
use serde_json::Value;

use crate::Deps;

impl Run<Deps> for InjectGold {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult {
        let mut tx = deps.queue.begin().await.or_retry()?;
        mix_in(&mut tx, self, JobRef(context.id.0)).await.or_retry()?;
        tx.enqueue(&PublishAssignment { assignment_id: self.assignment_id }).await.or_retry()?;
        context.finish_in(&mut tx, Value::Null).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(Value::Null)
    }
}

async fn mix_in(tx: &mut Tx, args: InjectGold, job: JobRef) -> sqlx::Result<()> {
    // None: the assignment has its gold, or is over.
    let Some(plan) = store::assignments::gold_plan(tx, args.assignment_id).await? else { return Ok(()) };
    let tasks = usize::try_from(plan.task_count).unwrap_or(0);
    let wanted = gold_count(tasks, plan.rate);
    let candidates = match plan.labeling_config_id {
        Some(config) if wanted > 0 => store::gold::candidates(tx, config, plan.annotator_id).await?,
        _ => Vec::new(),
    };
    let (gold, positions) = {
        let mut random = rand::rng();
        let gold = choose_gold(candidates, wanted, &mut random);
        let positions = gold_positions(tasks + gold.len(), gold.len(), &mut random);
        (gold, positions)
    };
    let others = (0..tasks + gold.len()).filter(|position| positions.binary_search(position).is_err());
    let (others, positions) = (integers(others), integers(positions.iter().copied()));
    store::assignments::set_gold(tx, args.assignment_id, &gold, &positions, &others, job).await?;
    Ok(())
}

/// A batch has at most 20,000 places, so each position fits.
fn integers(positions: impl Iterator<Item = usize>) -> Vec<i32> {
    positions.filter_map(|position| i32::try_from(position).ok()).collect()
}
