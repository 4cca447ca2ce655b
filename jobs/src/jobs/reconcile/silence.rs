//! Instances that run and do not answer: they hang, or nobody listens in them any more.
//!
//! A busy one may miss a request, and the engine may be starting a crashed one again this moment, so a single silence is
//! only noted. One that is silent still when it is asked again minutes later is stopped, and comes back the way of
//! those that are gone: provisioned, or in `error` with a reason.

use std::time::Duration;

use labelfleet::{
    domain::AnnotatorId,
    ops::reconcile::{Drift, DriftKind},
    store::reconciling,
};

use super::{instances::instance_lock, projects::restart};
use crate::{
    Deps,
    label_studio::{Client, Error},
};

/// Below the time from one scheduled run to the next, so that the second in a row acts.
const GRACE: Duration = Duration::from_secs(240);
/// How long the second request waits at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does what the outcome of a request calls for. An instance counts as silent when it answers a second one neither.
pub async fn heed(
    deps: &Deps,
    client: &Client,
    annotator: AnnotatorId,
    error: Option<&Error>,
) -> anyhow::Result<Option<Drift>> {
    let patience = PATIENCE.min(deps.config.instances.timeout);
    let is_silent = error.is_some_and(Error::is_silence)
        && client.clone().with_timeout(patience).whoami().await.is_err_and(|error| error.is_silence());
    let mut db = deps.pool.acquire().await?;
    if !is_silent {
        reconciling::note_answer(&mut db, annotator).await?;
        return Ok(None);
    }
    reconciling::note_silence(&mut db, annotator).await?;
    if !reconciling::is_silent(&mut db, annotator, GRACE).await? {
        return Ok(None);
    }
    drop(db);
    let Some(lock) = instance_lock(deps, annotator).await? else { return Ok(None) };
    // Whoever had the lock before may have started it anew.
    let mut db = deps.pool.acquire().await?;
    let is_still_silent = reconciling::is_silent(&mut db, annotator, GRACE).await?;
    drop(db);
    let mut restarted = false;
    if is_still_silent {
        // First, so that a run that is cut off here leaves one that is gone.
        deps.runtime.stop(annotator).await?;
        restarted = restart(deps, annotator).await?;
    }
    lock.release().await;
    Ok(restarted.then(|| Drift::of_annotator(DriftKind::InstanceSilent, annotator)))
}
