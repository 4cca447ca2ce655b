//! Annotators and what is asked of their instances.

use reqwest::Method;
use serde_json::{Value, json};

use super::{fields, is_time, sorted};
use crate::support::{
    api::{Api, answer},
    database::Database,
};

const FIELDS: &[&str] = &[
    "id",
    "name",
    "email",
    "roleId",
    "status",
    "containerId",
    "containerIp",
    "containerPort",
    "subdomain",
    "databaseName",
    "apiToken",
    "lsUserId",
    "notes",
    "lastActiveAt",
    "rejectionCount",
    "reviewedCount",
    "createdAt",
    "updatedAt",
    "role",
];

async fn set_status(database: &Database, id: i64, status: &str) {
    sqlx::query(
        "UPDATE annotators
         SET status = $2, status_reason = CASE WHEN $2 = 'error' THEN 'the port was taken' END,
             container_id = 'fleet-ls-1', container_ip = '127.0.0.1', container_port = 18000, api_token = 't'
         WHERE id = $1",
    )
    .bind(id)
    .bind(status)
    .execute(&database.pool)
    .await
    .unwrap();
}

async fn status(database: &Database, id: i64) -> String {
    sqlx::query_scalar("SELECT status FROM annotators WHERE id = $1")
        .bind(id)
        .fetch_one(&database.pool)
        .await
        .unwrap()
}

/// Kinds of the open jobs about this annotator.
async fn open_jobs(database: &Database, id: i64) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT kind FROM jobs WHERE args = jsonb_build_object('annotator_id', $1) AND finalized_at IS NULL
         ORDER BY id",
    )
    .bind(id)
    .fetch_all(&database.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn annotators_from_creation_to_deletion() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let role = api.create("/api/roles", json!({ "name": "labeler", "color": "#3B82F6" })).await;
    let body =
        json!({ "name": "Alice", "email": "Alice@example.com", "roleId": role, "notes": "left-handed" });
    let alice = api.post("/api/annotators", body.clone()).await.expect(201);
    assert_eq!(fields(&alice), sorted(FIELDS));
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&alice[field], value, "{field}");
    }
    assert_eq!((&alice["status"], &alice["subdomain"]), (&json!("created"), &json!("alice")));
    assert_eq!((&alice["rejectionCount"], &alice["containerId"]), (&json!(0), &Value::Null));
    assert_eq!(alice["role"], json!({ "id": role, "name": "labeler", "color": "#3B82F6" }));
    assert!(is_time(&alice["createdAt"]) && is_time(&alice["updatedAt"]), "{alice}");

    let path = format!("/api/annotators/{}", alice["id"]);
    let detail = api.get(&path).await.expect(200);
    assert_eq!(fields(&detail), sorted(&[FIELDS, &["assignments"]].concat()));
    assert_eq!(detail["assignments"], json!([]));

    let duplicate = json!({ "name": "Other", "email": "alice@EXAMPLE.com" });
    api.post("/api/annotators", duplicate).await.expect_error(409);
    let bob = api.create_annotator("Bob").await;
    api.put(&format!("/api/annotators/{bob}"), json!({ "email": "alice@example.com" }))
        .await
        .expect_error(409);
    let renamed = api.put(&path, json!({ "name": "Alicia", "roleId": null })).await.expect(200);
    assert_eq!((&renamed["name"], &renamed["role"]), (&json!("Alicia"), &Value::Null));
    assert_eq!(renamed["subdomain"], "alice", "a running instance keeps its address");

    assert_eq!(api.delete(&path).await.expect(200), json!({ "success": true }));
    for answer in
        [api.get(&path).await, api.delete(&path).await, api.put(&path, json!({ "name": "x" })).await]
    {
        answer.expect_error(404);
    }
    assert_eq!(api.get("/api/annotators").await.expect(200)["pagination"]["total"], 1);
    let id = alice["id"].as_i64().unwrap();
    assert_eq!(open_jobs(&database, id).await, ["remove_instance"]);
    assert_eq!(status(&database, id).await, "deleted");
    // The address is free again.
    api.post("/api/annotators", body).await.expect(201);
}

#[tokio::test]
async fn subdomains_are_unique_even_when_created_at_once() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let create = |number: usize| {
        let body = json!({ "name": "Ann O'Tator", "email": format!("ann{number}@example.com") });
        api.post("/api/annotators", body)
    };
    let created = futures::future::join_all((0..6).map(create)).await;
    let mut subdomains: Vec<String> = created
        .into_iter()
        .map(|answer| answer.expect(201)["subdomain"].as_str().unwrap().to_owned())
        .collect();
    subdomains.sort_unstable();
    let expected =
        ["ann-o-tator", "ann-o-tator-2", "ann-o-tator-3", "ann-o-tator-4", "ann-o-tator-5", "ann-o-tator-6"];
    assert_eq!(subdomains, expected);
}

#[tokio::test]
async fn start_and_stop_follow_the_states() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    // From the state, the call and what comes of it: status code, new state, jobs.
    let cases: &[(&str, &str, u16, &str, &[&str])] = &[
        ("created", "start", 200, "starting", &["provision_instance"]),
        ("stopped", "start", 200, "starting", &["provision_instance"]),
        ("error", "start", 200, "starting", &["provision_instance"]),
        ("starting", "start", 400, "starting", &[]),
        ("active", "start", 400, "active", &[]),
        ("stopping", "start", 400, "stopping", &[]),
        ("active", "stop", 200, "stopping", &["stop_instance"]),
        ("starting", "stop", 200, "stopping", &["stop_instance"]),
        ("error", "stop", 200, "stopping", &["stop_instance"]),
        ("stopping", "stop", 200, "stopping", &["stop_instance"]),
        ("stopped", "stop", 200, "stopped", &[]),
        ("created", "stop", 400, "created", &[]),
    ];
    for (number, (before, call, code, after, jobs)) in cases.iter().enumerate() {
        let id = api.create_annotator(&format!("A{number}")).await;
        set_status(&database, id, before).await;
        let answer = api.send(api.request(Method::POST, &format!("/api/annotators/{id}/{call}"))).await;
        let case = format!("{before} {call}: {}", answer.body);
        assert_eq!(answer.status.as_u16(), *code, "{case}");
        if *code == 200 {
            assert_eq!(answer.body["success"], true, "{case}");
        }
        if *code == 200 && *call == "start" {
            assert_eq!(answer.body, json!({ "success": true, "status": "starting" }), "{case}");
        }
        assert_eq!(status(&database, id).await, *after, "{case}");
        assert_eq!(open_jobs(&database, id).await, *jobs, "{case}");
    }
    for call in ["start", "stop"] {
        api.send(api.request(Method::POST, &format!("/api/annotators/999/{call}"))).await.expect_error(404);
    }
}

#[tokio::test]
async fn of_many_starts_at_once_one_counts() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = api.create_annotator("Alice").await;
    let start = || api.send(api.request(Method::POST, &format!("/api/annotators/{id}/start")));
    let answers = futures::future::join_all((0..8).map(|_| start())).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 400).count(), 7);
    assert_eq!(open_jobs(&database, id).await, ["provision_instance"]);
}

#[tokio::test]
async fn status_tells_where_the_instance_is_and_why_it_is_not() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = api.create_annotator("Alice").await;
    let path = format!("/api/annotators/{id}/status");
    let created = json!({
        "status": "created", "containerId": null, "containerIp": null, "subdomain": "alice", "url": null
    });
    assert_eq!(api.get(&path).await.expect(200), created);
    set_status(&database, id, "active").await;
    let active = json!({
        "status": "active", "containerId": "fleet-ls-1", "containerIp": "127.0.0.1", "subdomain": "alice",
        "url": "http://127.0.0.1:18000"
    });
    assert_eq!(api.get(&path).await.expect(200), active);
    set_status(&database, id, "error").await;
    assert_eq!(api.get(&path).await.expect(200)["statusReason"], "the port was taken");
    api.get("/api/annotators/999/status").await.expect_error(404);
}

#[tokio::test]
async fn behind_a_router_the_url_is_the_subdomain() {
    let database = Database::create().await;
    let first = Api::start(&database).await;
    let id = first.create_annotator("Alice").await;
    set_status(&database, id, "active").await;
    let mut config = crate::support::api::config(&database.url);
    config.instances.domain = Some("fleet.localhost".into());
    let api = Api::serve(config, database.pool.clone()).await;
    api.log_in(crate::support::api::ADMIN_EMAIL, crate::support::api::ADMIN_PASSWORD).await.expect(200);
    let status = api.get(&format!("/api/annotators/{id}/status")).await.expect(200);
    assert_eq!(status["url"], "http://alice.fleet.localhost");
}

#[tokio::test]
async fn an_instance_reports_its_token_with_its_own_secret() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (alice, bob) = (api.create_annotator("Alice").await, api.create_annotator("Bob").await);
    let stranger = api.stranger();
    let report = |id: i64, secret: &str| {
        let request = stranger.request(Method::POST, &format!("/api/annotators/{id}/token"));
        answer(request.header("X-Webhook-Secret", secret).json(&json!({ "token": "abc123" })))
    };
    let token =
        || async { api.get(&format!("/api/annotators/{alice}")).await.expect(200)["apiToken"].clone() };
    for (id, secret) in [(alice, "wrong"), (alice, ""), (alice, &*api.webhook_secret(bob)), (999, "wrong")] {
        report(id, secret).await.expect_error(401);
    }
    let without = stranger.request(Method::POST, &format!("/api/annotators/{alice}/token"));
    answer(without.json(&json!({ "token": "abc123" }))).await.expect_error(401);
    assert_eq!(token().await, Value::Null, "nothing is stored");
    assert_eq!(report(alice, &api.webhook_secret(alice)).await.expect(200), json!({ "success": true }));
    assert_eq!(token().await, "abc123");
    let empty = stranger.request(Method::POST, &format!("/api/annotators/{alice}/token"));
    let empty = empty.header("X-Webhook-Secret", api.webhook_secret(alice)).json(&json!({ "token": "" }));
    assert_eq!(answer(empty).await.expect_error(400).1, ["token"]);
    api.delete(&format!("/api/annotators/{alice}")).await.expect(200);
    report(alice, &api.webhook_secret(alice)).await.expect_error(401);
}
