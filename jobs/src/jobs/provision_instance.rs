//! Brings an annotator's Label Studio up until it truly serves: template database, role, clone, instance.
//!
//! Every name and secret is derived and every step looks at what is there, so a run that was cut off anywhere is
//! gone on with, and one for an instance that serves changes nothing (which is how reconciliation restarts
//! those that are gone). Stopped or deleted meanwhile, it ends quietly and leaves nothing running.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use labelfleet::{
    domain::{AnnotatorId, AnnotatorStatus},
    lock::Held,
    ops::{
        jobs::{AssignBatch, ProvisionInstance},
        outputs::Provisioned,
    },
    queue::{JobArgs, JobContext, JobError, JobResult, OrDiscard, OrRetry, Run},
    store::instances::{self, Owner, Served, Serving},
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Deps, instance,
    label_studio::{Client, User},
    runtime::Address,
    template,
};

/// Before the engine's own timeout, so that a reason can still be told.
const DEADLINE: Duration = Duration::from_secs(ProvisionInstance::TIMEOUT.as_secs() - 20);
/// How long Label Studio may take to start: 5 to 12 s on two idle cores, longer where many start at once.
const SERVES_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);
/// How much of a reason an operator is shown.
const REASON_CHARS: usize = 2000;

impl Run<Deps> for ProvisionInstance {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Provisioned> {
        let id = self.annotator_id;
        let lock = instance::lock(&deps, id).await?;
        let outcome = match timeout(DEADLINE, provision(&deps, lock.held(), &context, id)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(JobError::Retry(anyhow!("not done within {DEADLINE:?}"))),
        };
        let outcome = match outcome {
            Err(JobError::Retry(error)) if context.attempt >= context.max_attempts => {
                give_up(&deps, lock.held(), &context, id, error).await
            }
            Err(JobError::Discard(error)) => give_up(&deps, lock.held(), &context, id, error).await,
            outcome => outcome,
        };
        lock.release().await;
        outcome
    }
}

async fn provision(
    deps: &Deps,
    lock: &Held,
    context: &JobContext,
    id: AnnotatorId,
) -> JobResult<Provisioned> {
    let mut db = deps.pool.acquire().await.or_retry()?;
    let owner = instances::owner(&mut db, id).await.or_retry()?;
    drop(db);
    let Some(owner) = owner.filter(|owner| is_wanted(Some(owner.status))) else {
        return instance::end_quietly::<ProvisionInstance>(deps, context, id, is_wanted).await;
    };

    let server = instance::server(deps).or_discard()?;
    let version = deps.runtime.label_studio_version().await.or_retry()?;
    template::ensure(deps, &server, &version).await.or_retry()?;
    let password = deps.secrets.database_password(id, owner.secret_version);
    let database = server
        .ensure_clone(lock, &deps.config.instances.fleet, id, &version, &password)
        .await
        .context("making the annotator's database")
        .or_retry()?;

    let spec = instance::spec(deps, &server, &owner, &database, &password);
    let instance = deps.runtime.ensure_running(&spec).await.or_retry()?;

    let token = deps.secrets.label_studio_token(id, owner.secret_version);
    let Some((address, user)) = wait_until_it_serves(deps, &owner, &token).await? else {
        return withdraw(deps, lock, context, id).await;
    };

    let serving = Serving {
        container_id: &instance.name,
        host: &address.host,
        port: address.port,
        database_name: &database,
        api_token: &token,
        ls_user_id: user.id,
    };
    let mut tx = deps.queue.begin().await.or_retry()?;
    match instances::serves(&mut tx, id, &serving).await.or_retry()? {
        Served::Activated => {
            let details = json!({"containerId": instance.name, "url": address.url(), "database": database});
            instances::record(&mut tx, id, "started", details).await.or_retry()?;
            tx.enqueue(&AssignBatch { annotator_id: id }).await.or_retry()?;
        }
        Served::WasActive => {}
        Served::Unwanted => {
            drop(tx);
            return withdraw(deps, lock, context, id).await;
        }
    }
    let outcome = Provisioned::Url(address.url());
    context.finish_in::<ProvisionInstance>(&mut tx, &outcome).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(outcome)
}

/// Active ones too: theirs may be gone.
fn is_wanted(status: Option<AnnotatorStatus>) -> bool {
    matches!(status, Some(AnnotatorStatus::Starting | AnnotatorStatus::Active))
}

/// Takes back what was made and is not wanted any more. Whoever changed the status has enqueued the job that does
/// the same; this only does it at once.
async fn withdraw(deps: &Deps, lock: &Held, context: &JobContext, id: AnnotatorId) -> JobResult<Provisioned> {
    let mut db = deps.pool.acquire().await.or_retry()?;
    let status = instances::status(&mut db, id).await.or_retry()?;
    drop(db);
    match status {
        Some(AnnotatorStatus::Deleted) | None => instance::tear_down(deps, lock, id).await.or_retry()?,
        _ => deps.runtime.stop(id).await.or_retry()?,
    }
    instance::end_quietly::<ProvisionInstance>(deps, context, id, is_wanted).await
}

/// None: stopped or deleted meanwhile.
async fn wait_until_it_serves(
    deps: &Deps,
    owner: &Owner,
    token: &str,
) -> Result<Option<(Address, User)>, JobError> {
    let deadline = Instant::now() + SERVES_WITHIN;
    let mut client: Option<(Address, Client)> = None;
    loop {
        let mut db = deps.pool.acquire().await.or_retry()?;
        let status = instances::status(&mut db, owner.id).await.or_retry()?;
        drop(db);
        if !is_wanted(status) {
            return Ok(None);
        }
        let running = deps.runtime.get(owner.id).await.or_retry()?.filter(|instance| instance.running);
        let Some(running) = running else {
            return Err(JobError::Retry(
                not_serving(deps, owner.id, "Label Studio ended while starting").await,
            ));
        };
        // It may move while it starts: Label Studio takes the next port where its own is busy.
        if let Some(address) = running.address
            && client.as_ref().is_none_or(|(known, _)| *known != address)
        {
            let new = Client::new(&address.url(), token).or_discard()?;
            client = Some((address, new));
        }
        if let Some((address, client)) = &client {
            match client.whoami().await {
                Ok(user) => return Ok(Some((address.clone(), user))),
                Err(error) if error.is_unauthorized() => {
                    let reason = "Label Studio does not accept the annotator's token: was SECRET_KEY changed \
                                  since its database was made?";
                    return Err(JobError::Discard(anyhow::Error::new(error).context(reason)));
                }
                Err(_) => {}
            }
        }
        if Instant::now() >= deadline {
            let reason = format!("Label Studio did not serve within {SERVES_WITHIN:?}");
            return Err(JobError::Retry(not_serving(deps, owner.id, &reason).await));
        }
        sleep(POLL).await;
    }
}

async fn not_serving(deps: &Deps, id: AnnotatorId, reason: &str) -> anyhow::Error {
    match deps.runtime.last_lines(id).await {
        Ok(lines) => anyhow!("{reason}; its last lines: {lines}"),
        Err(_) => anyhow!("{reason}"),
    }
}

/// Nobody tries again until an operator does: say why, where they look. The job is completed with that, so that
/// their next start finds no open job and enqueues its own.
async fn give_up(
    deps: &Deps,
    lock: &Held,
    context: &JobContext,
    id: AnnotatorId,
    error: anyhow::Error,
) -> JobResult<Provisioned> {
    let reason: String = format!("{error:#}").chars().take(REASON_CHARS).collect();
    let mut db = deps.pool.acquire().await.or_retry()?;
    let status = instances::status(&mut db, id).await.or_retry()?;
    drop(db);
    match status {
        Some(AnnotatorStatus::Starting) => {}
        // It goes on being active for those who look; reconciliation tries again.
        Some(AnnotatorStatus::Active) => return Err(JobError::Discard(error)),
        _ => return withdraw(deps, lock, context, id).await,
    }
    deps.runtime.stop(id).await.or_retry()?;
    let mut tx = deps.queue.begin().await.or_retry()?;
    if !instances::failed(&mut tx, id, &reason).await.or_retry()? {
        drop(tx);
        return withdraw(deps, lock, context, id).await;
    }
    instances::record(&mut tx, id, "error", json!({"reason": reason})).await.or_retry()?;
    tracing::warn!(annotator = %id, reason, "an instance could not be provisioned");
    let outcome = Provisioned::Reason(reason);
    context.finish_in::<ProvisionInstance>(&mut tx, &outcome).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(outcome)
}
