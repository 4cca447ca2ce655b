//! Cancelling assignments.

use super::{Error, Result};
use crate::{
    domain::{AnnotatorId, AssignmentId},
    lock::{Key, lock_in},
    queue::{self, Tx},
    store::assignment_views,
};

pub async fn cancel(queue: &queue::Client, id: AssignmentId) -> Result<()> {
    let mut tx = queue.begin().await?;
    if !assignment_views::cancel(&mut tx, id).await? {
        let assignment = assignment_views::get(&mut tx, id).await?.ok_or(Error::NotFound("Assignment"))?;
        return Err(Error::Conflict(format!("Cannot cancel assignment with status: {}", assignment.status)));
    }
    Ok(tx.commit().await?)
}

/// Cancels whatever an annotator has in hand.
pub(super) async fn cancel_open(tx: &mut Tx, annotator: AnnotatorId) -> Result<()> {
    // Several batches are locked here: no event locks them in another order, and nothing is assigned meanwhile.
    lock_in(tx, Key::Events(annotator.0)).await?;
    lock_in(tx, Key::AssignTo(annotator.0)).await?;
    for id in assignment_views::open_of(tx, annotator).await? {
        if !assignment_views::cancel(tx, id).await? {
            return Err(Error::Conflict(format!("Assignment {id} was just finished; try again")));
        }
    }
    Ok(())
}
