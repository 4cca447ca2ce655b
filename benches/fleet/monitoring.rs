//! Monitoring and quality over 10 million events: the totals are made by the job that corrects them, then the three
//! pages are asked for over HTTP.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use labelfleet::{
    domain::{AnnotatorId, Scope, fields::ApiKeyFields},
    ops::{self, jobs::CorrectRollups},
    queue,
};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::time::sleep;

use crate::{
    fleet::Fleet,
    http::{self, Source},
    report::{Bound, Section, millis},
    seed,
};

const EVENTS: i64 = 10_000_000;
/// Inserted at once.
const PORTION: i64 = 1_000_000;
const ANNOTATORS: i32 = 100;
const DAYS: i32 = 180;
const ASSIGNMENTS: i64 = 100_000;
const CONNECTIONS: usize = 4;
const P95_AIM_MS: f64 = 50.0;
const PATIENCE: Duration = Duration::from_secs(1800);

pub async fn measure(fleet: &Fleet, seconds: u64) -> anyhow::Result<Section> {
    let mut section =
        Section::new(format!("Monitoring: {EVENTS} events of {ANNOTATORS} annotators in {DAYS} days"));
    let url = fleet.database("monitoring").await?;
    let queue = fleet.queue(&url).await?;
    let annotators = events(&url).await?;
    let made = make_totals(fleet, &url, &queue).await?;
    section.row("making all totals anew", made.as_secs_f64(), "s");

    let api = fleet.api(fleet.env(&url)).await?;
    let fields = ApiKeyFields { name: "bench".into(), scopes: vec![Scope::Read], expires_at: None };
    let (key, _) = ops::api_keys::create(&queue, &fields, "bench").await?;
    let one = annotators.first().context("there are annotators")?;
    for path in
        ["/api/monitoring".to_owned(), format!("/api/monitoring/annotator/{one}"), "/api/quality".to_owned()]
    {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\r\n", key.expose())
                .into_bytes();
        let source: Source = Arc::new(move || Some(request.clone()));
        http::closed(&api.address, CONNECTIONS, Duration::from_secs(1), &source).await?;
        let outcome = http::closed(&api.address, CONNECTIONS, Duration::from_secs(seconds), &source).await?;
        let answered = outcome.statuses.get(&200).copied().unwrap_or_default();
        ensure!(answered == outcome.answers(), "GET {path}: {:?} answers by status", outcome.statuses);
        section.row(format!("GET {path}, {CONNECTIONS} connections"), outcome.rate(), "requests/s");
        section.row(format!("GET {path}: p50"), millis(outcome.percentile(50)), "ms");
        let p95 = millis(outcome.percentile(95));
        section.row_with_aim(format!("GET {path}: p95"), p95, "ms", Bound::AtMost(P95_AIM_MS));
        section.row(format!("GET {path}: p99"), millis(outcome.percentile(99)), "ms");
    }
    api.stop().await?;
    Ok(section)
}

/// Rows as a fleet has them that has worked for half a year. Without the checks of foreign keys, which took longer than
/// all the rest, and so without the triggers that count: the job counts after.
async fn events(url: &str) -> anyhow::Result<Vec<AnnotatorId>> {
    let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
    let (workflow, role) = seed::workflow(&pool, 100).await?;
    let annotators = seed::annotators(&pool, role, ANNOTATORS).await?;
    let ids: Vec<i64> = annotators.iter().map(|annotator| annotator.0).collect();
    sqlx::query("SET session_replication_role = replica").execute(&pool).await?;
    sqlx::query(
        "INSERT INTO assignments (workflow_id, annotator_id, status, task_count, ls_project_id, gold_at, published_at,
                                  completed_at)
         SELECT $1, $2[1 + n % cardinality($2)], CASE WHEN n < 200 THEN 'in_progress' ELSE 'completed' END, 100, n,
                now(), now(), CASE WHEN n >= 200 THEN now() END
         FROM generate_series(0, $3 - 1) AS n",
    )
    .bind(workflow)
    .bind(&ids)
    .bind(ASSIGNMENTS)
    .execute(&pool)
    .await?;
    // One gold result an assignment.
    let gold: i64 = sqlx::query_scalar(
        "INSERT INTO gold_tasks (name, s3_image_key, expected_labels, labeling_config_id)
         SELECT 'Gold', 'gold/1.jpg', '[{}]', labeling_config_id FROM workflows RETURNING id",
    )
    .fetch_one(&pool)
    .await?;
    sqlx::query(
        "INSERT INTO assignment_tasks (assignment_id, gold_task_id, position, state)
         SELECT id, $1, 0, 'done' FROM assignments",
    )
    .bind(gold)
    .execute(&pool)
    .await?;
    sqlx::query(
        "INSERT INTO gold_results (assignment_task_id, assignment_id, annotator_id, gold_task_id, score, evaluated_at)
         SELECT assignment_tasks.id, assignment_id, annotator_id, gold_task_id, 0.6 + 0.4 * random(),
                now() - random() * make_interval(days => $1)
         FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id",
    )
    .bind(DAYS)
    .execute(&pool)
    .await?;
    for first in (1..=EVENTS).step_by(usize::try_from(PORTION)?) {
        sqlx::query(
            "INSERT INTO annotation_events
                 (annotator_id, action, ls_annotation_id, ls_task_id, ls_project_id, assignment_task_id, source,
                  lead_time_ms, occurred_at, received_at)
             SELECT $1[1 + n % cardinality($1)], 'created', n, n, 1, $2, 'webhook', (random() * 90000)::bigint, at, at
             FROM generate_series($3, $3 + $4 - 1) AS n,
                  LATERAL (SELECT now() - make_interval(days => $5) * (1 - n::double precision / $6) AS at) AS time",
        )
        .bind(&ids)
        .bind(1_i64)
        .bind(first)
        .bind(PORTION)
        .bind(DAYS)
        .bind(EVENTS)
        .execute(&pool)
        .await?;
    }
    sqlx::query("SET session_replication_role = origin").execute(&pool).await?;
    sqlx::query("VACUUM ANALYZE").execute(&pool).await?;
    Ok(annotators)
}

/// By the job, in a worker.
async fn make_totals(fleet: &Fleet, url: &str, queue: &queue::Client) -> anyhow::Result<Duration> {
    let worker = fleet.worker(fleet.env(url)).await?;
    let start = Instant::now();
    let mut tx = queue.begin().await?;
    let job = tx.enqueue(&CorrectRollups {}).await?.id;
    tx.commit().await?;
    while !is_completed(queue.pool(), job).await? {
        ensure!(start.elapsed() < PATIENCE, "the totals are not made: read {}", worker.log().display());
        sleep(Duration::from_millis(50)).await;
    }
    let took = start.elapsed();
    let counted: Option<i64> = sqlx::query_scalar("SELECT sum(annotations)::bigint FROM annotation_hours")
        .fetch_one(queue.pool())
        .await?;
    ensure!(counted == Some(EVENTS), "{counted:?} of {EVENTS} events are counted");
    sqlx::query("VACUUM ANALYZE").execute(queue.pool()).await?;
    Ok(took)
}

async fn is_completed(pool: &PgPool, job: queue::JobId) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT state = 'completed' FROM jobs WHERE id = $1").bind(job).fetch_one(pool).await
}
