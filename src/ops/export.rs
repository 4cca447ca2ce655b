//! Exporting an assignment once more.

use super::{Result, jobs::ExportAssignment};
use crate::{domain::AssignmentTaskId, queue::Tx, store};

/// Gold that is scored after its batch was completed may have missed the quality report.
pub async fn again(tx: &mut Tx, place: AssignmentTaskId) -> Result<()> {
    if let Some(assignment_id) = store::assignments::touch_completed_of(tx, place).await? {
        tx.enqueue(&ExportAssignment { assignment_id }).await?;
    }
    Ok(())
}
