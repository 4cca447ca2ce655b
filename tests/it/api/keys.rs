//! API keys: every spelling, what each scope opens, and when a key opens nothing.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{
    Method, RequestBuilder,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use super::{fields, is_time, sorted};
use crate::support::{
    api::{Answer, Api, answer},
    database::Database,
};

const FIELDS: &[&str] =
    &["id", "name", "prefix", "scopes", "createdBy", "createdAt", "expiresAt", "lastUsedAt", "revokedAt"];

/// Makes a key; answers its id and itself.
async fn key(api: &Api, scope: &str) -> (i64, String) {
    let made = api.post("/api/keys", json!({ "name": scope, "scopes": [scope] })).await.expect(201);
    (made["id"].as_i64().unwrap(), made["key"].as_str().unwrap().to_owned())
}

async fn call(api: &Api, key: &str, method: Method, path: &str, body: Value) -> Answer {
    answer(api.stranger().request(method, path).bearer_auth(key).json(&body)).await
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_hash() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let expires = "2100-01-01T00:00:00.000Z";
    let body = json!({ "name": "export", "scopes": ["read", "write"], "expiresAt": expires });
    let made = api.post("/api/keys", body).await.expect(201);
    assert_eq!(fields(&made), sorted(&[FIELDS, &["key"]].concat()));
    let key = made["key"].as_str().unwrap();
    assert!(key.len() == 67 && key.starts_with(made["prefix"].as_str().unwrap()), "{made}");
    assert!(made["prefix"].as_str().unwrap().starts_with("lf_") && is_time(&made["createdAt"]), "{made}");
    assert_eq!((&made["expiresAt"], &made["createdBy"]), (&json!(expires), &json!("admin@fleet.local")));

    let listed = api.get("/api/keys").await.expect(200);
    assert_eq!(fields(&listed["data"][0]), sorted(FIELDS));
    assert_eq!(listed["data"][0]["lastUsedAt"], Value::Null);
    let row: String =
        sqlx::query_scalar("SELECT api_keys::text FROM api_keys").fetch_one(&database.pool).await.unwrap();
    assert!(!row.contains(&key[12..]), "the database does not hold the key");
    // What the database does hold opens nothing.
    let stolen = format!("lf_{}", row.split("\\x").nth(1).unwrap().get(..64).unwrap());
    call(&api, &stolen, Method::GET, "/api/roles", Value::Null).await.expect_error(401);
}

#[tokio::test]
async fn every_spelling_opens_the_same_door() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (_, key) = key(&api, "read").await;
    let stranger = api.stranger();
    let get = || stranger.request(Method::GET, "/api/roles");
    type Spelling = fn(RequestBuilder, &str) -> RequestBuilder;
    let spellings: [(&str, Spelling); 6] = [
        ("Token", |request, key| request.header(AUTHORIZATION, format!("Token {key}"))),
        ("token", |request, key| request.header(AUTHORIZATION, format!("token {key}"))),
        ("Bearer", |request, key| request.bearer_auth(key)),
        ("Basic", |request, key| request.basic_auth(key, Some(""))),
        ("Basic without a password", |request, key| request.basic_auth(key, None::<&str>)),
        ("X-Avala-Api-Key", |request, key| request.header("X-Avala-Api-Key", key)),
    ];
    let wrong = format!("lf_{}", "0".repeat(64));
    for (name, spell) in spellings {
        assert_eq!(answer(spell(get(), &key)).await.status, 200, "{name}");
        for bad in [&*wrong, "", "x", &key[..66], &key.to_uppercase()] {
            let refused = answer(spell(get(), bad)).await;
            assert_eq!(refused.headers[WWW_AUTHENTICATE], "Bearer", "{name}");
            refused.expect_error(401);
        }
    }
    for header in ["Digest x", "Basic !!!", "Bearer", &key] {
        answer(get().header(AUTHORIZATION, header)).await.expect_error(401);
    }
    // Who shows a key is held to it, a good session beside it or not.
    api.send(api.request(Method::GET, "/api/roles").bearer_auth(&wrong)).await.expect_error(401);
    api.send(api.request(Method::POST, "/api/roles").bearer_auth(&key).json(&json!({ "name": "r" })))
        .await
        .expect_error(403);
}

#[tokio::test]
async fn each_scope_opens_its_part_and_those_below() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let annotator = api.create_annotator("Alice").await;
    sqlx::query("UPDATE annotators SET api_token = 'secret'").execute(&database.pool).await.unwrap();
    let calls = [
        ("read", Method::GET, "/api/roles".to_owned(), Value::Null),
        ("read", Method::GET, "/api/settings".to_owned(), Value::Null),
        ("write", Method::POST, "/api/roles".to_owned(), json!({ "name": "r" })),
        ("write", Method::PUT, format!("/api/annotators/{annotator}"), json!({ "notes": "n" })),
        ("write", Method::DELETE, "/api/roles/999".to_owned(), Value::Null),
        ("admin", Method::PUT, "/api/settings/k".to_owned(), json!({ "value": 1 })),
        ("admin", Method::GET, "/api/keys".to_owned(), Value::Null),
        ("admin", Method::GET, "/api/users".to_owned(), Value::Null),
        ("admin", Method::POST, "/api/keys".to_owned(), json!({ "name": "k", "scopes": ["admin"] })),
    ];
    let ladder = ["read", "write", "admin"];
    for (rung, scope) in ladder.iter().enumerate() {
        let (_, key) = key(&api, scope).await;
        for (needed, method, path, body) in &calls {
            let answer = call(&api, &key, method.clone(), path, body.clone()).await;
            let case = format!("{scope}: {method} {path}: {}", answer.body);
            if ladder.iter().position(|rung| rung == needed).unwrap() <= rung {
                assert!(!matches!(answer.status.as_u16(), 401 | 403), "{case}");
            } else {
                let (message, _) = answer.expect_error(403);
                assert!(message.contains(&format!("needs the scope {needed}")), "{case}");
            }
        }
        let seen = if *scope == "read" { Value::Null } else { json!("secret") };
        let detail =
            call(&api, &key, Method::GET, &format!("/api/annotators/{annotator}"), Value::Null).await;
        assert_eq!(detail.expect(200)["apiToken"], seen, "{scope}");
        let list = call(&api, &key, Method::GET, "/api/annotators", Value::Null).await.expect(200);
        assert_eq!(list["data"][0]["apiToken"], seen, "{scope}");
    }
}

#[tokio::test]
async fn a_revoked_or_expired_key_opens_nothing() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (id, key) = key(&api, "admin").await;
    let path = format!("/api/keys/{id}");
    call(&api, &key, Method::GET, "/api/roles", Value::Null).await.expect(200);
    assert_eq!(api.delete(&path).await.expect(200), json!({ "success": true }));
    call(&api, &key, Method::GET, "/api/roles", Value::Null).await.expect_error(401);
    let revoked = api.get("/api/keys").await.expect(200)["data"][0]["revokedAt"].clone();
    assert!(is_time(&revoked), "{revoked}");
    api.delete(&path).await.expect(200);
    let again = api.get("/api/keys").await.expect(200)["data"][0]["revokedAt"].clone();
    assert_eq!(again, revoked, "revoking twice changes nothing");
    api.delete("/api/keys/999").await.expect_error(404);

    let (id, key) = self::key(&api, "read").await;
    sqlx::query(
        "UPDATE api_keys SET created_at = now() - interval '1 hour', expires_at = now() WHERE id = $1",
    )
    .bind(id)
    .execute(&database.pool)
    .await
    .unwrap();
    call(&api, &key, Method::GET, "/api/roles", Value::Null).await.expect_error(401);
}

#[tokio::test]
async fn the_last_use_is_kept_to_the_minute() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (id, key) = key(&api, "read").await;
    let used = || async {
        let at =
            sqlx::query_scalar::<_, Option<DateTime<Utc>>>("SELECT last_used_at FROM api_keys WHERE id = $1");
        at.bind(id).fetch_one(&database.pool).await.unwrap()
    };
    assert_eq!(used().await, None);
    let once = || call(&api, &key, Method::GET, "/api/roles", Value::Null);
    once().await.expect(200);
    let first = used().await.expect("the first use is kept at once");
    once().await.expect(200);
    assert_eq!(used().await, Some(first), "not again within the minute");
    sqlx::query("UPDATE api_keys SET last_used_at = now() - interval '61 seconds'")
        .execute(&database.pool)
        .await
        .unwrap();
    once().await.expect(200);
    let since = used().await.unwrap() - first;
    assert!(since >= TimeDelta::zero(), "{since}");
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_told() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let cases: [(Value, &[&str]); 6] = [
        (json!({ "scopes": ["read"] }), &["name"]),
        (json!({ "name": "k" }), &["scopes"]),
        (
            json!({ "name": " ", "scopes": [], "expiresAt": "2001-01-01T00:00:00Z" }),
            &["name", "scopes", "expiresAt"],
        ),
        (json!({ "name": "k", "scopes": ["root"] }), &["scopes[0]"]),
        (json!({ "name": "k", "scopes": ["read", "read", "read", "read"] }), &["scopes"]),
        (json!({ "name": "k", "scopes": ["read"], "expiresAt": "soon" }), &["expiresAt"]),
    ];
    for (body, expected) in cases {
        assert_eq!(api.post("/api/keys", body.clone()).await.expect_error(400).1, expected, "{body}");
    }
    assert_eq!(api.get("/api/keys").await.expect(200)["pagination"]["total"], 0);
}
