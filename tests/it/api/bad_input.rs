//! What is wrong is named, and nothing of it is stored.

use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::support::{api::Api, database::Database, factory};

/// Every bad body, with the fields that its answer names.
fn bad_bodies() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let long = |length: usize| "x".repeat(length);
    let workflow = |field: &str, value: Value| {
        let mut body = json!({ "name": "w", "s3SourcePath": "a/", "s3ExportPath": "b/" });
        body[field] = value;
        body
    };
    let gold = |field: &str, value: Value| {
        let mut body = json!({ "s3ImageKey": "a.png", "expectedLabels": [factory::choice("cat")], "labelingConfigId": 1 });
        body[field] = value;
        body
    };
    let xml = |xml: &str| json!({ "name": "c", "configXml": xml });
    let annotator = |field: &str, value: Value| {
        let mut body = json!({ "name": "a", "email": "a@example.com" });
        body[field] = value;
        body
    };
    vec![
        ("roles", json!({}), &["name"]),
        ("roles", json!({ "name": 7 }), &["name"]),
        ("roles", json!({ "name": null }), &["name"]),
        ("roles", json!({ "name": "" }), &["name"]),
        ("roles", json!({ "name": "   " }), &["name"]),
        ("roles", json!({ "name": long(101) }), &["name"]),
        ("roles", json!({ "name": "a\u{0}b" }), &["name"]),
        ("roles", json!({ "name": "r", "description": long(501) }), &["description"]),
        ("roles", json!({ "name": "r", "color": "blue" }), &["color"]),
        ("roles", json!({ "name": "r", "color": "#12345" }), &["color"]),
        ("roles", json!({ "name": "", "color": "blue" }), &["name", "color"]),
        ("labeling-configs", json!({ "name": "c" }), &["configXml"]),
        ("labeling-configs", xml("<View>"), &["configXml"]),
        ("labeling-configs", xml("<Image name='i' value='$i'/>"), &["configXml"]),
        ("labeling-configs", xml("<View><Header value='x'/></View>"), &["configXml"]),
        ("labeling-configs", xml("<!DOCTYPE a><View><Image name='i' value='$i'/></View>"), &["configXml"]),
        ("labeling-configs", xml(&format!("<View><Image/><!--{}--></View>", long(50_000))), &["configXml"]),
        ("gold-tasks", gold("labelingConfigId", json!(999)), &["labelingConfigId"]),
        ("gold-tasks", gold("labelingConfigId", json!("1")), &["labelingConfigId"]),
        ("gold-tasks", gold("expectedLabels", json!([])), &["expectedLabels"]),
        ("gold-tasks", gold("expectedLabels", json!({})), &["expectedLabels"]),
        ("gold-tasks", gold("expectedLabels", json!([{}, 7])), &["expectedLabels[1]"]),
        ("gold-tasks", gold("s3ImageKey", json!("")), &["s3ImageKey"]),
        ("gold-tasks", gold("difficulty", json!("brutal")), &["difficulty"]),
        ("gold-tasks", gold("category", json!(long(101))), &["category"]),
        ("workflows", json!({ "name": "w", "s3SourcePath": "a/" }), &["s3ExportPath"]),
        ("workflows", workflow("roleId", json!(999)), &["roleId"]),
        ("workflows", workflow("labelingConfigId", json!(999)), &["labelingConfigId"]),
        ("workflows", workflow("previousWorkflowId", json!(999)), &["previousWorkflowId"]),
        ("workflows", workflow("rejectionRouteWorkflowId", json!(999)), &["rejectionRouteWorkflowId"]),
        ("workflows", workflow("rejectionMode", json!("route_to_workflow")), &["rejectionRouteWorkflowId"]),
        ("workflows", workflow("rejectionMode", json!("burn")), &["rejectionMode"]),
        ("workflows", workflow("imagesPerProject", json!(0)), &["imagesPerProject"]),
        ("workflows", workflow("imagesPerProject", json!(10_001)), &["imagesPerProject"]),
        ("workflows", workflow("imagesPerProject", json!(1.5)), &["imagesPerProject"]),
        ("workflows", workflow("imagesPerProject", json!(1_u64 << 40)), &["imagesPerProject"]),
        ("workflows", workflow("maxProjects", json!(0)), &["maxProjects"]),
        ("workflows", workflow("goldStandardRate", json!(1.01)), &["goldStandardRate"]),
        ("workflows", workflow("goldStandardRate", json!(-0.1)), &["goldStandardRate"]),
        ("workflows", workflow("autoAssign", json!("yes")), &["autoAssign"]),
        ("workflows", workflow("autoAssign", json!(null)), &["autoAssign"]),
        ("annotators", json!({ "name": "a" }), &["email"]),
        ("annotators", annotator("email", json!("not-an-email")), &["email"]),
        ("annotators", annotator("name", json!(long(256))), &["name"]),
        ("annotators", annotator("notes", json!(long(2001))), &["notes"]),
        ("annotators", annotator("roleId", json!(999)), &["roleId"]),
        ("annotators", annotator("roleId", json!("one")), &["roleId"]),
    ]
}

#[tokio::test]
async fn the_bad_field_is_named_and_nothing_is_stored() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    // The one that gold tasks are for.
    assert_eq!(api.create_config().await, 1);
    for (resource, body, expected) in bad_bodies() {
        let answer = api.post(&format!("/api/{resource}"), body.clone()).await;
        let (message, fields) = answer.expect_error(400);
        assert_eq!(fields, expected, "{resource} {body}: {message}");
        assert!(expected.iter().all(|field| message.contains(field)), "{resource} {body}: {message}");
    }
    for table in ["roles", "labeling_configs", "gold_tasks", "workflows", "annotators", "jobs"] {
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&database.pool)
            .await
            .unwrap();
        assert_eq!(count, i64::from(table == "labeling_configs"), "{table}");
    }
}

/// The same rules hold for a change, and what was there stays.
#[tokio::test]
async fn a_bad_change_changes_nothing() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let config = api.create_config().await;
    let gold = json!({ "s3ImageKey": "a.png", "expectedLabels": [factory::choice("cat")], "labelingConfigId": config });
    let ids = [
        ("roles", api.create_role("r").await),
        ("gold-tasks", api.create("/api/gold-tasks", gold).await),
        ("labeling-configs", api.create_config().await),
        ("workflows", api.create_workflow("w").await),
        ("annotators", api.create_annotator("Alice").await),
    ];
    for (resource, id) in ids {
        let path = format!("/api/{resource}/{id}");
        let before = api.get(&path).await.expect(200);
        for (_, body, expected) in bad_bodies().into_iter().filter(|(name, ..)| *name == resource) {
            // A field that is missing is no fault here.
            let (Value::Object(body), [field, ..]) = (body, expected) else { continue };
            let name = field.split('[').next().unwrap();
            if !body.contains_key(name) {
                continue;
            }
            let (message, fields) = api.put(&path, Value::Object(body.clone())).await.expect_error(400);
            assert_eq!(fields, expected, "{resource} {body:?}: {message}");
        }
        api.put(&path, json!({})).await.expect_error(400);
        api.put(&path, json!([])).await.expect_error(400);
        assert_eq!(api.get(&path).await.expect(200), before, "{resource}");
    }
}

#[tokio::test]
async fn ids_in_paths_are_numbers() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    for resource in
        ["roles", "labeling-configs", "gold-tasks", "workflows", "annotators", "assignments", "tasks"]
    {
        for id in ["x", "1.5", "99999999999999999999", "%F0%9F"] {
            let (_, fields) = api.get(&format!("/api/{resource}/{id}")).await.expect_error(400);
            assert_eq!(fields, ["id"], "{resource}/{id}");
        }
        for id in ["0", "-1", "9223372036854775807"] {
            api.get(&format!("/api/{resource}/{id}")).await.expect_error(404);
        }
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let post = |body: &'static str, kind: &'static str| {
        api.send(api.request(Method::POST, "/api/roles").header(CONTENT_TYPE, kind).body(body))
    };
    let good = r#"{"name":"r"}"#;
    for body in ["", "{", "{\"name\":\"r\"", "{\"name\":\"r\"} x", "nonsense", "\u{feff}{}"] {
        let (message, _) = post(body, "application/json").await.expect_error(400);
        assert!(message.contains("JSON"), "{body}: {message}");
    }
    for body in ["[]", "7", "null", "\"x\""] {
        post(body, "application/json").await.expect_error(400);
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let (message, _) = post(good, kind).await.expect_error(400);
        assert!(message.contains("application/json"), "{message}");
    }
    post(good, "application/json; charset=utf-8").await.expect(201);
    // Deep nesting ends in an answer, not in a stack overflow.
    let deep = "[".repeat(100_000);
    api.send(api.request(Method::POST, "/api/roles").header(CONTENT_TYPE, "application/json").body(deep))
        .await
        .expect_error(400);
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let body = json!({ "value": "x".repeat(labelfleet::http::BODY_LIMIT) });
    api.put("/api/settings/big", body).await.expect_error(413);
    api.get("/api/settings/big").await.expect_error(404);
    let fits = json!({ "value": "x".repeat(labelfleet::http::BODY_LIMIT - 100) });
    api.put("/api/settings/big", fits).await.expect(200);
}

/// What passes every check of ours and Postgres still can't hold.
#[tokio::test]
async fn values_that_the_database_refuses_are_a_bad_request() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let body = json!({ "value": "a\u{0}b" });
    let (message, _) = api.put("/api/settings/nul", body).await.expect_error(400);
    assert!(message.contains("can't hold"), "{message}");
    for path in ["/api/settings/%00", "/api/settings/%FF", "/i/%FF"] {
        api.get(path).await.expect_error(400);
    }
    api.get("/api/gold-tasks?category=%00").await.expect_error(400);
}
