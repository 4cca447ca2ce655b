//! Health, version, metrics, the OpenAPI document, and what holds on every path.

use std::time::Duration;

use labelfleet::http;
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::{fields, sorted};
use crate::support::{
    api::{Api, answer},
    database::Database,
    wait,
};

#[tokio::test]
async fn health_and_version_are_open() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let stranger = api.stranger();
    let health = stranger.send(Method::GET, "/api/health").await.expect(200);
    assert_eq!(health, json!({ "status": "ok", "database": "connected" }));
    let version = stranger.send(Method::GET, "/api/version").await.expect(200);
    assert_eq!(fields(&version), sorted(&["version", "apiVersion", "features", "node"]));
    assert_eq!(version["apiVersion"], "v1");
    let features = [
        "container-orchestration",
        "workflow-chaining",
        "gold-standard-quality",
        "rejection-routing",
        "bulk-operations",
        "assignment-tracking",
        "event-audit-log",
        "system-settings",
    ];
    assert_eq!(version["features"], json!(features));
}

#[tokio::test]
async fn requests_are_counted_by_route_template() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    api.get("/api/roles/4711").await.expect_error(404);
    api.get("/no/such/path").await.expect_error(404);
    let metrics = api.get("/metrics").await;
    assert_eq!(metrics.headers[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let text = metrics.expect(200);
    let text = text.as_str().unwrap();
    let template = r#"http_requests_total{method="GET",route="/api/roles/{id}",status="404"}"#;
    assert!(text.contains(template), "{text}");
    assert!(text.contains("http_request_duration_seconds_bucket"), "{text}");
    assert!(!text.contains("4711") && !text.contains("/no/such/path"), "{text}");
}

#[test]
fn the_openapi_document_is_what_was_agreed() {
    insta::assert_json_snapshot!(http::document());
}

#[test]
fn the_table_of_endpoints_in_the_docs_is_current() {
    let page = include_str!("../../../docs/API.md");
    let (_, table) = page.split_once("<!-- scripts/api-docs writes from here on -->\n").expect("the mark");
    assert!(table == http::reference(), "docs/API.md is not current: run scripts/api-docs");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_the_envelope() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    api.get("/").await.expect_error(404);
    api.get("/api/nothing").await.expect_error(404);
    api.delete("/api/roles").await.expect_error(405);
    api.send(api.request(Method::PATCH, "/api/roles/1")).await.expect_error(405);
}

#[tokio::test]
async fn requests_carry_an_id() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let own = api.request(Method::GET, "/api/health").header("x-request-id", "mine-1");
    assert_eq!(api.send(own).await.headers["x-request-id"], "mine-1");
    let bad = api.request(Method::GET, "/api/health").header("x-request-id", "a b");
    assert_ne!(api.send(bad).await.headers["x-request-id"], "a b");
}

/// Stands for a worker: completes the job that the request waits for.
#[tokio::test]
async fn reconcile_answers_the_jobs_report() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let report = json!({ "reconciled": 3, "completed": 1, "errors": ["annotator 7: no answer"],
        "drift": [{ "kind": "missed_create", "annotatorId": 7, "assignmentId": 3, "count": 2 }] });
    let worker = async {
        let done = wait::until("the job is there", Duration::from_secs(10), || async {
            let updated = sqlx::query(
                "UPDATE jobs SET state = 'completed', attempt = 1, result = $1, finalized_at = now()
                 WHERE kind = 'reconcile' AND state = 'available'",
            )
            .bind(sqlx::types::Json(&report))
            .execute(&database.pool)
            .await
            .unwrap();
            (updated.rows_affected() == 1).then_some(())
        });
        done.await;
    };
    let (answer, ()) = tokio::join!(api.post("/api/reconcile", json!({})), worker);
    assert_eq!(answer.expect(200), report);
}

#[tokio::test]
async fn reconcile_says_why_it_failed() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let worker = wait::until("the job is there", Duration::from_secs(10), || async {
        let updated = sqlx::query(
            "WITH job AS (
                 UPDATE jobs SET state = 'discarded', attempt = 1, dispatched_at = NULL, finalized_at = now()
                 WHERE kind = 'reconcile' AND state = 'available' RETURNING id)
             INSERT INTO job_attempts (job_id, attempt, outcome, error)
             SELECT id, 1, 'discard', 'the fleet is on fire' FROM job",
        )
        .execute(&database.pool)
        .await
        .unwrap();
        (updated.rows_affected() == 1).then_some(())
    });
    let (answer, ()) = tokio::join!(api.post("/api/reconcile", Value::Null), worker);
    let (message, _) = answer.expect_error(503);
    assert!(message.contains("the fleet is on fire"), "{message}");
}

#[tokio::test]
async fn a_server_that_stops_answers_what_is_under_way() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (client, url) = (api.client.clone(), api.url.clone());
    let waiting = tokio::spawn(answer(api.request(Method::POST, "/api/reconcile")));
    let job = || async {
        let found = sqlx::query_scalar::<_, i64>("SELECT id FROM jobs WHERE kind = 'reconcile'");
        found.fetch_optional(&database.pool).await.unwrap()
    };
    wait::until("the request waits for its job", Duration::from_secs(10), job).await;

    drop(api);
    wait::until("new connections are refused", Duration::from_secs(10), || async {
        client.get(format!("{url}/api/version")).send().await.is_err().then_some(())
    })
    .await;
    sqlx::query(
        r#"UPDATE jobs SET state = 'completed', attempt = 1, finalized_at = now(),
                  result = '{"reconciled": 0, "completed": 0, "errors": []}'
           WHERE kind = 'reconcile'"#,
    )
    .execute(&database.pool)
    .await
    .unwrap();
    waiting.await.unwrap().expect(200);
}
