//! What runs, against what should: instances on their way somewhere with nothing under way, and those that nobody owns
//! or wants. Everything that the fleet starts carries its mark, so what it lists is its own.

use std::{collections::BTreeSet, time::Duration};

use labelfleet::{
    domain::{AnnotatorId, AnnotatorStatus},
    lock::{Key, LockError, Session},
    ops::{
        jobs::{ProvisionInstance, RemoveInstance, StopInstance},
        reconcile::{Drift, DriftKind},
    },
    store::{
        instances,
        reconciling::{self, Unsettled},
    },
};
use serde_json::json;

use crate::Deps;

/// Longer than all attempts of provisioning take together.
const OVERDUE: Duration = Duration::from_secs(3600);

pub async fn settle(deps: &Deps) -> anyhow::Result<Vec<Drift>> {
    let mut drift = Vec::new();
    let mut db = deps.pool.acquire().await?;
    let unsettled = reconciling::unsettled(&mut db, OVERDUE).await?;
    drop(db);
    for instance in unsettled {
        drift.extend(on_its_way(deps, &instance).await?);
    }
    let reported: BTreeSet<_> = drift.iter().filter_map(|drift| drift.annotator_id).collect();
    for instance in deps.runtime.list().await? {
        let id = instance.annotator;
        if reported.contains(&id) {
            continue;
        }
        let mut tx = deps.queue.begin().await?;
        match instances::status(&mut tx, id).await? {
            None | Some(AnnotatorStatus::Deleted) => {
                if tx.enqueue_unless_open(&RemoveInstance { annotator_id: id }).await? {
                    drift.push(Drift::of_annotator(DriftKind::InstanceUnowned, id));
                }
                tx.commit().await?;
            }
            Some(AnnotatorStatus::Created | AnnotatorStatus::Stopped | AnnotatorStatus::Error)
                if instance.running =>
            {
                drop(tx);
                drift.extend(stop_unwanted(deps, id).await?);
            }
            _ => {}
        }
    }
    Ok(drift)
}

/// The job that would bring it on was lost, or the engine has given it up.
async fn on_its_way(deps: &Deps, instance: &Unsettled) -> anyhow::Result<Option<Drift>> {
    let annotator_id = instance.id;
    if instance.status == AnnotatorStatus::Starting && instance.is_overdue {
        return give_up_start(deps, annotator_id).await;
    }
    let mut tx = deps.queue.begin().await?;
    let (kind, is_new) = match instance.status {
        AnnotatorStatus::Starting => {
            (DriftKind::StartStuck, tx.enqueue_unless_open(&ProvisionInstance { annotator_id }).await?)
        }
        AnnotatorStatus::Stopping => {
            (DriftKind::StopStuck, tx.enqueue_unless_open(&StopInstance { annotator_id }).await?)
        }
        _ => (DriftKind::InstanceUnowned, tx.enqueue_unless_open(&RemoveInstance { annotator_id }).await?),
    };
    tx.commit().await?;
    Ok(is_new.then(|| Drift::of_annotator(kind, annotator_id)))
}

/// starting -> error, unless a job works on it this moment.
async fn give_up_start(deps: &Deps, id: AnnotatorId) -> anyhow::Result<Option<Drift>> {
    const REASON: &str = "it was starting for more than an hour and nothing brought it on: start it again";
    let Some(lock) = instance_lock(deps, id).await? else { return Ok(None) };
    let mut tx = deps.queue.begin().await?;
    let failed = instances::failed(&mut tx, id, REASON).await?;
    if failed {
        instances::record(&mut tx, id, "error", json!({"reason": REASON})).await?;
    }
    tx.commit().await?;
    if failed {
        // It may have come up half.
        deps.runtime.stop(id).await?;
    }
    lock.release().await;
    Ok(failed.then(|| Drift::of_annotator(DriftKind::StartStuck, id)))
}

async fn stop_unwanted(deps: &Deps, id: AnnotatorId) -> anyhow::Result<Option<Drift>> {
    let Some(lock) = instance_lock(deps, id).await? else { return Ok(None) };
    let mut db = deps.pool.acquire().await?;
    let status = instances::status(&mut db, id).await?;
    drop(db);
    let unwanted = [AnnotatorStatus::Created, AnnotatorStatus::Stopped, AnnotatorStatus::Error];
    let is_unwanted = status.is_some_and(|status| unwanted.contains(&status));
    if is_unwanted {
        deps.runtime.stop(id).await?;
    }
    lock.release().await;
    Ok(is_unwanted.then(|| Drift::of_annotator(DriftKind::InstanceUnwanted, id)))
}

/// None: a job works on the instance.
pub(super) async fn instance_lock(deps: &Deps, id: AnnotatorId) -> anyhow::Result<Option<Session>> {
    match Session::try_acquire(&deps.pool, Key::Annotator(id.0)).await {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Taken(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
