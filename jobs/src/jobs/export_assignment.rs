//! Writes the annotations of a completed assignment to S3, in the shape of Label Studio's own JSON export: a list
//! of tasks with their annotations. The image is named by its S3 location instead of our opaque URL.
//!
//! Rows are streamed through a temporary file, so memory does not grow with the batch. The key is derived from the
//! assignment and the bytes from its annotations, so a second run writes the same object again.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use aws_sdk_s3::{error::DisplayErrorContext, primitives::ByteStream};
use futures::TryStreamExt;
use labelfleet::{
    domain::{AssignmentId, JobRef},
    lock::{Key, LockError, Session},
    ops::jobs::ExportAssignment,
    queue::{JobContext, JobError, JobResult, OrRetry, Run},
    store::{self, exports::Row},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::Deps;

impl Run<Deps> for ExportAssignment {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult {
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

async fn export(id: AssignmentId, context: &JobContext, deps: &Deps) -> JobResult {
    let mut db = deps.pool.acquire().await.or_retry()?;
    let target = store::exports::target(&mut db, id).await.or_retry()?;
    drop(db);
    let Some(target) = target else { return Ok(Value::Null) };
    let key = key(&target.s3_export_path, id);

    let file = write(id, deps).await.or_retry()?;
    let body = ByteStream::from_path(file.file.path()).await.or_retry()?;
    deps.s3
        .client
        .put_object()
        .bucket(&deps.s3.bucket)
        .key(&key)
        .content_type("application/json")
        .body(body)
        .send()
        .await
        .map_err(|error| {
            let cause = DisplayErrorContext(&error);
            JobError::Retry(anyhow::anyhow!("writing s3://{}/{key}: {cause}", deps.s3.bucket))
        })?;

    let mut tx = deps.queue.begin().await.or_retry()?;
    let job = JobRef(context.id.0);
    if !store::assignments::set_exported(&mut tx, id, target.version, &key, file.bytes, &file.sha256, job)
        .await
        .or_retry()?
    {
        // An annotation came in meanwhile, and its own call for an export was answered with this run.
        return Err(JobError::Snooze(Duration::ZERO));
    }
    let outcome = json!({"key": key, "bytes": file.bytes, "tasks": file.tasks});
    context.finish_in(&mut tx, outcome.clone()).await.or_retry()?;
    tx.commit().await.or_retry()?;
    Ok(outcome)
}

/// `{s3ExportPath}/assignment-{id}.json`.
fn key(path: &str, id: AssignmentId) -> String {
    let path = path.trim_matches('/');
    if path.is_empty() { format!("assignment-{id}.json") } else { format!("{path}/assignment-{id}.json") }
}

struct Written {
    file: tempfile::NamedTempFile,
    bytes: i64,
    sha256: String,
    tasks: u64,
}

async fn write(id: AssignmentId, deps: &Deps) -> anyhow::Result<Written> {
    let file = tempfile::NamedTempFile::new().context("no temporary file for the export")?;
    let mut out = tokio::io::BufWriter::new(tokio::fs::File::from_std(file.reopen()?));
    let mut hash = Sha256::new();
    let (mut bytes, mut tasks) = (0_i64, 0_u64);
    let mut rows = store::exports::rows(&deps.pool, id);
    let mut opening = "[\n";
    while let Some(row) = rows.try_next().await? {
        let line = format!("{opening}{}", entry(row, &deps.s3.bucket));
        opening = ",\n";
        tasks += 1;
        bytes += line.len() as i64;
        hash.update(&line);
        out.write_all(line.as_bytes()).await.context("the temporary file of the export")?;
    }
    let end = if tasks == 0 { "[]\n" } else { "\n]\n" };
    bytes += end.len() as i64;
    hash.update(end);
    out.write_all(end.as_bytes()).await.context("the temporary file of the export")?;
    out.flush().await.context("the temporary file of the export")?;
    Ok(Written { file, bytes, sha256: hex::encode(hash.finalize()), tasks })
}

fn entry(row: Row, bucket: &str) -> Value {
    json!({
        "id": row.ls_task_id,
        "data": {"image": format!("s3://{bucket}/{}", row.image_key)},
        "meta": {"taskUid": row.task_uid},
        "project": row.ls_project_id,
        "annotations": row.annotations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_derived_from_path_and_assignment() {
        assert_eq!(key("exports/cars/", AssignmentId(7)), "exports/cars/assignment-7.json");
        assert_eq!(key("/exports", AssignmentId(7)), "exports/assignment-7.json");
        assert_eq!(key("", AssignmentId(7)), "assignment-7.json");
    }
}
