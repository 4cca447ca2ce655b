//! Exporting 100,000 annotations in every format, by a worker of its own: how long, and in how much memory.

use std::time::{Duration, Instant};

use anyhow::ensure;
use labelfleet::{
    config::Secret,
    domain::{AssignmentId, ExportFormat},
    ops::jobs::ExportAssignment,
    s3::S3,
    up::{S3Options, S3Server},
};
use serde_json::Value;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::{
    fleet::{Fleet, peak_memory},
    report::{Bound, Section},
    seed,
};

const ANNOTATIONS: i32 = 100_000;
const MEMORY_AIM_MIB: f64 = 200.0;
const PATIENCE: Duration = Duration::from_secs(900);

pub async fn measure(fleet: &Fleet) -> anyhow::Result<Section> {
    let mut section = Section::new(format!("Export: {ANNOTATIONS} annotations of three boxes each"));
    let server = S3Server::start(S3Options {
        dir: fleet.dir().join("exports"),
        port: 0,
        bucket: "bench".into(),
        access_key_id: "bench".into(),
        secret_access_key: Secret::new("bench-secret"),
    })
    .await?;
    let url = fleet.database("export").await?;
    let queue = fleet.queue(&url).await?;
    let assignment_id = completed(queue.pool()).await?;
    let mut env = fleet.env(&url);
    env.extend([
        ("S3_ENDPOINT".into(), server.config().endpoint.clone().unwrap_or_default()),
        ("S3_BUCKET".into(), "bench".into()),
    ]);
    let worker = fleet.worker(env).await?;
    let idle = peak_memory(worker.pid())?;

    let start = Instant::now();
    let mut tx = queue.begin().await?;
    tx.enqueue(&ExportAssignment { assignment_id }).await?;
    tx.commit().await?;
    while !sqlx::query_scalar::<_, bool>("SELECT exported_at IS NOT NULL FROM assignments WHERE id = $1")
        .bind(assignment_id)
        .fetch_one(queue.pool())
        .await?
    {
        ensure!(start.elapsed() < PATIENCE, "nothing is exported: read {}", worker.log().display());
        sleep(Duration::from_millis(20)).await;
    }
    let took = start.elapsed();
    let peak = peak_memory(worker.pid())?;

    let s3 = S3::new(server.config());
    let key = format!("exports/assignment-{assignment_id}.manifest.json");
    let manifest = s3.client.get_object().bucket(&s3.bucket).key(key).send().await?.body.collect().await?;
    let manifest: Value = serde_json::from_slice(&manifest.into_bytes())?;
    ensure!(manifest["counts"]["annotations"] == ANNOTATIONS, "the manifest tells {}", manifest["counts"]);
    let files = manifest["files"].as_array().map_or(&[][..], Vec::as_slice);
    let bytes: u64 = files.iter().filter_map(|file| file["bytes"].as_u64()).sum();

    section.row("all six formats", took.as_secs_f64(), "s");
    section.row("their size", bytes as f64 / 1024.0 / 1024.0, "MiB");
    section.row("the worker's memory before", idle, "MiB");
    section.row_with_aim("the worker's peak memory", peak, "MiB", Bound::AtMost(MEMORY_AIM_MIB));
    Ok(section)
}

/// One assignment of as many tasks, each with an annotation.
async fn completed(pool: &PgPool) -> anyhow::Result<AssignmentId> {
    let (workflow, role) = seed::workflow(pool, 100).await?;
    let formats: Vec<&str> = ExportFormat::ALL.iter().map(|format| format.as_str()).collect();
    sqlx::query("UPDATE workflows SET export_formats = $1").bind(formats).execute(pool).await?;
    let annotators = seed::annotators(pool, role, 1).await?;
    seed::tasks(pool, workflow, i64::from(ANNOTATIONS), "completed").await?;
    sqlx::query("UPDATE tasks SET status = 'assigned'").execute(pool).await?;
    seed::published_batches(pool, workflow, &annotators, 1, ANNOTATIONS).await?;
    let region = r#"{"id": "r", "from_name": "label", "to_name": "image", "type": "rectanglelabels", "origin": "manual",
        "original_width": 1920, "original_height": 1080, "image_rotation": 0, "value": {"x": 10.5, "y": 20.25,
        "width": 30.125, "height": 40.5, "rotation": 0, "rectanglelabels": ["car"]}}"#;
    sqlx::query(
        "INSERT INTO annotations
             (annotator_id, ls_annotation_id, assignment_task_id, was_cancelled, lead_time_ms, payload, ls_updated_at)
         SELECT $1, id, id, false, 12500,
                jsonb_build_object('id', id, 'result', jsonb_build_array($2::jsonb, $2::jsonb, $2::jsonb),
                    'was_cancelled', false, 'lead_time', 12.5, 'completed_by', 1, 'unique_id', gen_random_uuid(),
                    'created_at', '2026-04-06T12:00:00Z', 'updated_at', '2026-04-06T12:00:00Z'),
                '2026-04-06T12:00:00Z'
         FROM assignment_tasks",
    )
    .bind(annotators.first())
    .bind(serde_json::from_str::<Value>(region)?)
    .execute(pool)
    .await?;
    sqlx::query("UPDATE assignment_tasks SET state = 'done', done_at = now()").execute(pool).await?;
    sqlx::query("UPDATE tasks SET status = 'completed'").execute(pool).await?;
    let assignment = sqlx::query_scalar(
        "UPDATE assignments SET status = 'completed', completed_at = now(), done_count = task_count RETURNING id",
    )
    .fetch_one(pool)
    .await?;
    sqlx::query("VACUUM ANALYZE").execute(pool).await?;
    Ok(assignment)
}
