//! Postgres goes away: clear answers, no panic, and all is well when it is back.

use std::time::{Duration, Instant};

use labelfleet::up::{Postgres, PostgresOptions};
use reqwest::Method;
use serde_json::json;
use sqlx::postgres::PgPoolOptions;

use crate::support::{
    api::{ADMIN_EMAIL, ADMIN_PASSWORD, Api, answer, config},
    database::Database,
    wait,
};

#[tokio::test]
async fn without_postgres_every_answer_is_clear() {
    // Nobody listens on port 1.
    let url = "postgres://nobody@127.0.0.1:1/none";
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(1)).connect_lazy(url).unwrap();
    let api = Api::serve(config(url), pool).await;
    let started = Instant::now();
    let health = api.get("/api/health").await.expect(503);
    assert!(started.elapsed() < Duration::from_secs(5), "a probe is answered soon");
    assert_eq!((&health["status"], &health["database"]), (&json!("error"), &json!("disconnected")));
    assert!(health["error"].is_string(), "{health}");

    let (message, _) = api.log_in("admin@fleet.local", "secret").await.expect_error(503);
    assert!(message.contains("database"), "{message}");
    let session = |method: Method, path: &str| {
        api.send(api.request(method, path).header("cookie", "next-auth.session-token=x").json(&json!({})))
    };
    for (method, path) in [
        (Method::GET, "/api/roles"),
        (Method::POST, "/api/annotators"),
        (Method::POST, "/api/annotators/1/start"),
        (Method::DELETE, "/api/assignments/1"),
        (Method::POST, "/api/reconcile"),
    ] {
        let (message, _) = session(method, path).await.expect_error(503);
        assert!(message.contains("database can't be reached"), "{path}: {message}");
    }
    let webhook = api.request(Method::POST, "/api/webhook").header("x-annotator-id", "1");
    answer(webhook.header("x-webhook-secret", "s").json(&json!({}))).await.expect_error(503);
    api.get("/api/version").await.expect(200);
}

#[tokio::test]
async fn connections_that_postgres_cut_are_made_anew() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    for _ in 0..3 {
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .execute(&database.pool)
        .await
        .unwrap();
        let reads = (0..4).map(|_| api.get("/api/roles"));
        for answer in futures::future::join_all(reads).await {
            answer.expect(200);
        }
    }
}

#[tokio::test]
async fn the_api_outlives_a_restart_of_postgres() {
    let dir = tempfile::tempdir().unwrap();
    let options = PostgresOptions { durable: false, ..PostgresOptions::new(dir.path()) };
    let mut server = Postgres::start(options).await.unwrap();
    let database = Database::create_on(&server.url()).await;
    Api::start(&database).await;
    let pool =
        PgPoolOptions::new().acquire_timeout(Duration::from_secs(1)).connect_lazy(&database.url).unwrap();
    let api = Api::serve(config(&database.url), pool).await;
    api.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200);
    let role = api.create_role("labeler").await;

    server.stop().await.unwrap();
    api.get("/api/health").await.expect(503);
    api.post("/api/roles", json!({ "name": "lost" })).await.expect_error(503);
    server.restart().await.unwrap();

    wait::until("the API is healthy again", Duration::from_secs(10), || async {
        (api.get("/api/health").await.status == 200).then_some(())
    })
    .await;
    let roles = api.get("/api/roles").await.expect(200);
    assert_eq!((&roles["pagination"]["total"], &roles["data"][0]["id"]), (&json!(1), &json!(role)));
}
