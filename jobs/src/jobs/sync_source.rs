//! Lists a workflow's S3 prefix into the pool, page by page. The cursor is stored with each page, so a run that
//! was cut off goes on where it was; memory holds one page. Images that are in the pool stay as they are.

use std::{sync::Arc, time::Duration};

use aws_sdk_s3::{error::DisplayErrorContext, operation::list_objects_v2::ListObjectsV2Output};
use labelfleet::{
    domain::source::is_image,
    lock::{Key, LockError, Session},
    ops::{assign::offer, jobs::SyncSource, outputs::Synced},
    queue::{JobContext, JobError, JobResult, OrRetry, Run},
    s3::S3,
    store,
};

use crate::Deps;

/// The most that S3 gives at once.
const PAGE: i32 = 1000;

impl Run<Deps> for SyncSource {
    async fn run(self, context: JobContext, deps: Arc<Deps>) -> JobResult<Option<Synced>> {
        let lock = match Session::try_acquire(&deps.pool, Key::Source(self.workflow_id.0)).await {
            Ok(lock) => lock,
            Err(LockError::Taken(_)) => return Err(JobError::Snooze(Duration::from_secs(2))),
            Err(error) => return Err(JobError::Retry(error.into())),
        };
        let outcome = list(self, &context, &deps).await;
        lock.release().await;
        outcome
    }
}

async fn list(job: SyncSource, context: &JobContext, deps: &Deps) -> JobResult<Option<Synced>> {
    let mut db = deps.pool.acquire().await.or_retry()?;
    let source = store::sources::get(&mut db, job.workflow_id).await.or_retry()?;
    drop(db);
    // A workflow that is gone, or goes on with another's work, needs no images.
    let Some(source) = source else { return Ok(None) };
    let mut cursor = source.cursor;
    let mut new_images = 0;
    loop {
        let page = page(&deps.s3, &source.prefix, cursor.as_deref()).await.or_retry()?;
        let objects = page.contents();
        let (keys, sizes): (Vec<String>, Vec<i64>) = objects
            .iter()
            .filter_map(|object| Some((object.key()?.to_owned(), object.size().unwrap_or(0))))
            .filter(|(key, _)| is_image(key))
            .unzip();
        let last =
            objects.last().and_then(|object| object.key()).filter(|_| page.is_truncated() == Some(true));

        let mut tx = deps.queue.begin().await.or_retry()?;
        new_images +=
            store::tasks::insert_listed(&mut tx, job.workflow_id, &keys, &sizes).await.or_retry()?;
        let is_current = match last {
            Some(key) => store::sources::advance(&mut tx, job.workflow_id, &source.prefix, key).await,
            None => store::sources::finish(&mut tx, job.workflow_id, &source.prefix).await,
        };
        if !is_current.or_retry()? {
            // The prefix was changed while we listed the old one: nothing of this page is kept.
            return Err(JobError::Snooze(Duration::ZERO));
        }
        match last {
            Some(key) => {
                tx.commit().await.or_retry()?;
                cursor = Some(key.to_owned());
            }
            None => {
                offer(&mut tx, job.workflow_id).await.or_retry()?;
                let outcome = Some(Synced { new_images });
                context.finish_in::<SyncSource>(&mut tx, &outcome).await.or_retry()?;
                tx.commit().await.or_retry()?;
                return Ok(outcome);
            }
        }
    }
}

async fn page(s3: &S3, prefix: &str, after: Option<&str>) -> anyhow::Result<ListObjectsV2Output> {
    s3.client
        .list_objects_v2()
        .bucket(&s3.bucket)
        .prefix(prefix.trim_start_matches('/'))
        .set_start_after(after.map(str::to_owned))
        .max_keys(PAGE)
        .send()
        .await
        .map_err(|error| {
            anyhow::anyhow!("listing s3://{}/{prefix}: {}", s3.bucket, DisplayErrorContext(&error))
        })
}
