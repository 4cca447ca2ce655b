//! Writes the annotations of a completed assignment to S3, in each format that its workflow names, with a quality report
//! of its gold and, last, a manifest: while the manifest is there, the files are as it says.
//!
//! Keys are derived from the assignment and bytes from its annotations, so a second run writes the same again. Tasks are
//! read in pages and sent in parts, for one format after the other: memory does not grow with the batch.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use aws_sdk_s3::error::DisplayErrorContext;
use labelfleet::{
    domain::{
        AssignmentId, ExportFormat, JobRef,
        export::{
            Interface, LeftOut, Task,
            manifest::{self, Counts, File, Manifest},
            quality::QualityReport,
        },
    },
    lock::{Key, LockError, Session},
    ops::{jobs::ExportAssignment, outputs::Exported},
    queue::{JobContext, JobError, JobResult, OrRetry, Run},
    store::{
        self,
        exports::{self, Target},
    },
};

use crate::{
    Deps,
    upload::{self, Object, Written},
};

/// Tasks in memory at once: a brush mask may have hundreds of kilobytes.
const PAGE: i64 = 100;

/// Collected before they are handed on.
const CHUNK: usize = 64 * 1024;

impl Run<Deps> for ExportAssignment {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Option<Exported>> {
        // Two exports at once could leave the older in place.
        let lock = match Session::try_acquire(&deps.pool, Key::Assignment(self.assignment_id.0)).await {
            Ok(lock) => lock,
            Err(LockError::Taken(_)) => return Err(JobError::Snooze(Duration::from_secs(1))),
            Err(error) => return Err(JobError::Retry(error.into())),
        };
        let outcome = export(self.assignment_id, &context, &deps).await;
        lock.release().await;
        outcome
    }
}

async fn export(id: AssignmentId, context: &JobContext, deps: &Deps) -> JobResult<Option<Exported>> {
    upload::abort_left(deps, id).await.or_retry()?;
    let target = exports::target(&mut *deps.pool.acquire().await.or_retry()?, id).await.or_retry()?;
    let Some(target) = target else { return Ok(None) };
    let export = Export { id, deps, prefix: prefix(&target.s3_export_path, id), target };

    export.remove_manifest().await.or_retry()?;
    let files = match export.files().await {
        Ok(files) => files,
        Err(error) => {
            // Whoever runs next would do it too, but may come in hours.
            if let Err(error) = upload::abort_left(deps, id).await {
                tracing::warn!(assignment = %id, error = format!("{error:#}"), "uploads are left open");
            }
            return Err(JobError::Retry(error));
        }
    };
    let json = files.iter().find(|file| file.format == Some(ExportFormat::Json));
    let json = json.context("JSON is always among the formats").or_retry()?;
    let (key, bytes, sha256) = (json.key.clone(), json.bytes, json.sha256.clone());
    let counts = export.counts().await.or_retry()?;
    let version = export.target.version;
    let current = exports::target(&mut *deps.pool.acquire().await.or_retry()?, id).await.or_retry()?;
    if current.is_none_or(|current| current.version != version) {
        // An annotation came in meanwhile, and its own call for an export was answered with this run.
        return Err(JobError::Snooze(Duration::ZERO));
    }
    let written = export.manifest(files, counts).await.or_retry()?;

    let mut tx = deps.queue.begin().await.or_retry()?;
    let (size, job) = (i64::try_from(bytes).or_retry()?, JobRef(context.id.0));
    if !store::assignments::set_exported(&mut tx, id, version, &key, size, &sha256, job).await.or_retry()? {
        return Err(JobError::Snooze(Duration::ZERO));
    }
    let outcome = Some(Exported { key, bytes, tasks: counts.tasks, manifest: written.key, counts });
    context.finish_in::<ExportAssignment>(&mut tx, &outcome).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(outcome)
}

struct Export<'a> {
    id: AssignmentId,
    deps: &'a Deps,
    target: Target,
    /// Of all keys.
    prefix: String,
}

impl Export<'_> {
    fn object(&self, suffix: &str, content_type: &'static str) -> Object<'_> {
        Object::new(self.deps, self.id, format!("{}{suffix}", self.prefix), content_type)
    }

    /// From here on the files may be of two exports; deleting what is not there is no error to S3.
    async fn remove_manifest(&self) -> anyhow::Result<()> {
        let (s3, key) = (&self.deps.s3, format!("{}{MANIFEST}", self.prefix));
        let delete = s3.client.delete_object().bucket(&s3.bucket).key(&key).send().await;
        match delete {
            Err(error) if !error.as_service_error().is_some_and(is_missing) => {
                let cause = DisplayErrorContext(&error);
                anyhow::bail!("deleting s3://{}/{key}: {cause}", s3.bucket)
            }
            _ => Ok(()),
        }
    }

    async fn files(&self) -> anyhow::Result<Vec<File>> {
        let mut files = Vec::new();
        for format in self.target.formats.iter() {
            files.push(self.file(format).await?);
        }
        files.push(self.quality().await?);
        Ok(files)
    }

    async fn file(&self, format: ExportFormat) -> anyhow::Result<File> {
        let interface = self.target.config_xml.as_deref().map(Interface::parse).unwrap_or_default();
        let mut encoder = format.encoder(&interface);
        let mut object = self.object(format.suffix(), format.content_type());
        let mut out = Vec::new();
        for pass in 0..encoder.passes() {
            encoder.begin(pass, &mut out)?;
            let mut pages = Pages::new(self);
            while let Some(tasks) = pages.next().await? {
                for task in &tasks {
                    encoder.task(pass, task, &mut out)?;
                    if out.len() >= CHUNK {
                        object.write(&mut out).await?;
                    }
                }
            }
            encoder.end(pass, &mut out)?;
        }
        object.write(&mut out).await?;
        Ok(file(object.finish().await?, Some(format), format.content_type(), encoder.left_out()))
    }

    async fn quality(&self) -> anyhow::Result<File> {
        let (target, bucket) = (&self.target, &self.deps.s3.bucket);
        let results = exports::gold_answers(&mut *self.deps.pool.acquire().await?, self.id, bucket).await?;
        let report = QualityReport::new(self.id, target.workflow_id, target.annotator_id, results);
        let written = self.write_json(QUALITY, &report).await?;
        Ok(file(written, None, JSON, LeftOut::new()))
    }

    async fn counts(&self) -> anyhow::Result<Counts> {
        let mut counts = Counts::default();
        let mut pages = Pages::new(self);
        while let Some(tasks) = pages.next().await? {
            for task in tasks {
                counts.tasks += 1;
                counts.tasks_without_annotation += u64::from(task.standing().is_none());
                counts.annotations += task.annotations.len() as u64;
            }
        }
        Ok(counts)
    }

    async fn manifest(&self, files: Vec<File>, counts: Counts) -> anyhow::Result<Written> {
        let manifest = Manifest {
            manifest_version: manifest::VERSION,
            labelfleet_version: env!("CARGO_PKG_VERSION"),
            assignment_id: self.id,
            workflow_id: self.target.workflow_id,
            annotator_id: self.target.annotator_id,
            bucket: self.deps.s3.bucket.clone(),
            counts,
            files,
        };
        self.write_json(MANIFEST, &manifest).await
    }

    async fn write_json(&self, suffix: &str, value: &impl serde::Serialize) -> anyhow::Result<Written> {
        let mut bytes = serde_json::to_vec_pretty(value).context("write JSON")?;
        bytes.push(b'\n');
        let mut object = self.object(suffix, JSON);
        object.write(&mut bytes).await?;
        object.finish().await
    }
}

const JSON: &str = "application/json";
const QUALITY: &str = ".quality.json";
const MANIFEST: &str = ".manifest.json";

fn is_missing(error: &impl aws_sdk_s3::error::ProvideErrorMetadata) -> bool {
    matches!(error.code(), Some("NoSuchKey" | "NotFound"))
}

fn file(
    written: Written,
    format: Option<ExportFormat>,
    content_type: &'static str,
    left_out: LeftOut,
) -> File {
    File {
        key: written.key,
        format,
        format_version: format.map_or(1, ExportFormat::version),
        content_type,
        bytes: written.bytes,
        sha256: written.sha256,
        left_out,
    }
}

/// The batch's tasks, a page at a time.
struct Pages<'a> {
    export: &'a Export<'a>,
    position: i32,
}

impl<'a> Pages<'a> {
    fn new(export: &'a Export<'a>) -> Self {
        Self { export, position: i32::MIN }
    }

    /// None after the last.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Task>>> {
        let Export { id, deps, .. } = self.export;
        let mut db = deps.pool.acquire().await?;
        let tasks = exports::tasks_after(&mut db, *id, &deps.s3.bucket, self.position, PAGE).await?;
        let Some(last) = tasks.last() else { return Ok(None) };
        self.position = last.position;
        Ok(Some(tasks))
    }
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
