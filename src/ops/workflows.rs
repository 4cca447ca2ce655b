//! Workflows: create, change, delete. A new source is listed into the pool by a job; work that is done upstream
//! comes into it by another.

use super::{
    Error, Issue, Result,
    input::WorkflowChanges,
    jobs::{ChainAssignment, SyncSource},
};
use crate::{
    domain::{
        WorkflowId,
        fields::{Fields, WorkflowFields},
    },
    lock::{Held, Key, lock_in},
    queue::{self, Tx},
    store::{
        chaining, tasks,
        workflow_graph::{self, ChainLink},
        workflows::{self, Workflow},
    },
};

const NOT_FOUND: Error = Error::NotFound("Workflow");

pub async fn create(queue: &queue::Client, fields: &WorkflowFields) -> Result<Workflow> {
    let mut issues = fields.check().err().unwrap_or_default();
    let mut tx = queue.begin().await?;
    issues.extend(check_references(&mut tx, &[fields]).await?.into_iter().map(|(_, issue)| issue));
    if !issues.is_empty() {
        return Err(Error::Invalid(issues));
    }
    let ids = workflows::new_ids(&mut tx, 1).await?;
    let new: Vec<_> = ids.iter().copied().zip([fields]).collect();
    workflows::insert(&mut tx, &new).await?;
    fill_pools(&mut tx, &new).await?;
    let workflow = workflows::get_many(&mut tx, &ids).await?.pop().ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(workflow)
}

pub async fn update(queue: &queue::Client, id: WorkflowId, changes: WorkflowChanges) -> Result<Workflow> {
    let mut tx = queue.begin().await?;
    lock_in(&mut tx, Key::Chains).await?;
    let lock = lock_in(&mut tx, Key::Workflow(id.0)).await?;
    let current = workflows::get_locked(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    let fields = changes.onto(&current)?;
    let mut issues: Vec<Issue> =
        check_references(&mut tx, &[&fields]).await?.into_iter().map(|(_, issue)| issue).collect();
    if fields.rejection_route_workflow_id == Some(id) {
        let message = "a workflow can't rework what it rejects itself".to_owned();
        issues.push(Issue { path: "rejectionRouteWorkflowId".into(), message });
    }
    if let Some(previous) = fields.previous_workflow_id {
        let way = workflow_graph::upstream(&mut tx, previous).await?;
        if let Some(start) = way.iter().position(|link| link.id == id) {
            let message = circle(way.get(start..).unwrap_or_default(), &current.name);
            issues.push(Issue { path: "previousWorkflowId".into(), message });
        }
    }
    if !issues.is_empty() {
        return Err(Error::Invalid(issues));
    }
    workflows::update(&mut tx, id, &fields).await?;
    follow_source(&mut tx, &lock, &current, &fields).await?;
    let workflow = workflows::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(workflow)
}

pub async fn delete(queue: &queue::Client, id: WorkflowId) -> Result<()> {
    let mut tx = queue.begin().await?;
    lock_in(&mut tx, Key::Workflow(id.0)).await?;
    let deleted = workflows::delete(&mut tx, id).await.map_err(|error| {
        let reason = match error.as_database_error().and_then(|cause| cause.constraint()) {
            Some("workflows_previous_workflow_id_fkey") => {
                "Cannot delete: another workflow follows this one (its previousWorkflowId)"
            }
            Some("workflows_rejection_route_workflow_id_fkey") => {
                "Cannot delete: another workflow routes its rejections to this one (its rejectionRouteWorkflowId)"
            }
            Some("assignments_workflow_id_fkey") => "Cannot delete: assignments were made from this workflow",
            _ => "Cannot delete: work of this workflow is referenced elsewhere",
        };
        Error::in_use(error, reason)
    })?;
    if !deleted {
        return Err(NOT_FOUND);
    }
    Ok(tx.commit().await?)
}

/// The ids among the fields of each workflow that lead nowhere, by the workflow's place in `all`.
pub(super) async fn check_references(tx: &mut Tx, all: &[&WorkflowFields]) -> Result<Vec<(usize, Issue)>> {
    let references = |fields: &WorkflowFields| {
        (
            fields.role_id.map(|id| id.0),
            fields.labeling_config_id.map(|id| id.0),
            fields.previous_workflow_id.map(|id| id.0),
            fields.rejection_route_workflow_id.map(|id| id.0),
        )
    };
    let (mut roles, mut configs, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for fields in all {
        let (role, config, previous, route) = references(fields);
        roles.extend(role);
        configs.extend(config);
        others.extend(previous.into_iter().chain(route));
    }
    let known = workflows::known(tx, &roles, &configs, &others).await?;
    let mut issues = Vec::new();
    for (place, fields) in all.iter().enumerate() {
        let (role, config, previous, route) = references(fields);
        let wanted = [
            ("roleId", role, &known.roles, "no such role"),
            ("labelingConfigId", config, &known.labeling_configs, "no such labeling config"),
            ("previousWorkflowId", previous, &known.workflows, "no such workflow"),
            ("rejectionRouteWorkflowId", route, &known.workflows, "no such workflow"),
        ];
        for (path, id, known, message) in wanted {
            if id.is_some_and(|id| !known.contains(&id)) {
                issues.push((place, Issue { path: path.into(), message: message.into() }));
            }
        }
    }
    Ok(issues)
}

/// Calls for what comes into workflows' pools: the work that is done upstream, or else the images of their sources.
pub(super) async fn fill_pools(tx: &mut Tx, all: &[(WorkflowId, &WorkflowFields)]) -> Result<()> {
    let (mut listed, mut chained) = (Vec::new(), Vec::new());
    for (id, fields) in all {
        match fields.previous_workflow_id {
            None => listed.push(SyncSource { workflow_id: *id }),
            Some(_) if fields.is_active => chained.push(*id),
            Some(_) => {}
        }
    }
    tx.enqueue_many(&listed).await?;
    let done = chaining::completed_assignments(tx, &chained).await?;
    let jobs: Vec<_> = done.into_iter().map(|assignment_id| ChainAssignment { assignment_id }).collect();
    tx.enqueue_many(&jobs).await?;
    Ok(())
}

/// Takes what nobody ever got of a former source out of the pool, and calls for what comes from the new one.
async fn follow_source(tx: &mut Tx, lock: &Held, current: &Workflow, fields: &WorkflowFields) -> Result<()> {
    let is_moved = fields.previous_workflow_id != current.previous_workflow_id;
    let is_relisted = fields.s3_source_path != current.s3_source_path;
    let is_resumed = fields.is_active && !current.is_active;
    if is_moved {
        chaining::withdraw_all(tx, lock, current.id).await?;
    }
    let prefix = fields.previous_workflow_id.is_none().then_some(&*fields.s3_source_path);
    if is_moved || is_relisted {
        tasks::forget_unassigned_outside(tx, lock, current.id, prefix).await?;
    }
    let is_chained = fields.previous_workflow_id.is_some();
    if is_moved || (is_relisted && !is_chained) || (is_resumed && is_chained) {
        fill_pools(tx, &[(current.id, fields)]).await?;
    }
    Ok(())
}

/// `way` leads from the workflow to what was to come before it.
fn circle(way: &[ChainLink], name: &str) -> String {
    let first = way.first().map(|link| (link.id, name));
    let steps = way.iter().map(|link| (link.id, &*link.name)).chain(first);
    let names: Vec<String> = steps.map(|(id, name)| format!("{name} ({id})")).collect();
    format!("a workflow can't come before itself: {}", names.join(" -> "))
}
