//! Creates and fills an assignment's project in the annotator's Label Studio.
//!
//! Each step looks before it makes, so a run that was cut off anywhere is gone on with: the project is found by
//! its title, the webhook by its URL, each task by the token in its image URL. The tasks are listed again after
//! an import, so an import whose answer was lost is neither missed nor left doubled.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};
use futures::TryStreamExt;
use labelfleet::{
    domain::{
        AnnotatorStatus, AssignmentId, AssignmentStatus, AssignmentTaskId, JobRef, event::token_in, review,
        source::image_field,
    },
    lock::{Key, LockError, Session, lock_in},
    ops::{assign::mix_in_and_publish, ingest::finish, jobs::PublishAssignment, outputs::Published},
    queue::{JobContext, JobError, JobResult, OrDiscard, OrRetry, Run},
    store::{
        self,
        assignments::Slot,
        publishing::{Batch, Earlier},
    },
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    Deps,
    label_studio::{Client, Error, NewProject, NewTask},
    webhook,
};

/// Tasks an import call: small enough to be quick, so that little is done again.
const IMPORT: usize = 250;
/// A page takes Label Studio a second or so.
const PAGE: usize = 100;
/// Label Studio shows the predictions of one version, by itself of the first that is imported.
const PREDICTED_BY: &str = "earlier work";

impl Run<Deps> for PublishAssignment {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Published> {
        let lock = match Session::try_acquire(&deps.pool, Key::Assignment(self.assignment_id.0)).await {
            Ok(lock) => lock,
            Err(LockError::Taken(_)) => return Err(JobError::Snooze(Duration::from_secs(1))),
            Err(error) => return Err(JobError::Retry(error.into())),
        };
        let outcome = publish(self.assignment_id, &context, &deps).await;
        lock.release().await;
        outcome
    }
}

async fn publish(id: AssignmentId, context: &JobContext, deps: &Deps) -> JobResult<Published> {
    let mut db = deps.pool.acquire().await.or_retry()?;
    let Some(batch) = store::publishing::batch(&mut db, id).await.or_retry()? else {
        return not_now(id, context, deps).await;
    };
    let instance = store::publishing::instance(&mut db, batch.annotator_id).await.or_retry()?;
    let slots = store::assignments::slots(&mut db, id).await.or_retry()?;
    drop(db);
    let Some(instance) = instance.filter(|_| batch.annotator_status == AnnotatorStatus::Active) else {
        return Ok(Published::NotActive);
    };
    let config = batch
        .config_xml
        .as_deref()
        .context("the workflow has no labeling config: set labelingConfigId")
        .or_discard()?;
    let field = image_field(config)
        .context("the labeling config has no <Image> tag with a $variable to show the images by")
        .or_discard()?;
    let client = deps.label_studio(&instance).map_err(Error::into_job_error)?;

    let project = project(&client, id, &batch, config, slots.len()).await.map_err(Error::into_job_error)?;
    let mut db = deps.pool.acquire().await.or_retry()?;
    if !store::assignments::set_project(&mut db, id, batch.ls_project_id, project).await.or_retry()? {
        return Ok(Published::Over);
    }
    drop(db);
    // Before the first task is there to be labeled.
    webhook::ensure(deps, &client, &instance, project).await.map_err(Error::into_job_error)?;
    let known = fill(&client, project, Form { field: &field, config }, &slots, deps).await?;

    let (tokens, ls_ids): (Vec<Uuid>, Vec<i64>) = known.into_iter().unzip();
    let mut tx = deps.queue.begin().await.or_retry()?;
    store::assignments::publish(&mut tx, id, JobRef(context.id.0)).await.or_retry()?;
    store::assignments::set_ls_tasks(&mut tx, id, &tokens, &ls_ids).await.or_retry()?;
    // Someone quick may have done it all before we got here.
    finish(&mut tx, id, batch.annotator_id).await.or_retry()?;
    let outcome = Published::Now { ls_project_id: project, tasks: tokens.len() };
    context.finish_in::<PublishAssignment>(&mut tx, &outcome).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(outcome)
}

/// Published already, or over; or somebody did not wait until it had its gold: then it waits again.
async fn not_now(id: AssignmentId, context: &JobContext, deps: &Deps) -> JobResult<Published> {
    let mut tx = deps.queue.begin().await.or_retry()?;
    let assignment = store::assignments::get(&mut tx, id).await.or_retry()?;
    let Some(early) = assignment.filter(|it| it.status == AssignmentStatus::Pending && !it.has_gold) else {
        return Ok(Published::Before);
    };
    // Before the jobs' rows, as mixing gold in takes both.
    lock_in(&mut tx, Key::AssignTo(early.annotator_id.0)).await.or_retry()?;
    context.finish_in::<PublishAssignment>(&mut tx, &Published::TooEarly).await.or_retry()?;
    mix_in_and_publish(&mut tx, id).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(Published::TooEarly)
}

/// Derived, so that a project whose creation was not heard of is found again.
pub(super) fn title(id: AssignmentId) -> String {
    format!("Batch {id}")
}

async fn project(
    client: &Client,
    id: AssignmentId,
    batch: &Batch,
    config: &str,
    tasks: usize,
) -> Result<i64, Error> {
    if let Some(known) = batch.ls_project_id {
        match client.project(known).await {
            Ok(project) => return Ok(project.id),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let title = title(id);
    if let Some(project) = client.projects_titled(&title).await?.into_iter().next() {
        return Ok(project.id);
    }
    let description = format!("{}: {tasks} tasks", batch.workflow_name);
    let wanted = NewProject { description: &description, ..NewProject::new(&title, config) };
    Ok(client.create_project(&wanted).await?.id)
}

/// What a task is shown by: the labeling config, and the name that it expects the image under.
#[derive(Clone, Copy)]
struct Form<'a> {
    field: &'a str,
    config: &'a str,
}

/// Imports what is missing and removes what is doubled, until a listing shows each task once.
async fn fill(
    client: &Client,
    project: i64,
    form: Form<'_>,
    slots: &[Slot],
    deps: &Deps,
) -> Result<BTreeMap<Uuid, i64>, JobError> {
    let wanted: BTreeSet<Uuid> = slots.iter().map(|slot| slot.token).collect();
    for _ in 0..3 {
        let there = there(client, project, &wanted).await.map_err(Error::into_job_error)?;
        // What was answered in a project that is gone is not asked again.
        let is_missing = |slot: &&Slot| slot.is_open && !there.contains_key(&slot.token);
        let missing: Vec<&Slot> = slots.iter().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(there);
        }
        for slots in missing.chunks(IMPORT) {
            let tasks = tasks(form, slots, deps).await.or_retry()?;
            client.import_tasks(project, &tasks).await.map_err(Error::into_job_error)?;
        }
    }
    Err(JobError::Retry(anyhow!("project {project} does not show the tasks that were imported into it")))
}

/// The project's tasks by token. Of a task that is there twice the first stays, or the one that was labeled.
async fn there(client: &Client, project: i64, wanted: &BTreeSet<Uuid>) -> Result<BTreeMap<Uuid, i64>, Error> {
    let mut there: BTreeMap<Uuid, (bool, i64)> = BTreeMap::new();
    let mut doubled = Vec::new();
    let mut pages = std::pin::pin!(client.tasks(project, PAGE));
    while let Some(page) = pages.try_next().await? {
        for task in page {
            let labeled = !task.annotations.is_empty();
            match token_in(&Value::Object(task.data)).filter(|token| wanted.contains(token)) {
                None => doubled.push(task.id),
                Some(token) => match there.get(&token) {
                    Some(&(false, first)) if labeled => {
                        doubled.push(first);
                        there.insert(token, (labeled, task.id));
                    }
                    Some(_) => doubled.push(task.id),
                    None => {
                        there.insert(token, (labeled, task.id));
                    }
                },
            }
        }
    }
    for task in doubled {
        client.delete_task(task).await?;
    }
    Ok(there.into_iter().map(|(token, (_, id))| (token, id)).collect())
}

/// Nothing but the image, for gold as for the rest. A task that goes on with earlier work carries it as a prediction,
/// and why it comes back as `rejection_reason`.
async fn tasks(form: Form<'_>, slots: &[&Slot], deps: &Deps) -> sqlx::Result<Vec<NewTask>> {
    let places: Vec<AssignmentTaskId> = slots.iter().map(|slot| slot.id).collect();
    let earlier = store::publishing::earlier(&mut *deps.pool.acquire().await?, &places).await?;
    let earlier: BTreeMap<i64, Earlier> =
        earlier.into_iter().map(|earlier| (earlier.id.0, earlier)).collect();
    // Label Studio refuses a task without a variable that its config names.
    let empty = review::shows_reason(form.config).then(String::new);
    let task = |slot: &&Slot| {
        let earlier = earlier.get(&slot.id.0);
        let url = format!("{}/i/{}", deps.config.public_url, slot.token);
        let mut data = Map::from_iter([(form.field.to_owned(), url.into())]);
        if let Some(reason) = earlier.and_then(|earlier| earlier.reason.clone()).or_else(|| empty.clone()) {
            data.insert(review::REASON.to_owned(), reason.into());
        }
        let shown = earlier.map(|earlier| review::prediction(&earlier.result, form.config));
        let shown = shown.filter(|result| !result.is_empty());
        let prediction = |result: Vec<Value>| json!({"model_version": PREDICTED_BY, "result": result});
        NewTask { data, meta: Map::new(), predictions: shown.map(prediction).into_iter().collect() }
    };
    Ok(slots.iter().map(task).collect())
}
