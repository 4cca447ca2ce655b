//! From an S3 prefix of 100,000 images to a batch of 1,000: listing it into the pool, and picking from the pool.

use std::time::{Duration, Instant};

use anyhow::ensure;
use labelfleet::{
    config::Secret,
    domain::WorkflowId,
    ops::{assign::assign, jobs::SyncSource},
    queue,
    s3::S3,
    up::{S3Options, S3Server},
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::time::sleep;

use crate::{
    fleet::{Fleet, peak_memory},
    report::{Bound, Section, median, millis},
    s3::{self, Bucket},
    seed,
};

const BATCH: i32 = 1_000;
const IMAGES: usize = 100_000;
const FEW_IMAGES: usize = 10_000;
/// Ten times the images may not take much more memory: a page is held, and no more.
const MEMORY_AIM: f64 = 1.2;
const RUNS: i32 = 5;
const PATIENCE: Duration = Duration::from_secs(600);

pub async fn measure(fleet: &Fleet) -> anyhow::Result<Section> {
    let mut section = Section::new(format!("Assignment: {BATCH} of {IMAGES} images of an S3 prefix"));
    let (few, memory_of_few) = list(fleet, "few_images", FEW_IMAGES).await?;
    let (many, memory_of_many) = list(fleet, "many_images", IMAGES).await?;
    section.row(format!("listing {FEW_IMAGES} images into the pool"), few.as_secs_f64(), "s");
    section.row(format!("listing {IMAGES} images into the pool"), many.as_secs_f64(), "s");
    section.row(format!("the worker's peak memory at {FEW_IMAGES}"), memory_of_few, "MiB");
    section.row(format!("the worker's peak memory at {IMAGES}"), memory_of_many, "MiB");
    section.row_with_aim("their ratio", memory_of_many / memory_of_few, "", Bound::AtMost(MEMORY_AIM));
    // One connection, whose statistics are told before they are read.
    let pool = PgPoolOptions::new().max_connections(1).connect(&fleet.url_of("many_images")).await?;
    pick(&queue::Client::new(pool), &mut section).await?;
    section.row(
        format!("the embedded S3 endpoint: one page of 1000 out of {IMAGES}"),
        embedded_page(fleet).await?.as_secs_f64(),
        "s",
    );
    Ok(section)
}

/// `sync_source` in a worker of its own, from the enqueue on; and the worker's peak memory in MiB.
async fn list(fleet: &Fleet, database: &str, images: usize) -> anyhow::Result<(Duration, f64)> {
    let url = fleet.database(database).await?;
    let bucket = Bucket::serve(images).await?;
    let mut env = fleet.env(&url);
    env.insert("S3_ENDPOINT".into(), bucket.endpoint.clone());
    let worker = fleet.worker(env).await?;
    let queue = fleet.queue(&url).await?;
    let (workflow, _) = seed::workflow(queue.pool(), BATCH).await?;
    let start = Instant::now();
    let mut tx = queue.begin().await?;
    tx.enqueue(&SyncSource { workflow_id: workflow }).await?;
    tx.commit().await?;
    while !sqlx::query_scalar::<_, bool>("SELECT synced_at IS NOT NULL FROM workflows WHERE id = $1")
        .bind(workflow)
        .fetch_one(queue.pool())
        .await?
    {
        ensure!(start.elapsed() < PATIENCE, "the prefix is not listed: read {}", worker.log().display());
        sleep(Duration::from_millis(10)).await;
    }
    let took = start.elapsed();
    let available: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks WHERE status = 'available'")
        .fetch_one(queue.pool())
        .await?;
    ensure!(usize::try_from(available)? == images, "{available} of {images} images are in the pool");
    Ok((took, peak_memory(worker.pid())?))
}

/// Batches for several annotators, one after the other, in shuffled order and in order of the keys.
async fn pick(queue: &queue::Client, section: &mut Section) -> anyhow::Result<()> {
    let pool = queue.pool();
    sqlx::query("VACUUM ANALYZE").execute(pool).await?;
    let (workflow, role): (WorkflowId, _) =
        sqlx::query_as("SELECT id, role_id FROM workflows").fetch_one(pool).await?;
    let annotators = seed::annotators(pool, role, 2 * RUNS).await?;
    let orders =
        [("shuffled", true, "tasks_available_shuffled"), ("in order", false, "tasks_available_in_order")];
    for ((order, shuffled, index), annotators) in
        orders.into_iter().zip(annotators.chunks(annotators.len() / 2))
    {
        sqlx::query("UPDATE workflows SET shuffle_images = $1").bind(shuffled).execute(pool).await?;
        let read_before = entries_read(pool, index).await?;
        let mut times = Vec::new();
        for annotator in annotators {
            let start = Instant::now();
            assign(queue, workflow, *annotator).await?;
            times.push(start.elapsed());
        }
        let read = entries_read(pool, index).await? - read_before;
        section.row(format!("assigning a batch, {order}"), millis(median(times)), "ms");
        let a_batch = read as f64 / f64::from(RUNS);
        section.row_with_aim(
            format!("entries read of the index {index} for a batch"),
            a_batch,
            "",
            // Some are passed over that an earlier batch has left behind.
            Bound::AtMost(f64::from(BATCH * (RUNS + 1))),
        );
        ensure!(a_batch >= f64::from(BATCH), "the pick does not use the index {index}");
    }
    Ok(())
}

/// As Postgres has counted.
async fn entries_read(pool: &PgPool, index: &str) -> anyhow::Result<i64> {
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(pool).await?;
    let read = sqlx::query_scalar("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = $1")
        .bind(index)
        .fetch_one(pool)
        .await?;
    Ok(read)
}

/// A page in the middle of a listing by `s3s-fs`, which walks the bucket for each.
async fn embedded_page(fleet: &Fleet) -> anyhow::Result<Duration> {
    let options = S3Options {
        dir: fleet.dir().join("s3"),
        port: 0,
        bucket: "bench".into(),
        access_key_id: "bench".into(),
        secret_access_key: Secret::new("bench-secret"),
    };
    let images = options.dir.join("bench/images");
    std::fs::create_dir_all(&images)?;
    for number in 0..IMAGES {
        std::fs::File::create(options.dir.join("bench").join(s3::key(number)))?;
    }
    let server = S3Server::start(options).await?;
    let s3 = S3::new(server.config());
    let start = Instant::now();
    let page = s3
        .client
        .list_objects_v2()
        .bucket(&s3.bucket)
        .prefix("images/")
        .start_after(s3::key(IMAGES / 2))
        .max_keys(1000)
        .send()
        .await?;
    let took = start.elapsed();
    ensure!(page.contents().len() == 1000, "a page of {} objects", page.contents().len());
    Ok(took)
}
