//! An active annotator's Label Studio: whether it runs, and what its projects hold.

use std::time::Duration;

use labelfleet::{
    domain::AnnotatorId,
    ops::{
        jobs::{ProvisionInstance, PublishAssignment},
        reconcile::{Drift, DriftKind, Report},
    },
    store::{self, publishing::Instance, reconciling::Believed},
};
use uuid::Uuid;

use super::silence;
use crate::{
    Deps,
    compare::{self, Found, Project},
    label_studio::{Client, ProjectCounts},
    webhook,
};

/// For how long a completed batch is compared still: its annotator may change their answers.
const RECENT: Duration = Duration::from_secs(24 * 3600);

pub async fn compare(deps: &Deps, instance: &Instance) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let annotator = instance.annotator_id;
    let found = deps.runtime.get(annotator).await?;
    if !found.is_some_and(|found| found.running && found.is_at(&instance.host, instance.port)) {
        if restart(deps, annotator).await? {
            report.drift.push(Drift::of_annotator(DriftKind::InstanceGone, annotator));
        }
        return Ok(report);
    }
    let mut db = deps.pool.acquire().await?;
    let all = store::reconciling::believed(&mut db, annotator, RECENT).await?;
    drop(db);
    let client = deps.label_studio(instance)?;
    let projects: Vec<i64> = all.iter().map(|believed| believed.project).collect();
    let asked = if projects.is_empty() {
        client.whoami().await.map(|_| Vec::new())
    } else {
        client.project_counts(&projects).await
    };
    if let Some(drift) = silence::heed(deps, &client, annotator, asked.as_ref().err()).await? {
        report.drift.push(drift);
        return Ok(report);
    }
    let counts = asked?;
    for believed in all {
        report.reconciled += u32::from(believed.is_in_progress);
        let counts = counts.iter().find(|counts| counts.id == believed.project);
        match batch(deps, &client, instance, &believed, counts).await {
            Ok(drift) => report.drift.extend(drift),
            Err(error) => {
                report.errors.push(format!("annotator {annotator}, assignment {}: {error:#}", believed.id))
            }
        }
        if believed.is_in_progress {
            let mut db = deps.pool.acquire().await?;
            report.completed += u32::from(store::assignments::is_completed(&mut db, believed.id).await?);
        }
    }
    Ok(report)
}

async fn batch(
    deps: &Deps,
    client: &Client,
    instance: &Instance,
    believed: &Believed,
    counts: Option<&ProjectCounts>,
) -> anyhow::Result<Vec<Drift>> {
    let annotator = instance.annotator_id;
    let project = Project { assignment: believed.id, annotator, id: believed.project };
    let Some(counts) = counts else {
        // Nothing is asked of a batch that was completed and whose project is gone.
        if believed.is_in_progress
            && client.project(project.id).await.is_err_and(|error| error.is_not_found())
        {
            publish_again(deps, project, &[]).await?;
            return Ok(vec![Drift::of_batch(DriftKind::ProjectMissing, Some(annotator), believed.id, 1)]);
        }
        return Ok(Vec::new());
    };
    let mut drift = Vec::new();
    // Before the comparison, which finds what it did not tell. Of a completed batch the comparison alone is enough.
    if believed.is_in_progress && webhook::ensure(deps, client, instance, project.id).await? {
        drift.push(Drift::of_batch(DriftKind::WebhookMissing, Some(annotator), believed.id, 1));
    }
    // Asked for first: what changes during the comparison is compared again.
    let last_change = client.last_change(project.id).await?;
    match believed.compared_until {
        Some(until) if is_as_believed(believed, counts) => {
            if last_change.is_none_or(|change| change <= until) {
                return Ok(drift);
            }
            events(&mut drift, project, &compare::since(deps, client, project, until).await?);
        }
        _ => {
            let found = compare::whole(deps, client, project).await?;
            events(&mut drift, project, &found);
            if believed.is_in_progress {
                let missing = tasks(deps, project, &found).await?;
                if missing > 0 {
                    let kind = DriftKind::TaskMissing;
                    drift.push(Drift::of_batch(kind, Some(annotator), believed.id, missing));
                    return Ok(drift);
                }
            }
        }
    }
    let mut db = deps.pool.acquire().await?;
    store::reconciling::set_compared(&mut db, believed.id, last_change).await?;
    Ok(drift)
}

fn is_as_believed(believed: &Believed, counts: &ProjectCounts) -> bool {
    counts.task_number == believed.tasks
        && counts.finished_task_number == believed.finished
        && counts.total_annotations_number == believed.annotations
        && counts.skipped_annotations_number == believed.skips
}

fn events(drift: &mut Vec<Drift>, project: Project, found: &Found) {
    let kinds = [
        (DriftKind::MissedCreate, found.creates),
        (DriftKind::MissedUpdate, found.updates),
        (DriftKind::MissedSkip, found.skips),
        (DriftKind::MissedDelete, found.deletes),
    ];
    let seen = kinds.into_iter().filter(|(_, count)| *count > 0);
    drift.extend(
        seen.map(|(kind, count)| Drift::of_batch(kind, Some(project.annotator), project.assignment, count)),
    );
}

/// Learns what Label Studio calls the batch's tasks, and publishes again those that it does not have. Returns how many.
async fn tasks(deps: &Deps, project: Project, found: &Found) -> anyhow::Result<u32> {
    let known = found.listed.iter().filter_map(|(id, token)| Some(((*token)?, *id)));
    let (tokens, ids): (Vec<Uuid>, Vec<i64>) = known.unzip();
    let mut db = deps.pool.acquire().await?;
    store::assignments::set_ls_tasks(&mut db, project.assignment, &tokens, &ids).await?;
    drop(db);
    publish_again(deps, project, &ids).await
}

/// Answers that we have stay as they are.
async fn publish_again(deps: &Deps, project: Project, listed: &[i64]) -> anyhow::Result<u32> {
    let mut tx = deps.queue.begin().await?;
    let open = store::reconciling::forget_tasks(&mut tx, project.assignment, project.id, listed).await?;
    if open > 0 {
        tx.bring_on(&PublishAssignment { assignment_id: project.assignment }).await?;
    }
    tx.commit().await?;
    Ok(u32::try_from(open)?)
}

/// An instance that should run and does not: active -> starting, and provisioned again from what it left.
pub(super) async fn restart(deps: &Deps, annotator: AnnotatorId) -> anyhow::Result<bool> {
    let mut tx = deps.queue.begin().await?;
    let restarted = store::reconciling::active_to_starting(&mut tx, annotator).await?;
    if restarted {
        tx.enqueue(&ProvisionInstance { annotator_id: annotator }).await?;
    }
    tx.commit().await?;
    Ok(restarted)
}
