//! What follows when a reviewer decides, decides otherwise, or takes it back.
//!
//! The decision is kept in the transaction that brought it; counters and routing follow by jobs. A changed review is
//! followed as long as nothing came of it: once the rework that a rejection called for was handed out, the rejection
//! stands, whatever the review says later; the rework is reviewed anyway. An archived rejection that is taken back
//! stays in the archive.

use super::{
    Result,
    jobs::{CountReview, RouteRejection},
};
use crate::{
    domain::{AssignmentTaskId, RejectionStatus, ReviewDecision, review},
    queue::Tx,
    store::reviews,
};

/// Brings the decision of a place to what its standing annotation says. The caller holds the batch's row lock.
pub(super) async fn record(tx: &mut Tx, place: AssignmentTaskId) -> Result<()> {
    let standing = reviews::standing(tx, place).await?;
    let review = standing.result.as_ref().and_then(review::read);
    let decision = review.as_ref().map(|review| review.decision);
    if decision.is_none() && standing.result.as_ref().is_some_and(review::is_told_by) {
        tracing::warn!(assignment_task = %place, "a review_decision is neither an accept nor a reject");
    }
    let known = reviews::rejection(tx, place).await?;
    let known = known.filter(|known| known.status != RejectionStatus::Withdrawn);
    match (review, standing.annotation_id) {
        (Some(review), Some(annotation)) if review.decision == ReviewDecision::Reject => {
            if let Some(known) = known
                && reviews::is_in_hand(tx, known.id).await?
            {
                return Ok(());
            }
            let rejection = reviews::reject(tx, place, annotation, review.reason.as_deref()).await?;
            if let Some(rejection_id) = rejection {
                tx.enqueue(&RouteRejection { rejection_id }).await?;
            }
        }
        _ => {
            if let Some(known) = known
                && !reviews::withdraw(tx, known.id).await?
            {
                tracing::info!(rejection = %known.id, "a review was changed after its rework was handed out");
                return Ok(());
            }
        }
    }
    if standing.decision != decision {
        reviews::decide(tx, place, decision).await?;
        tx.enqueue(&CountReview { assignment_task_id: place }).await?;
    }
    Ok(())
}
