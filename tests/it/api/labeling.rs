//! Roles, and what all lists have in common.

use serde_json::{Value, json};

use super::{fields, is_time, sorted};
use crate::support::{api::Api, database::Database};

#[tokio::test]
async fn roles_from_creation_to_deletion() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let body = json!({ "name": "labeler", "description": "General image labeling", "color": "#3B82F6" });
    let role = api.post("/api/roles", body).await.expect(201);
    assert_eq!(fields(&role), sorted(&["id", "name", "description", "color", "createdAt"]));
    assert!(is_time(&role["createdAt"]), "{role}");
    let path = format!("/api/roles/{}", role["id"]);
    assert_eq!(api.get(&path).await.expect(200), role);
    api.post("/api/roles", json!({ "name": "labeler" })).await.expect_error(409);

    let changed = api.put(&path, json!({ "description": null })).await.expect(200);
    assert_eq!((&changed["name"], &changed["description"]), (&json!("labeler"), &Value::Null));
    // What was read can be written back whole.
    assert_eq!(api.put(&path, changed.clone()).await.expect(200), changed);
    api.create_role("reviewer").await;
    api.put(&path, json!({ "name": "reviewer" })).await.expect_error(409);

    assert_eq!(api.delete(&path).await.expect(200), json!({ "success": true }));
    api.get(&path).await.expect_error(404);
    api.delete(&path).await.expect_error(404);
    api.put(&path, json!({ "name": "x" })).await.expect_error(404);
}

#[tokio::test]
async fn a_role_in_use_stays() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let role = api.create_role("labeler").await;
    let body = json!({ "name": "Alice", "email": "alice@example.com", "roleId": role });
    let annotator = api.create("/api/annotators", body).await;
    let path = format!("/api/roles/{role}");
    api.delete(&path).await.expect_error(409);
    // A deleted annotator, whom nobody sees, holds it no longer.
    api.delete(&format!("/api/annotators/{annotator}")).await.expect(200);
    api.delete(&path).await.expect(200);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    for name in ["a", "b", "c"] {
        api.create_role(name).await;
    }
    let names = |list: &Value| {
        let rows = list["data"].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect::<String>()
    };
    let all = api.get("/api/roles").await.expect(200);
    assert_eq!(names(&all), "abc");
    assert_eq!(all["pagination"], json!({ "total": 3, "limit": 100, "offset": 0, "hasMore": false }));
    let first = api.get("/api/roles?limit=2").await.expect(200);
    assert_eq!(names(&first), "ab");
    assert_eq!(first["pagination"], json!({ "total": 3, "limit": 2, "offset": 0, "hasMore": true }));
    let second = api.get("/api/roles?limit=2&offset=2").await.expect(200);
    assert_eq!(names(&second), "c");
    assert_eq!(second["pagination"]["hasMore"], false);
    let past = api.get("/api/roles?offset=9").await.expect(200);
    assert_eq!((past["data"].clone(), &past["pagination"]["total"]), (json!([]), &json!(3)));
    for (query, field) in
        [("limit=0", "limit"), ("limit=501", "limit"), ("limit=x", "limit"), ("offset=-1", "offset")]
    {
        let lists =
            ["roles", "labeling-configs", "gold-tasks", "workflows", "annotators", "assignments", "settings"];
        for list in lists {
            let (_, fields) = api.get(&format!("/api/{list}?{query}")).await.expect_error(400);
            assert_eq!(fields, [field], "{list}?{query}");
        }
    }
}
