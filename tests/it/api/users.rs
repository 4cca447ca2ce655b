//! People: their roles, and that there is always an administrator.

use reqwest::{Method, header::ORIGIN};
use serde_json::{Value, json};

use super::{fields, is_time, sorted};
use crate::support::{
    api::{ADMIN_EMAIL, Api},
    database::Database,
};

const PASSWORD: &str = "correct horse";

async fn user(api: &Api, role: &str) -> i64 {
    let body = json!({ "email": format!("{role}.person@fleet.local"), "role": role, "password": PASSWORD });
    api.create("/api/users", body).await
}

/// Another browser, in which this person is logged in.
async fn logged_in(api: &Api, email: &str) -> Api {
    let theirs = Api::at(&api.url);
    theirs.log_in(email, PASSWORD).await.expect(200);
    theirs
}

#[tokio::test]
async fn users_from_creation_to_deletion() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let body = json!({ "email": "Olga@fleet.local", "role": "operator", "password": PASSWORD });
    let olga = api.post("/api/users", body).await.expect(201);
    assert_eq!(fields(&olga), sorted(&["id", "email", "role", "createdAt"]), "no password, no hash");
    assert_eq!((&olga["email"], &olga["role"]), (&json!("Olga@fleet.local"), &json!("operator")));
    assert!(is_time(&olga["createdAt"]), "{olga}");
    let path = format!("/api/users/{}", olga["id"]);
    assert_eq!(api.get(&path).await.expect(200), olga);
    assert_eq!(api.get("/api/users").await.expect(200)["pagination"]["total"], 2);
    let duplicate = json!({ "email": "olga@FLEET.local", "role": "viewer", "password": PASSWORD });
    api.post("/api/users", duplicate).await.expect_error(409);
    api.put(&path, json!({ "email": ADMIN_EMAIL })).await.expect_error(409);

    let theirs = logged_in(&api, "olga@fleet.local").await;
    let renamed = api.put(&path, json!({ "email": "o@fleet.local" })).await.expect(200);
    assert_eq!((&renamed["email"], &renamed["role"]), (&json!("o@fleet.local"), &json!("operator")));
    theirs.get("/api/roles").await.expect(200);
    assert_eq!(api.delete(&path).await.expect(200), json!({ "success": true }));
    theirs.get("/api/roles").await.expect_error(401);
    for answer in
        [api.get(&path).await, api.delete(&path).await, api.put(&path, json!({"role": "viewer"})).await]
    {
        answer.expect_error(404);
    }
}

#[tokio::test]
async fn each_role_opens_its_part() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let operator = user(&api, "operator").await;
    user(&api, "viewer").await;
    let (olga, vera) = (
        logged_in(&api, "operator.person@fleet.local").await,
        logged_in(&api, "viewer.person@fleet.local").await,
    );
    assert_eq!(vera.get("/api/auth/session").await.expect(200)["user"]["role"], "viewer");
    for theirs in [&olga, &vera] {
        theirs.get("/api/annotators").await.expect(200);
        theirs.get("/api/settings").await.expect(200);
        for path in ["/api/users", "/api/keys"] {
            let (message, _) = theirs.get(path).await.expect_error(403);
            assert!(message.contains("needs the scope admin"), "{message}");
        }
        theirs.put("/api/settings/k", json!({ "value": 1 })).await.expect_error(403);
        theirs.put(&format!("/api/users/{operator}"), json!({ "role": "admin" })).await.expect_error(403);
        let own = json!({ "name": "k", "scopes": ["admin"] });
        theirs.post("/api/keys", own).await.expect_error(403);
    }
    let (message, _) = vera.post("/api/roles", json!({ "name": "r" })).await.expect_error(403);
    assert!(message.contains("needs the scope write, and viewer.person@fleet.local has read"), "{message}");
    let role = olga.create_role("r").await;
    vera.delete(&format!("/api/roles/{role}")).await.expect_error(403);
    olga.delete(&format!("/api/roles/{role}")).await.expect(200);

    // A new role holds from the next request on.
    api.put(&format!("/api/users/{operator}"), json!({ "role": "viewer" })).await.expect(200);
    olga.post("/api/roles", json!({ "name": "r" })).await.expect_error(403);
}

#[tokio::test]
async fn a_new_password_ends_the_sessions_of_that_user() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = user(&api, "operator").await;
    user(&api, "viewer").await;
    let (first, second, other) = (
        logged_in(&api, "operator.person@fleet.local").await,
        logged_in(&api, "operator.person@fleet.local").await,
        logged_in(&api, "viewer.person@fleet.local").await,
    );
    api.put(&format!("/api/users/{id}"), json!({ "password": "another horse" })).await.expect(200);
    first.get("/api/roles").await.expect_error(401);
    second.get("/api/roles").await.expect_error(401);
    other.get("/api/roles").await.expect(200);
    first.log_in("operator.person@fleet.local", PASSWORD).await.expect_error(401);
    first.log_in("operator.person@fleet.local", "another horse").await.expect(200);
}

#[tokio::test]
async fn the_last_administrator_stays_one() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let first = api.get("/api/users").await.expect(200)["data"][0]["id"].as_i64().unwrap();
    let path = |id: i64| format!("/api/users/{id}");
    api.delete(&path(first)).await.expect_error(409);
    api.put(&path(first), json!({ "role": "operator" })).await.expect_error(409);
    api.put(&path(first), json!({ "role": "admin" })).await.expect(200);
    let second = user(&api, "admin").await;
    api.put(&path(first), json!({ "role": "operator" })).await.expect(200);
    let theirs = logged_in(&api, "admin.person@fleet.local").await;
    theirs.delete(&path(second)).await.expect_error(409);
}

/// Each of several leaves the others in place; all of them at once would leave nobody.
#[tokio::test]
async fn of_many_administrators_who_go_at_once_one_stays() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let key = api.post("/api/keys", json!({ "name": "k", "scopes": ["admin"] })).await.expect(201);
    let key = key["key"].as_str().unwrap().to_owned();
    for number in 0..4 {
        let body =
            json!({ "email": format!("a{number}@fleet.local"), "role": "admin", "password": PASSWORD });
        api.create("/api/users", body).await;
    }
    let all = api.get("/api/users").await.expect(200)["data"].as_array().unwrap().clone();
    let stranger = api.stranger();
    let go = |(number, user): (usize, &Value)| {
        let path = format!("/api/users/{}", user["id"]);
        let request = match number % 2 {
            0 => stranger.request(Method::DELETE, &path),
            _ => stranger.request(Method::PUT, &path).json(&json!({ "role": "viewer" })),
        };
        crate::support::api::answer(request.bearer_auth(&key))
    };
    let answers = futures::future::join_all(all.iter().enumerate().map(go)).await;
    let refused = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!(refused, 1, "{answers:?}");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM users WHERE role = 'admin'")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(left, 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_user_is_told() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let user = |field: &str, value: Value| {
        let mut body = json!({ "email": "u@fleet.local", "role": "viewer", "password": PASSWORD });
        body[field] = value;
        body
    };
    let cases: [(Value, &[&str]); 7] = [
        (json!({ "email": "u@fleet.local", "role": "viewer" }), &["password"]),
        (user("password", Value::Null), &["password"]),
        (user("password", json!("short")), &["password"]),
        (user("password", json!("x".repeat(1025))), &["password"]),
        (user("role", json!("root")), &["role"]),
        (user("email", json!("nobody")), &["email"]),
        (json!({ "email": "nobody", "role": "viewer", "password": "short" }), &["email", "password"]),
    ];
    for (body, expected) in cases {
        assert_eq!(api.post("/api/users", body.clone()).await.expect_error(400).1, expected, "{body}");
    }
    let id = self::user(&api, "viewer").await;
    api.put(&format!("/api/users/{id}"), json!({})).await.expect_error(400);
    api.put(&format!("/api/users/{id}"), json!({ "password": "short" })).await.expect_error(400);
    logged_in(&api, "viewer.person@fleet.local").await;
}

/// An annotator's Label Studio may live on a neighbouring subdomain, and browsers send our cookie along.
#[tokio::test]
async fn a_session_takes_no_orders_from_other_sites() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let create = |name: &str, origin: &str| {
        let request = api.request(Method::POST, "/api/roles").header(ORIGIN, origin);
        api.send(request.json(&json!({ "name": name })))
    };
    create("r", "http://alice.fleet.localhost").await.expect_error(403);
    create("r", "null").await.expect_error(403);
    create("r", &api.url).await.expect(201);
    let fetched = api.request(Method::POST, "/api/roles").header("Sec-Fetch-Site", "same-site");
    api.send(fetched.json(&json!({ "name": "s" }))).await.expect_error(403);
    let read = api.request(Method::GET, "/api/roles").header("Sec-Fetch-Site", "cross-site");
    api.send(read).await.expect(200);
}
