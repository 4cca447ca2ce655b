//! `POST /api/webhook`: each request is a new annotation of a published batch, as Label Studio sends it.
//!
//! Label Studio waits one second inside the annotator's own request and never asks again, so what counts is the
//! slowest answers at a load that leaves room: half of the most that the server does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use labelfleet::domain::{AnnotatorId, Secrets};
use sqlx::PgPool;

use crate::{
    fleet::{self, Fleet},
    http::{self, Outcome, Source},
    report::{Bound, Section, millis},
    seed,
};

const ANNOTATORS: i32 = 100;
const BATCH: i32 = 100;
/// What Label Studio 1.23.2 sends when an annotation with three boxes is submitted.
/// Between tildes stands what differs from one to the next.
const TEMPLATE: &str = include_str!("webhook.json.template");
/// More than any load here can use up in a second.
const MOST_A_SECOND: i64 = 8_000;
const CONNECTIONS: [usize; 2] = [16, 64];
/// Untimed, so that connections, plans and caches are warm.
const WARM_UP: Duration = Duration::from_secs(2);
const P99_AIM_MS: f64 = 50.0;

pub async fn measure(fleet: &Fleet, seconds: u64) -> anyhow::Result<Section> {
    let duration = Duration::from_secs(seconds);
    let url = fleet.database("webhook").await?;
    let pool = PgPool::connect(&url).await?;
    let loads = CONNECTIONS.len() as u64 + 1;
    let source = requests(&pool, MOST_A_SECOND * i64::try_from(loads * (seconds + 2))?).await?;
    let api = fleet.api(fleet.env(&url)).await?;
    let health: Source = Arc::new(|| Some(b"GET /api/health HTTP/1.1\r\nHost: bench\r\n\r\n".to_vec()));

    let mut section = Section::new("Webhook: POST /api/webhook");
    let reference = http::closed(&api.address, 16, duration, &health).await?;
    section.row("for comparison: GET /api/health, 16 connections", reference.rate(), "requests/s");
    let mut sent = 0;
    let mut most: f64 = 0.0;
    for connections in CONNECTIONS {
        sent += http::closed(&api.address, connections, WARM_UP, &source).await?.answers();
        let outcome = http::closed(&api.address, connections, duration, &source).await?;
        sent += outcome.answers();
        most = most.max(outcome.rate());
        rows(&mut section, &format!("{connections} connections, as fast as answered"), &outcome)?;
    }
    let half = http::open(&api.address, 64, most / 2.0, duration, &source).await?;
    sent += half.answers();
    let load = "half of the most, at fixed times";
    rows(&mut section, load, &half)?;
    section.row_with_aim(
        format!("{load}: p99"),
        millis(half.percentile(99)),
        "ms",
        Bound::AtMost(P99_AIM_MS),
    );
    api.stop().await?;

    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM annotations").fetch_one(&pool).await?;
    let done: i64 = sqlx::query_scalar("SELECT sum(done_count) FROM assignments").fetch_one(&pool).await?;
    ensure!(
        kept == sent as i64 && done == kept,
        "{sent} sent, {kept} annotations kept, {done} tasks counted"
    );
    Ok(section)
}

fn rows(section: &mut Section, load: &str, outcome: &Outcome) -> anyhow::Result<()> {
    let bad = outcome.statuses.iter().find(|(status, _)| **status != 200);
    ensure!(bad.is_none(), "{load}: {:?} answers by status", outcome.statuses);
    section.row(load, outcome.rate(), "requests/s");
    for percent in [50, 95, 99] {
        section.row(format!("{load}: p{percent}"), millis(outcome.percentile(percent)), "ms");
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Task {
    annotator_id: AnnotatorId,
    ls_project_id: i64,
    ls_task_id: i64,
    token: uuid::Uuid,
}

/// `count` requests, each for another task, the annotators in turn.
async fn requests(pool: &PgPool, count: i64) -> anyhow::Result<Source> {
    let batches = count / i64::from(BATCH);
    let (workflow, role) = seed::workflow(pool, BATCH).await?;
    let annotators = seed::annotators(pool, role, ANNOTATORS).await?;
    seed::tasks(pool, workflow, batches * i64::from(BATCH), "assigned").await?;
    seed::published_batches(pool, workflow, &annotators, batches, BATCH).await?;
    let tasks: Vec<Task> = sqlx::query_as(
        "SELECT annotator_id, ls_project_id, ls_task_id, token
         FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id
         ORDER BY ls_project_id / $1, position, annotator_id",
    )
    .bind(i64::from(ANNOTATORS))
    .fetch_all(pool)
    .await?;
    let secrets = Secrets::new(fleet::SECRET_KEY);
    let heads: BTreeMap<AnnotatorId, String> = annotators
        .into_iter()
        .map(|annotator| {
            let secret = secrets.webhook(annotator, 1);
            let head = format!("X-Annotator-Id: {annotator}\r\nX-Webhook-Secret: {secret}\r\n");
            (annotator, head)
        })
        .collect();
    // Cut up once: what is sent must cost little beside what it is to measure.
    let parts: Vec<&str> = TEMPLATE.split('~').collect();
    let next = AtomicUsize::new(0);
    Ok(Arc::new(move || {
        let task = tasks.get(next.fetch_add(1, Ordering::Relaxed))?;
        let (id, project) = (task.ls_task_id.to_string(), task.ls_project_id.to_string());
        let token = task.token.to_string();
        let body: String = parts
            .iter()
            .map(|part| match *part {
                "annotation" | "task" => &id,
                "project" => &project,
                "token" => &token,
                text => text,
            })
            .collect();
        let head = heads.get(&task.annotator_id)?;
        let length = body.len();
        Some(
            format!(
                "POST /api/webhook HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
             {head}Content-Length: {length}\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    }))
}
