//! Scores the newest answer to a gold task. Runs again whenever the answer changes.

use std::sync::Arc;

use anyhow::Context;
use labelfleet::{
    domain::{JobRef, interface, scoring},
    ops::{export, jobs::ScoreGold},
    queue::{JobContext, JobResult, OrDiscard, OrRetry, Run},
    store,
};
use serde_json::{Value, json};

use crate::Deps;

impl Run<Deps> for ScoreGold {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult {
        let mut tx = deps.queue.begin().await.or_retry()?;
        let answer = store::gold::answer(&mut tx, self.assignment_task_id).await.or_retry()?;
        let answer = answer.context("no gold task stands at this place of a batch").or_discard()?;
        let (task, job) = (self.assignment_task_id, JobRef(context.id.0));
        match answer.given {
            Some(given) => {
                let interface = interface::read(&answer.config_xml);
                let score = scoring::score(&interface, regions(&answer.expected), regions(&given));
                let details = serde_json::to_value(&score.details).or_discard()?;
                store::gold::set_score(&mut tx, task, Some(score.score), &details, job).await.or_retry()?;
            }
            None if answer.is_skipped => {
                store::gold::set_score(&mut tx, task, None, &json!({}), job).await.or_retry()?;
            }
            None => store::gold::remove_score(&mut tx, task).await.or_retry()?,
        }
        tx.commit().await.or_retry()?;
        // A transaction of its own, since whoever changes a batch and its tasks locks the batch first. Run again after a
        // crash between the two, it comes by here again.
        let mut tx = deps.queue.begin().await.or_retry()?;
        export::again(&mut tx, task).await.or_retry()?;
        context.finish_in::<Self>(&mut tx, &()).await.or_retry()?;
        tx.commit().await.or_retry()?;
        Ok(())
    }
}

fn regions(result: &Value) -> &[Value] {
    result.as_array().map_or(&[], Vec::as_slice)
}
