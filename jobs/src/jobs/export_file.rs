//! Writes one file of an export: the batch in a format, or the report of its gold. `export_assignment` says how the files of
//! an export hold together.
//!
//! Tasks are read in pages and sent in parts: memory does not grow with the batch.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use labelfleet::{
    domain::{
        AssignmentId, ExportFormat,
        export::{
            Interface, LeftOut, Task,
            manifest::{Counts, File},
            quality::QualityReport,
        },
    },
    lock::{Key, LockError, Session},
    ops::{jobs::ExportFile, outputs::WrittenFile},
    queue::{JobContext, JobError, JobResult, OrRetry, Run},
    store::exports::{self, UnderWay},
};

use crate::{
    Deps,
    upload::{self, Object, Written},
};

/// How long a beginning or an ending of the export is waited for before the worker's slot is given back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tasks in memory at once: a brush mask may have hundreds of kilobytes.
const PAGE: i64 = 100;

/// Collected before they are handed on.
const CHUNK: usize = 64 * 1024;

impl Run<Deps> for ExportFile {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Option<WrittenFile>> {
        let mut lock = lock(self, &deps).await?;
        let outcome = write(self, &context, &mut lock, &deps).await;
        lock.release().await;
        outcome
    }
}

/// This file's lock, and the assignment's beside the other files.
async fn lock(job: ExportFile, deps: &Deps) -> Result<Session, JobError> {
    let lock = async {
        let (id, file) = (job.assignment_id.0, job.format.map_or(0, |format| format as u8 + 1));
        let mut lock = Session::try_acquire(&deps.pool, Key::ExportFile(id, file)).await?;
        lock.also_share(Key::Assignment(id), PATIENCE).await?;
        Ok(lock)
    };
    match lock.await {
        Ok(lock) => Ok(lock),
        Err(LockError::Taken(_)) => Err(JobError::Snooze(Duration::from_secs(1))),
        Err(error) => Err(JobError::Retry(error.into())),
    }
}

async fn write(
    job: ExportFile,
    context: &JobContext,
    lock: &mut Session,
    deps: &Deps,
) -> JobResult<Option<WrittenFile>> {
    let Some(export) = wanted(job, context, deps).await.or_retry()? else { return Ok(None) };
    let key = format!("{}{}", export.prefix, suffix(job.format));
    // Of an earlier run: with this file's lock, nobody goes on with them.
    upload::abort_left(deps, job.assignment_id, Some(&key)).await.or_retry()?;
    let written = file(job, &key, &export, context, lock, deps).await;
    if !matches!(written, Ok(Some(_))) {
        // Whoever runs next would do it too, but may come in hours.
        if let Err(error) = upload::abort_left(deps, job.assignment_id, Some(&key)).await {
            tracing::warn!(key, error = format!("{error:#}"), "an upload is left open");
        }
    }
    written.or_retry()
}

/// The export that the file belongs to, while this run may write it.
async fn wanted(job: ExportFile, context: &JobContext, deps: &Deps) -> anyhow::Result<Option<UnderWay>> {
    let mut db = deps.pool.acquire().await?;
    context.ensure_current(&mut db).await?;
    let export = exports::under_way(&mut db, job.assignment_id).await?;
    Ok(export.filter(|export| export.batch == job.batch && export.is_current))
}

/// None: something has changed, or another export was begun.
async fn file(
    job: ExportFile,
    key: &str,
    export: &UnderWay,
    context: &JobContext,
    lock: &mut Session,
    deps: &Deps,
) -> anyhow::Result<Option<WrittenFile>> {
    let content_type = job.format.map_or(upload::JSON, ExportFormat::content_type);
    let mut object = Object::new(deps, job.assignment_id, key.to_owned(), content_type);
    let (left_out, counts) = match job.format {
        Some(format) => encode(format, job.assignment_id, export, &mut object, deps).await?,
        None => {
            report(job.assignment_id, export, &mut object, deps).await?;
            (LeftOut::new(), None)
        }
    };
    // Looked at again, as it may have taken long: from here on the file is seen.
    ensure!(lock.is_held().await, "the lock was lost while {key} was written");
    if wanted(job, context, deps).await?.is_none() {
        return Ok(None);
    }
    let Written { key, bytes, sha256 } = object.finish().await?;
    let file = File {
        key,
        format: job.format,
        format_version: job.format.map_or(1, ExportFormat::version),
        content_type: content_type.into(),
        bytes,
        sha256,
        left_out,
    };
    Ok(Some(WrittenFile { file, counts }))
}

async fn encode(
    format: ExportFormat,
    id: AssignmentId,
    export: &UnderWay,
    object: &mut Object<'_>,
    deps: &Deps,
) -> anyhow::Result<(LeftOut, Option<Counts>)> {
    let interface = export.config_xml.as_deref().map(Interface::parse).unwrap_or_default();
    let mut encoder = format.encoder(&interface);
    let (mut out, mut counts) = (Vec::new(), Counts::default());
    for pass in 0..encoder.passes() {
        encoder.begin(pass, &mut out)?;
        let mut pages = Pages { id, deps, position: i32::MIN };
        while let Some(tasks) = pages.next().await? {
            for task in &tasks {
                if pass == 0 {
                    counts.add(task);
                }
                encoder.task(pass, task, &mut out)?;
                if out.len() >= CHUNK {
                    object.write(&mut out).await?;
                }
            }
        }
        encoder.end(pass, &mut out)?;
    }
    object.write(&mut out).await?;
    Ok((encoder.left_out(), Some(counts)))
}

async fn report(
    id: AssignmentId,
    export: &UnderWay,
    object: &mut Object<'_>,
    deps: &Deps,
) -> anyhow::Result<()> {
    let results = exports::gold_answers(&mut *deps.pool.acquire().await?, id, &deps.s3.bucket).await?;
    let report = QualityReport::new(id, export.workflow_id, export.annotator_id, results);
    object.write(&mut upload::json(&report)?).await.context("the quality report")
}

/// What follows the export's prefix in the file's key.
pub(super) fn suffix(format: Option<ExportFormat>) -> &'static str {
    format.map_or(".quality.json", ExportFormat::suffix)
}

/// The batch's tasks, a page at a time.
struct Pages<'a> {
    id: AssignmentId,
    deps: &'a Deps,
    position: i32,
}

impl Pages<'_> {
    /// None after the last.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Task>>> {
        let mut db = self.deps.pool.acquire().await?;
        let bucket = &self.deps.s3.bucket;
        let tasks = exports::tasks_after(&mut db, self.id, bucket, self.position, PAGE).await?;
        let Some(last) = tasks.last() else { return Ok(None) };
        self.position = last.position;
        Ok(Some(tasks))
    }
}
