//! The cookie login.

use reqwest::{
    Method,
    header::{COOKIE, LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE},
};
use serde_json::json;

use crate::support::{
    api::{ADMIN_EMAIL, ADMIN_PASSWORD, Api, answer, config},
    database::Database,
};

const LOGIN: &str = "/api/auth/callback/credentials";

#[tokio::test]
async fn a_login_opens_what_is_closed_and_a_logout_closes_it() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    api.get("/api/roles").await.expect(200);
    let session = api.get("/api/auth/session").await.expect(200);
    assert_eq!(session["user"], json!({ "email": ADMIN_EMAIL, "role": "admin" }));

    let csrf = api.get("/api/auth/csrf").await.expect(200)["csrfToken"].as_str().unwrap().to_owned();
    let out = api.request(Method::POST, "/api/auth/signout").form(&[("csrfToken", &csrf)]);
    assert_eq!(api.send(out).await.status, 302);
    api.get("/api/roles").await.expect_error(401);
    assert_eq!(api.get("/api/auth/session").await.expect(200), json!({}));
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sessions").fetch_one(&database.pool).await.unwrap();
    assert_eq!(left, 0, "the session ends on the server too");
}

/// As in the contract's example: `curl -c` sends no cookie back before it has a session.
#[tokio::test]
async fn a_client_without_a_csrf_cookie_can_log_in_unless_it_is_a_browser() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let csrf = api.get("/api/auth/csrf").await.expect(200)["csrfToken"].as_str().unwrap().to_owned();
    let form = [("email", ADMIN_EMAIL), ("password", ADMIN_PASSWORD), ("csrfToken", &csrf)];
    let bare = || reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let login = |client: reqwest::Client| client.post(format!("{}{LOGIN}", api.url)).form(&form);

    let redirect = answer(login(bare())).await;
    assert_eq!(redirect.status, 302);
    assert_eq!(redirect.headers[LOCATION], "/api/auth/session");
    let cookie = redirect.headers[SET_COOKIE].to_str().unwrap();
    for part in ["next-auth.session-token=", "HttpOnly", "SameSite=Lax", "Path=/", "Expires="] {
        assert!(cookie.contains(part), "{part} is not in {cookie}");
    }
    assert!(!cookie.contains("Secure"), "the test's public URL is plain http");
    let pair = cookie.split(';').next().unwrap();
    answer(bare().get(format!("{}/api/roles", api.url)).header(COOKIE, pair)).await.expect(200);

    let (_, fields) = answer(login(bare()).header(ORIGIN, "https://evil.example")).await.expect_error(400);
    assert_eq!(fields, ["csrfToken"]);
    let other = login(bare()).header(COOKIE, "next-auth.csrf-token=other");
    assert_eq!(answer(other).await.expect_error(400).1, ["csrfToken"]);
}

#[tokio::test]
async fn behind_https_cookies_are_secure() {
    let database = Database::create().await;
    let mut config = config(&database.url);
    config.public_url = "https://fleet.example".into();
    let api = Api::serve(config, database.pool.clone()).await;
    let csrf = api.get("/api/auth/csrf").await;
    let cookie = csrf.headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-next-auth.csrf-token="), "{cookie}");
    assert!(cookie.contains("; Secure"), "{cookie}");
}

#[tokio::test]
async fn what_is_wrong_with_a_login_is_told() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (wrong_password, _) = api.log_in(ADMIN_EMAIL, "wrong").await.expect_error(401);
    let (unknown_email, _) = api.log_in("nobody@fleet.local", "wrong").await.expect_error(401);
    assert_eq!(wrong_password, unknown_email, "the answer tells nobody which emails are known");
    let form = api.request(Method::POST, LOGIN).form(&[("email", ADMIN_EMAIL)]);
    assert_eq!(api.send(form).await.expect_error(400).1, ["password", "csrfToken"]);
    let forged = [("email", ADMIN_EMAIL), ("password", ADMIN_PASSWORD), ("csrfToken", "forged")];
    let form = api.request(Method::POST, LOGIN).form(&forged);
    assert_eq!(api.send(form).await.expect_error(400).1, ["csrfToken"]);
    api.post(LOGIN, json!({})).await.expect_error(400);
}

#[tokio::test]
async fn attempts_are_limited_by_email_even_all_at_once() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let guesses = (0..12).map(|_| api.log_in("Admin@fleet.local", "wrong"));
    let statuses: Vec<u16> =
        futures::future::join_all(guesses).await.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 7, "{statuses:?}");
    // The right password does not help now, and somebody else is not locked out.
    let refused = api.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    let wait: u64 = refused.headers[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=900).contains(&wait), "{wait}");
    refused.expect_error(429);
    api.log_in("other@fleet.local", "wrong").await.expect_error(401);

    sqlx::query("UPDATE login_failures SET failed_at = failed_at - interval '15 minutes'")
        .execute(&database.pool)
        .await
        .unwrap();
    api.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200);
}

#[tokio::test]
async fn an_expired_session_is_no_session() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    api.get("/api/roles").await.expect(200);
    sqlx::query("UPDATE sessions SET expires_at = now()").execute(&database.pool).await.unwrap();
    api.get("/api/roles").await.expect_error(401);
    assert_eq!(api.get("/api/auth/session").await.expect(200), json!({}));
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sessions").fetch_one(&database.pool).await.unwrap();
    assert_eq!(left, 1, "its row is still there");
}

/// Shown instead of a secret, the best session opens nothing.
#[tokio::test]
async fn the_doors_of_annotators_take_no_session_and_no_key() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = api.create_annotator("Alice").await;
    let key = api.post("/api/keys", json!({ "name": "k", "scopes": ["admin"] })).await.expect(201);
    let key = key["key"].as_str().unwrap();
    let token = format!("/api/annotators/{id}/token");
    for path in [token.as_str(), "/api/webhook"] {
        let post = || {
            let request = api.request(Method::POST, path).header("X-Annotator-Id", id);
            request.json(&json!({ "token": "t" }))
        };
        api.send(post()).await.expect_error(401);
        api.send(post().bearer_auth(key)).await.expect_error(401);
        api.send(post().header("X-Webhook-Secret", key)).await.expect_error(401);
    }
}

#[tokio::test]
async fn the_database_holds_no_credential() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let row: (String, Vec<u8>) =
        sqlx::query_as("SELECT password_hash, token_sha256 FROM users JOIN sessions ON user_id = users.id")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert!(row.0.starts_with("$argon2id$"), "{}", row.0);
    let as_token = format!("next-auth.session-token={}", hex::encode(&row.1));
    let stolen = api.stranger().request(Method::GET, "/api/roles").header(COOKIE, as_token);
    answer(stolen).await.expect_error(401);
}

#[tokio::test]
async fn a_new_password_of_the_settings_ends_old_sessions() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let queue = labelfleet::queue::Client::new(database.pool.clone());
    let ensure = |password: &str| {
        let (queue, password) = (queue.clone(), password.to_owned().into());
        async move { labelfleet::ops::auth::ensure_admin(&queue, "ADMIN@fleet.local", &password).await.unwrap() }
    };
    ensure(ADMIN_PASSWORD).await;
    api.get("/api/roles").await.expect(200);
    ensure("another").await;
    api.get("/api/roles").await.expect_error(401);
    api.log_in(ADMIN_EMAIL, "another").await.expect(200);
    let users: i64 =
        sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&database.pool).await.unwrap();
    assert_eq!(users, 1);
}
