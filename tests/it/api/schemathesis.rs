//! Schemathesis reads our OpenAPI document and calls every operation with what the document allows and what it does
//! not: no answer may be a 5xx, have a status or a type that the document does not name, or a body of another shape.

use std::time::Duration;

use labelfleet::{
    ops::{chaining::go_on, jobs::Reconcile},
    queue::{Registry, Worker, WorkerOptions},
};
use serde_json::{Value, json};

use crate::support::{
    self, factory,
    review::{Chain, reject},
    simulation::Simulation,
};

const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

const DEADLINE: Duration = Duration::from_secs(170);

/// A few rows of each resource, so that ids of 1 are found.
async fn seed(day: &Simulation) {
    let (api, pool, queue) = (&day.api, day.pool(), &day.fleet.deps.queue);
    let new = factory::Workflow { batch: 2, gold_rate: 0.5, ..factory::Workflow::new(pool).await };
    let workflow = new.create(pool).await;
    factory::tasks(pool, workflow, 8).await;
    factory::gold(pool, new.config, "red").await;
    let (annotator, _) = day.annotator(new.role).await;
    labelfleet::ops::assign::assign(queue, workflow, annotator).await.unwrap();
    api.create_annotator("Bob").await;
    api.create_role("reviewer").await;
    let user = json!({ "email": "v@fleet.local", "role": "viewer", "password": "correct horse" });
    api.create("/api/users", user).await;
    api.put("/api/settings/s3.bucket", json!({ "value": "images" })).await.expect(200);
    let event = "INSERT INTO annotation_events (annotator_id, action, ls_annotation_id, source)
                 VALUES ($1, 'created', 1, 'webhook')";
    sqlx::query(event).bind(annotator).execute(pool).await.unwrap();
    let event = "INSERT INTO container_events (annotator_id, event_type) VALUES ($1, 'started')";
    sqlx::query(event).bind(annotator).execute(pool).await.unwrap();
    let chain = Chain::new(&day.fleet.database, 1, json!({})).await;
    let batch = chain.hand_out(chain.label, chain.ann).await;
    chain.label_all(batch, chain.ann, "red").await;
    let mut tx = queue.begin().await.unwrap();
    go_on(&mut tx, batch).await.unwrap();
    tx.commit().await.unwrap();
    let review = chain.hand_out(chain.review, chain.reviewer).await;
    chain.decide(review, 1, "ANNOTATION_CREATED", 1, &reject("too loose")).await;
    assert_eq!(chain.rejection().await["id"], 1);
}

/// One that reconciles and does nothing else, so that what is started here stays as it was asked for.
async fn worker(day: &Simulation) -> Worker {
    let options = WorkerOptions {
        drain: Duration::from_secs(20),
        concurrency: 1,
        ..WorkerOptions::new(
            day.fleet.database.url.parse().unwrap(),
            support::redis_url(),
            &day.fleet.settings["REDIS_PREFIX"],
        )
    };
    let jobs = Registry::new().register::<Reconcile>();
    Worker::start(options, jobs, day.fleet.deps.clone()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_that_the_document_does_not_tell() {
    let python = support::server("TEST_PYTHON");
    let day = Simulation::start().await;
    let api = &day.api;
    seed(&day).await;
    let worker = worker(&day).await;
    let key = api.post("/api/keys", json!({ "name": "schemathesis", "scopes": ["admin"] })).await.expect(201);
    let key = key["key"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut command =
        tokio::process::Command::new(std::path::Path::new(&python).with_file_name("schemathesis"));
    command
        .current_dir(dir.path())
        .kill_on_drop(true)
        .args(["run", &format!("{}/api/openapi.json", api.url), "--url", &api.url])
        .args(["--header", &format!("X-Avala-Api-Key: {key}")])
        .args(["--seed", "1", "--max-examples", "4", "--request-timeout", "60"])
        .args(["--phases", "examples,coverage,fuzzing", "--workers", "2", "--continue-on-failure"])
        .args(["--checks", CHECKS])
        // Its answer has no end to wait for: `api::job_stream` reads it as it comes.
        .args(["--exclude-path", "/api/jobs/stream"])
        .args(["--no-shrink", "--no-color", "--warnings", "off"]);
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("Fuzzing"), "{report}");
    let reconciled = "SELECT count(*) FROM jobs WHERE kind = 'reconcile' AND state = 'completed'";
    let reconciled: i64 = sqlx::query_scalar(reconciled).fetch_one(day.pool()).await.unwrap();
    assert!(reconciled > 0, "{report}");
    worker.drain().await;
    // Its keys were revoked, perhaps, but nobody was locked out.
    let admins: Value = api.get("/api/users?limit=500").await.expect(200)["data"].clone();
    assert!(admins.as_array().unwrap().iter().any(|user| user["role"] == "admin"), "{admins}");
}
