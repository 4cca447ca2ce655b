//! Every route and method of the OpenAPI document without credentials, and with too small ones.

use labelfleet::http;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    api::{Api, answer},
    database::Database,
};

/// What may be asked by anybody. Images are found by a token that can't be guessed.
const OPEN: [&str; 8] = [
    "GET /api/auth/csrf",
    "GET /api/auth/session",
    "GET /api/health",
    "GET /api/version",
    "GET /i/{token}",
    "GET /metrics",
    "POST /api/auth/callback/credentials",
    "POST /api/auth/signout",
];

/// What wants an annotator's own secret.
const BY_SECRET: [&str; 2] = ["POST /api/annotators/{id}/token", "POST /api/webhook"];

struct Operation {
    name: String,
    method: Method,
    /// With its parameters filled in.
    path: String,
    document: Value,
}

fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(http::document()).unwrap();
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let mut filled = path.clone();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "path" {
                    filled = filled.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), "1");
                }
            }
            assert!(!filled.contains('{'), "{path} has parameters that it does not document");
            all.push(Operation {
                name: format!("{} {path}", method.to_uppercase()),
                method: method.to_uppercase().parse().unwrap(),
                path: filled,
                document: operation.clone(),
            });
        }
    }
    all
}

#[tokio::test]
async fn without_credentials_every_door_but_the_open_ones_is_closed() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (stranger, mut open, mut by_secret, mut closed) = (api.stranger(), Vec::new(), Vec::new(), 0);
    for Operation { name, method, path, document } in operations() {
        if OPEN.contains(&name.as_str()) {
            assert_eq!(document["security"], json!([{}]), "{name} is open and must say so");
            let request = stranger.request(method, &path).form(&[("csrfToken", "x")]);
            assert_ne!(answer(request).await.status, 401, "{name}");
            open.push(name);
            continue;
        }
        assert!(document["responses"]["401"].is_object(), "{name} does not document its 401");
        let bare = stranger.send(method.clone(), &path).await;
        let with_body = answer(stranger.request(method, &path).json(&json!({}))).await;
        let is_by_secret = BY_SECRET.contains(&name.as_str());
        for refused in [bare, with_body] {
            let (message, _) = refused.expect_error(401);
            assert_eq!(message.contains("log in or show an API key"), !is_by_secret, "{name}: {message}");
        }
        if is_by_secret {
            by_secret.push(name);
        } else {
            assert_eq!(document["security"], Value::Null, "{name} is closed");
            closed += 1;
        }
    }
    open.sort_unstable();
    assert_eq!(open, OPEN, "whatever is open was opened on purpose");
    by_secret.sort_unstable();
    assert_eq!(by_secret, BY_SECRET);
    assert!(closed >= 35, "{closed} closed doors");
}

/// The document says what each door wants, and the door keeps to it.
#[tokio::test]
async fn every_door_wants_the_scope_that_the_document_names() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let mut keys = Vec::new();
    for scope in ["read", "write"] {
        let made = api.post("/api/keys", json!({ "name": scope, "scopes": [scope] })).await.expect(201);
        keys.push((scope, made["key"].as_str().unwrap().to_owned()));
    }
    let (stranger, mut refused) = (api.stranger(), 0);
    for Operation { name, method, path, document } in operations() {
        let Some(needed) = document["x-required-scope"].as_str() else { continue };
        assert_eq!(document["responses"]["403"].is_object(), needed != "read", "{name}: its 403");
        if method == Method::GET && needed == "read" {
            continue;
        }
        for (held, key) in &keys {
            if needed == "write" && *held == "write" {
                // It would be carried out.
                continue;
            }
            let answer = answer(stranger.request(method.clone(), &path).bearer_auth(key)).await;
            assert_eq!(answer.status, 403, "{name} with {held}: {}", answer.body);
            refused += 1;
        }
    }
    assert!(refused >= 30, "{refused} calls were refused");
}
