//! Our own tables, where a lost job left something half done: exports, steps of a batch, reservations, rejections.

use labelfleet::{
    domain::JobRef,
    ops::{
        assign::resume_pending,
        assignments::close_what_is_over,
        jobs::{AssignBatch, ExportAssignment, RouteRejection},
        reconcile::{Drift, DriftKind},
    },
    store::{closing, reconciling, rejections},
};

use crate::Deps;

pub async fn settle(deps: &Deps, job: JobRef) -> anyhow::Result<Vec<Drift>> {
    let mut drift = Vec::new();
    reservations(deps, job, &mut drift).await?;
    exports(deps, &mut drift).await?;
    steps(deps, &mut drift).await?;
    unrouted(deps, &mut drift).await?;
    // No drift: there may be no work for them.
    let mut db = deps.pool.acquire().await?;
    let without_work = reconciling::without_work(&mut db).await?;
    drop(db);
    for annotator_id in without_work {
        let mut tx = deps.queue.begin().await?;
        tx.enqueue_unless_open(&AssignBatch { annotator_id }).await?;
        tx.commit().await?;
    }
    Ok(drift)
}

async fn reservations(deps: &Deps, job: JobRef, drift: &mut Vec<Drift>) -> anyhow::Result<()> {
    let mut db = deps.pool.acquire().await?;
    let over = reconciling::over_with_open_tasks(&mut db).await?;
    drop(db);
    for id in over {
        let mut tx = deps.queue.begin().await?;
        let count = closing::release_stranded(&mut tx, id, job).await?;
        tx.commit().await?;
        if count > 0 {
            let count = u32::try_from(count)?;
            drift.push(Drift::of_batch(DriftKind::ReservationStranded, None, id, count));
        }
    }
    let mut db = deps.pool.acquire().await?;
    let freed = reconciling::free_tasks_of_no_batch(&mut db).await?;
    if freed > 0 {
        let kind = DriftKind::ReservationStranded;
        drift.push(Drift { kind, annotator_id: None, assignment_id: None, count: u32::try_from(freed)? });
    }
    Ok(())
}

async fn exports(deps: &Deps, drift: &mut Vec<Drift>) -> anyhow::Result<()> {
    let mut db = deps.pool.acquire().await?;
    let unexported = reconciling::unexported(&mut db).await?;
    drop(db);
    for assignment_id in unexported {
        let mut tx = deps.queue.begin().await?;
        // None goes on just now: one that did when the list was made has ended since, and may have done it. One of which a
        // file could not be written begins again.
        if tx.bring_on(&ExportAssignment { assignment_id }).await?
            && reconciling::is_unexported(&mut tx, assignment_id).await?
        {
            tx.commit().await?;
            drift.push(Drift::of_batch(DriftKind::ExportMissing, None, assignment_id, 1));
        }
    }
    Ok(())
}

/// Batches on their way into Label Studio, and projects on their way out.
async fn steps(deps: &Deps, drift: &mut Vec<Drift>) -> anyhow::Result<()> {
    let mut db = deps.pool.acquire().await?;
    let annotators = reconciling::with_unfinished_steps(&mut db).await?;
    drop(db);
    for annotator in annotators {
        let mut tx = deps.queue.begin().await?;
        let stuck = resume_pending(&mut tx, annotator).await?;
        let left_open = close_what_is_over(&mut tx, annotator).await?;
        tx.commit().await?;
        let of = |kind| move |id| Drift::of_batch(kind, Some(annotator), id, 1);
        drift.extend(stuck.into_iter().map(of(DriftKind::BatchStuck)));
        drift.extend(left_open.into_iter().map(of(DriftKind::ProjectLeftOpen)));
    }
    Ok(())
}

async fn unrouted(deps: &Deps, drift: &mut Vec<Drift>) -> anyhow::Result<()> {
    let mut db = deps.pool.acquire().await?;
    let waiting = reconciling::unrouted(&mut db).await?;
    drop(db);
    for (rejection_id, batch) in waiting {
        let mut tx = deps.queue.begin().await?;
        // Looked at again when no job is open: the one that was may have routed it.
        if tx.enqueue_unless_open(&RouteRejection { rejection_id }).await?
            && rejections::pending(&mut tx, rejection_id).await?.is_some()
        {
            tx.commit().await?;
            drift.push(Drift::of_batch(DriftKind::RejectionPending, None, batch, 1));
        }
    }
    Ok(())
}
