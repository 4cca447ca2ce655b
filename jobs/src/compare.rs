//! A project in Label Studio held against what we hold of it. What no webhook told is taken in by the same use case
//! as what one tells.
//!
//! A listing is no snapshot: webhooks arrive meanwhile, and pages move. So an annotation counts as new or changed by
//! its own times, and as deleted only when Label Studio, asked for it by name, does not know it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::pin,
};

use anyhow::Context;
use chrono::{DateTime, Utc};
use futures::{Stream, TryStreamExt};
use labelfleet::{
    domain::{
        AnnotationAction, AnnotatorId, AssignmentId, EventSource,
        event::{AnnotationEvent, from_listing, token_in},
    },
    ops::ingest::{Ingested, ingest},
    store::annotations::{self, Standing},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Deps,
    label_studio::{self, Client, Task},
};

const PAGE: usize = 100;
/// Events a transaction: webhooks of the same annotator wait for it, and they have a second.
const TOGETHER: usize = 20;

/// An assignment's project.
#[derive(Debug, Clone, Copy)]
pub struct Project {
    pub assignment: AssignmentId,
    pub annotator: AnnotatorId,
    pub id: i64,
}

/// What no webhook had told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub creates: u32,
    pub updates: u32,
    /// Created or updated as skips; not among those two.
    pub skips: u32,
    pub deletes: u32,
    /// Every task that was listed: Label Studio's id, and the token that names our place.
    pub listed: BTreeMap<i64, Option<Uuid>>,
}

/// Compares the project task by task: a request for each 100 of them.
pub async fn whole(deps: &Deps, client: &Client, project: Project) -> anyhow::Result<Found> {
    compare(deps, client, project, client.tasks(project.id, PAGE), None).await
}

/// Compares the tasks that changed since, by Label Studio's clock.
pub async fn since(
    deps: &Deps,
    client: &Client,
    project: Project,
    since: DateTime<Utc>,
) -> anyhow::Result<Found> {
    compare(deps, client, project, client.tasks_by_change(project.id, PAGE), Some(since)).await
}

async fn compare(
    deps: &Deps,
    client: &Client,
    project: Project,
    pages: impl Stream<Item = label_studio::Result<Vec<Task>>>,
    since: Option<DateTime<Utc>>,
) -> anyhow::Result<Found> {
    let mut held: HashMap<i64, Vec<Standing>> = HashMap::new();
    let mut db = deps.pool.acquire().await?;
    for standing in annotations::standing(&mut db, project.assignment).await? {
        held.entry(standing.ls_task_id).or_default().push(standing);
    }
    drop(db);
    let mut found = Found::default();
    let mut pages = pin!(pages);
    while let Some(page) = pages.try_next().await? {
        let is_new = |task: &Task| since.is_none_or(|since| task.updated_at.is_none_or(|at| at > since));
        let is_last = page.iter().any(|task| !is_new(task));
        let mut events = Vec::new();
        for task in page.iter().filter(|task| is_new(task)) {
            found.listed.insert(task.id, token_in(&Value::Object(task.data.clone())));
            let held = held.remove(&task.id).unwrap_or_default();
            events.extend(differences(client, project, task, held).await?);
        }
        for events in events.chunks(TOGETHER) {
            let outcomes = ingest(&deps.queue, project.annotator, EventSource::Reconcile, events).await?;
            let told = events.iter().zip(outcomes);
            told.filter(|told| told.1 == Ingested::Recorded).for_each(|told| found.add(told.0));
        }
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// What a task's annotations and those that we hold of it tell.
async fn differences(
    client: &Client,
    project: Project,
    task: &Task,
    held: Vec<Standing>,
) -> anyhow::Result<Vec<AnnotationEvent>> {
    let described = json!({"id": task.id, "data": task.data, "project": project.id});
    let mut events = Vec::new();
    let mut there = BTreeSet::new();
    for annotation in &task.annotations {
        let id = annotation["id"].as_i64();
        let known = held.iter().find(|held| Some(held.ls_annotation_id) == id);
        let event = from_listing(&described, annotation, known.is_some())
            .with_context(|| format!("task {} of project {}", task.id, project.id))?;
        there.insert(event.annotation_id);
        if known.is_none_or(|known| event.occurred_at().is_some_and(|now| now > known.ls_updated_at)) {
            events.push(event);
        }
    }
    for held in held.iter().filter(|held| !there.contains(&held.ls_annotation_id)) {
        if !client.has_annotation(held.ls_annotation_id).await? {
            events.push(deletion(project, held.ls_annotation_id));
        }
    }
    Ok(events)
}

fn deletion(project: Project, annotation_id: i64) -> AnnotationEvent {
    AnnotationEvent {
        action: AnnotationAction::Deleted,
        annotation_id,
        ls_task_id: None,
        ls_project_id: Some(project.id),
        token: None,
        annotation: None,
    }
}

impl Found {
    fn add(&mut self, event: &AnnotationEvent) {
        let is_skip = event.annotation.as_ref().is_some_and(|annotation| annotation.was_cancelled);
        let count = match event.action {
            _ if is_skip => &mut self.skips,
            AnnotationAction::Created => &mut self.creates,
            AnnotationAction::Updated => &mut self.updates,
            AnnotationAction::Deleted => &mut self.deletes,
        };
        *count += 1;
    }
}
