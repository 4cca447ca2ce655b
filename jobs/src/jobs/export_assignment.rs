//! Exports a completed assignment to S3: begins a batch of jobs that write its files, waits for them as `scheduled`, and
//! ends with a manifest of what they wrote. Beginning and ending are two jobs of this kind and of one unique key: whatever
//! calls for an export meanwhile finds one of them open.
//!
//! While the manifest is there, the files are as it says, whatever runs twice, late, or dies at any line:
//!
//! - `exports_under_way` names the batch that may write. A file's job looks there under the assignment's lock, which it
//!   shares with the other files, just before its file is seen; beginning and ending have that lock alone. So nobody writes
//!   from when the manifest is taken away or written until the lock is free, and who comes later finds another batch under
//!   way, or none.
//! - Of two runs of one job, as when a worker was thought dead, one waits for the other by the lock, and then finds that it
//!   is no longer the job's run. So what a file's job returned is what was written last.
//! - Where the lock's connection breaks unnoticed, it is asked before each step that others see, and beginning ends all
//!   uploads of those before. The bytes are derived from what the annotations are; a run of the same batch writes the same.
//!
//! No change is lost: it raises the assignment's version and asks for an export in one transaction. The ending compares
//! versions when it notes the export; if they differ, it begins again. The same happens when files are missing, as an
//! operator deleted one's job, or did not wait for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::ensure;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata};
use labelfleet::{
    domain::{
        AssignmentId, ExportFormat, ExportFormats, JobBatchRef, JobRef,
        export::manifest::{self, Counts, Manifest},
    },
    lock::{Key, LockError, Session},
    ops::{
        jobs::{ExportAssignment, ExportFile},
        outputs::{Exported, WrittenFile},
    },
    queue::{BatchId, JobContext, JobError, JobResult, OrRetry, Run},
    store::{
        assignments,
        exports::{self, Target, UnderWay},
    },
};

use crate::{
    Deps,
    upload::{self, Object},
};

impl Run<Deps> for ExportAssignment {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Option<Exported>> {
        let mut lock = match Session::try_acquire(&deps.pool, Key::Assignment(self.assignment_id.0)).await {
            Ok(lock) => lock,
            Err(LockError::Taken(_)) => return Err(JobError::Snooze(Duration::from_secs(1))),
            Err(error) => return Err(JobError::Retry(error.into())),
        };
        let outcome = export(self, &context, &mut lock, &deps).await;
        lock.release().await;
        outcome
    }
}

async fn export(
    job: ExportAssignment,
    context: &JobContext,
    lock: &mut Session,
    deps: &Deps,
) -> JobResult<Option<Exported>> {
    let id = job.assignment_id;
    let mut db = deps.pool.acquire().await.or_retry()?;
    // Whoever ran it instead of us may be done: what is there then is not to be touched.
    context.ensure_current(&mut db).await.or_retry()?;
    let target = exports::target(&mut db, id).await.or_retry()?;
    let begun = exports::under_way(&mut db, id).await.or_retry()?;
    drop(db);
    let Some(target) = target else { return leave(job, context, deps).await };
    if let Some(begun) = begun.filter(|begun| begun.is_current) {
        let written = deps.queue.batch_results::<ExportFile>(BatchId(begun.batch.0)).await.or_retry()?;
        let written = written.into_iter().filter_map(|(_, file)| file).collect();
        if let Some(whole) = Whole::of(&begun, written) {
            return end(job, begun, whole, context, lock, deps).await;
        }
    }
    begin(job, target, context, lock, deps).await
}

/// The assignment is not completed any more. Under its row's lock: whoever completes it after this finds the job ended.
async fn leave(job: ExportAssignment, context: &JobContext, deps: &Deps) -> JobResult<Option<Exported>> {
    let mut tx = deps.queue.begin().await.or_retry()?;
    if assignments::lock_completed(&mut tx, job.assignment_id).await.or_retry()? {
        return Err(JobError::Snooze(Duration::ZERO));
    }
    exports::end(&mut tx, job.assignment_id).await.or_retry()?;
    context.finish_in::<ExportAssignment>(&mut tx, &None).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(None)
}

async fn begin(
    job: ExportAssignment,
    target: Target,
    context: &JobContext,
    lock: &mut Session,
    deps: &Deps,
) -> JobResult<Option<Exported>> {
    let (id, prefix) = (job.assignment_id, prefix(&target.s3_export_path, job.assignment_id));
    upload::abort_left(deps, id, None).await.or_retry()?;
    remove_manifest(&prefix, lock, deps).await.or_retry()?;

    let mut tx = deps.queue.begin().await.or_retry()?;
    let engine = tx.enqueue_batch::<ExportFile>(&[]).await.or_retry()?.id;
    let batch = JobBatchRef(engine.0);
    let file = |format| ExportFile { assignment_id: id, batch, format };
    let files: Vec<_> = files(&target.formats).map(file).collect();
    let files = tx.add_to_batch(engine, &files).await.or_retry()?;
    exports::begin(&mut tx, id, batch, &prefix, &target).await.or_retry()?;
    let outcome = Some(Exported::Begun(files.into_iter().map(|file| file.id).collect()));
    context.finish_in::<ExportAssignment>(&mut tx, &outcome).await.or_retry()?;
    // Its unique key is free now.
    tx.enqueue_when_done(engine, &job).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(outcome)
}

/// All files of an export, in the manifest's order.
struct Whole {
    files: Vec<WrittenFile>,
    json: manifest::File,
    counts: Counts,
}

impl Whole {
    /// None: a file is missing.
    fn of(export: &UnderWay, written: Vec<WrittenFile>) -> Option<Self> {
        let mut written: BTreeMap<_, _> = written.into_iter().map(|file| (file.file.format, file)).collect();
        let files: Vec<_> =
            files(&export.formats).map(|format| written.remove(&format)).collect::<Option<_>>()?;
        let json = files.iter().find(|file| file.file.format == Some(ExportFormat::Json))?;
        Some(Self { json: json.file.clone(), counts: json.counts?, files })
    }
}

async fn end(
    job: ExportAssignment,
    export: UnderWay,
    whole: Whole,
    context: &JobContext,
    lock: &mut Session,
    deps: &Deps,
) -> JobResult<Option<Exported>> {
    let (id, Whole { files, json, counts }) = (job.assignment_id, whole);
    let manifest = Manifest {
        manifest_version: manifest::VERSION,
        labelfleet_version: env!("CARGO_PKG_VERSION"),
        assignment_id: id,
        workflow_id: export.workflow_id,
        annotator_id: export.annotator_id,
        bucket: deps.s3.bucket.clone(),
        counts,
        files: files.into_iter().map(|file| file.file).collect(),
    };
    let manifest = write_manifest(id, &export.prefix, &manifest, lock, deps).await.or_retry()?;

    let mut tx = deps.queue.begin().await.or_retry()?;
    let (bytes, noted_by) = (i64::try_from(json.bytes).or_retry()?, JobRef(context.id.0));
    let is_exported =
        assignments::set_exported(&mut tx, id, export.version, &json.key, bytes, &json.sha256, noted_by);
    if !is_exported.await.or_retry()? {
        // Something has changed just now.
        return Err(JobError::Snooze(Duration::ZERO));
    }
    exports::end(&mut tx, id).await.or_retry()?;
    let (key, bytes, tasks) = (json.key, json.bytes, counts.tasks);
    let outcome = Some(Exported::Whole { key, bytes, tasks, manifest, counts });
    context.finish_in::<ExportAssignment>(&mut tx, &outcome).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(outcome)
}

/// From here on the files may be of two exports; deleting what is not there is no error to S3.
async fn remove_manifest(prefix: &str, lock: &mut Session, deps: &Deps) -> anyhow::Result<()> {
    let (s3, key) = (&deps.s3, format!("{prefix}{MANIFEST}"));
    ensure!(lock.is_held().await, "the lock was lost before {key} was removed");
    match s3.client.delete_object().bucket(&s3.bucket).key(&key).send().await {
        Err(error) if !error.as_service_error().is_some_and(is_missing) => {
            anyhow::bail!("deleting s3://{}/{key}: {}", s3.bucket, DisplayErrorContext(&error))
        }
        _ => Ok(()),
    }
}

/// Returns its key.
async fn write_manifest(
    id: AssignmentId,
    prefix: &str,
    manifest: &Manifest,
    lock: &mut Session,
    deps: &Deps,
) -> anyhow::Result<String> {
    let key = format!("{prefix}{MANIFEST}");
    let mut object = Object::new(deps, id, key, upload::JSON);
    object.write(&mut upload::json(manifest)?).await?;
    ensure!(lock.is_held().await, "the lock was lost before the manifest was written");
    Ok(object.finish().await?.key)
}

const MANIFEST: &str = ".manifest.json";

/// The files of an export in these formats; none: the quality report.
fn files(formats: &ExportFormats) -> impl Iterator<Item = Option<ExportFormat>> {
    formats.iter().map(Some).chain([None])
}

fn is_missing(error: &impl ProvideErrorMetadata) -> bool {
    matches!(error.code(), Some("NoSuchKey" | "NotFound"))
}

/// `{s3ExportPath}/assignment-{id}`.
fn prefix(path: &str, id: AssignmentId) -> String {
    let path = path.trim_matches('/');
    if path.is_empty() { format!("assignment-{id}") } else { format!("{path}/assignment-{id}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_derived_from_path_and_assignment() {
        assert_eq!(prefix("exports/cars/", AssignmentId(7)), "exports/cars/assignment-7");
        assert_eq!(prefix("/exports", AssignmentId(7)), "exports/assignment-7");
        assert_eq!(prefix("", AssignmentId(7)), "assignment-7");
    }
}
