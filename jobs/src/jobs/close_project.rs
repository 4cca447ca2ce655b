//! Ends a project in Label Studio whose assignment is over before its time: takes in what it holds, then removes it,
//! with its webhook.
//!
//! An answer that is given between the two is told by the webhook, which stays until the project goes. A second run
//! finds nothing to remove, which is success.

use std::{sync::Arc, time::Duration};

use labelfleet::{
    domain::AssignmentId,
    lock::{Key, LockError, Session},
    ops::{jobs::CloseProject, outputs::Closed},
    queue::{JobContext, JobError, JobResult, OrRetry, Run},
    store::{closing, publishing},
};

use super::publish_assignment::title;
use crate::{
    Deps,
    compare::{self, Project},
    label_studio::Error,
};

impl Run<Deps> for CloseProject {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Closed> {
        // Publishing may be under way.
        let lock = match Session::try_acquire(&deps.pool, Key::Assignment(self.assignment_id.0)).await {
            Ok(lock) => lock,
            Err(LockError::Taken(_)) => return Err(JobError::Snooze(Duration::from_secs(1))),
            Err(error) => return Err(JobError::Retry(error.into())),
        };
        let outcome = close(self.assignment_id, &context, &deps).await;
        lock.release().await;
        outcome
    }
}

async fn close(id: AssignmentId, context: &JobContext, deps: &Deps) -> JobResult<Closed> {
    let mut db = deps.pool.acquire().await.or_retry()?;
    let Some(batch) = closing::closing(&mut db, id).await.or_retry()? else {
        return Ok(Closed::Not);
    };
    let instance = publishing::instance(&mut db, batch.annotator_id).await.or_retry()?;
    drop(db);
    let Some(instance) = instance else {
        return Ok(Closed::NotActive);
    };
    let client = deps.label_studio(&instance).map_err(Error::into_job_error)?;
    // Publishing may have been cut off before it could note the project.
    let titled = client.projects_titled(&title(id)).await.map_err(Error::into_job_error)?;
    for project in &titled {
        if Some(project.id) == batch.ls_project_id {
            let project = Project { assignment: id, annotator: batch.annotator_id, id: project.id };
            compare::whole(deps, &client, project).await.or_retry()?;
        }
        client.delete_project(project.id).await.map_err(Error::into_job_error)?;
    }
    let outcome = Closed::Removed(titled.iter().map(|project| project.id).collect());
    let mut tx = deps.queue.begin().await.or_retry()?;
    closing::set_closed(&mut tx, id).await.or_retry()?;
    context.finish_in::<CloseProject>(&mut tx, &outcome).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(outcome)
}
