//! Mixes gold tasks into a reserved batch, where nobody can tell them from the rest. The batch's publishing waits for it.

use std::sync::Arc;

use labelfleet::{
    domain::{
        JobRef,
        batch::{gold_count, gold_positions},
    },
    lock::{Key, lock_in},
    ops::jobs::InjectGold,
    queue::{JobContext, JobResult, OrRetry, Run, Tx},
    store,
};

use crate::Deps;

impl Run<Deps> for InjectGold {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult {
        let mut tx = deps.queue.begin().await.or_retry()?;
        mix_in(&mut tx, self, JobRef(context.id.0)).await.or_retry()?;
        context.finish_in::<Self>(&mut tx, &()).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(())
    }
}

async fn mix_in(tx: &mut Tx, args: InjectGold, job: JobRef) -> sqlx::Result<()> {
    let Some(assignment) = store::assignments::get(tx, args.assignment_id).await? else { return Ok(()) };
    // Another batch of theirs must not draw the same gold now.
    let lock = lock_in(tx, Key::AssignTo(assignment.annotator_id.0)).await?;
    // None: the assignment has its gold, or is over.
    let Some(plan) = store::assignments::gold_plan(tx, args.assignment_id).await? else { return Ok(()) };
    let tasks = usize::try_from(plan.task_count).unwrap_or(0);
    let (wanted, seed) = (gold_count(tasks, plan.rate, rand::random()), rand::random());
    let gold = match (plan.labeling_config_id, i64::try_from(wanted)) {
        (Some(config), Ok(wanted)) if wanted > 0 => {
            store::gold::draw(tx, &lock, config, plan.annotator_id, wanted, seed).await?
        }
        _ => Vec::new(),
    };
    let positions = gold_positions(tasks + gold.len(), gold.len(), &mut rand::rng());
    let others = (0..tasks + gold.len()).filter(|position| positions.binary_search(position).is_err());
    let (others, positions) = (integers(others), integers(positions.iter().copied()));
    store::assignments::set_gold(tx, args.assignment_id, &gold, &positions, &others, job).await?;
    Ok(())
}

/// A batch has at most 20,000 places, so each position fits.
fn integers(positions: impl Iterator<Item = usize>) -> Vec<i32> {
    positions.filter_map(|position| i32::try_from(position).ok()).collect()
}
