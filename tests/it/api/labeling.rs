//! Roles, labeling configs and gold tasks.

use serde_json::{Value, json};

use super::{fields, is_time, sorted};
use crate::support::{
    api::{Api, CONFIG_XML},
    database::Database,
};

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

#[tokio::test]
async fn labeling_configs_tell_who_uses_them() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let body = json!({ "name": "Classes", "description": "cats or dogs", "configXml": CONFIG_XML });
    let id = api.create("/api/labeling-configs", body).await;
    let path = format!("/api/labeling-configs/{id}");
    let config = api.get(&path).await.expect(200);
    let plain = ["id", "name", "description", "configXml", "createdAt"];
    let counts = ["workflowCount", "goldTaskCount", "isLocked"];
    assert_eq!(fields(&config), sorted(&[&plain[..], &counts[..]].concat()));
    assert_eq!((&config["workflowCount"], &config["isLocked"]), (&json!(0), &json!(false)));
    assert_eq!(config["configXml"], CONFIG_XML);
    let list = api.get("/api/labeling-configs").await.expect(200);
    assert_eq!(fields(&list["data"][0]), sorted(&plain));

    let other = CONFIG_XML.replace("dog", "mouse");
    api.put(&path, json!({ "configXml": other })).await.expect(200);
    let gold = json!({ "s3ImageKey": "gold/1.jpg", "expectedLabels": [{}], "labelingConfigId": id });
    let gold = api.create("/api/gold-tasks", gold).await;
    let locked = api.get(&path).await.expect(200);
    assert_eq!((&locked["goldTaskCount"], &locked["isLocked"]), (&json!(1), &json!(true)));
    api.put(&path, json!({ "configXml": CONFIG_XML })).await.expect_error(409);
    assert_eq!(api.get(&path).await.expect(200)["configXml"], other);
    // The name may change, and the same XML is no change.
    api.put(&path, json!({ "name": "Animals", "configXml": other })).await.expect(200);
    api.delete(&path).await.expect_error(409);

    api.delete(&format!("/api/gold-tasks/{gold}")).await.expect(200);
    let workflow = json!({
        "name": "w", "s3SourcePath": "a/", "s3ExportPath": "b/", "labelingConfigId": id
    });
    let workflow = api.create("/api/workflows", workflow).await;
    assert_eq!(api.get(&path).await.expect(200)["workflowCount"], 1);
    api.delete(&path).await.expect_error(409);
    api.delete(&format!("/api/workflows/{workflow}")).await.expect(200);
    api.delete(&path).await.expect(200);
}

#[tokio::test]
async fn gold_tasks_from_creation_to_deletion() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (config, other) = (api.create_config().await, api.create_config().await);
    let labels = json!([{ "from_name": "label", "to_name": "image", "type": "choices", "value": { "choices": ["cat"] } }]);
    let body = json!({
        "name": "Gold - Cat", "s3ImageKey": "gold/cat_001.jpg", "expectedLabels": labels,
        "labelingConfigId": config, "category": "animals", "difficulty": "easy"
    });
    let gold = api.post("/api/gold-tasks", body.clone()).await.expect(201);
    let expected = [
        "id",
        "name",
        "s3ImageKey",
        "expectedLabels",
        "labelingConfigId",
        "category",
        "difficulty",
        "createdAt",
    ];
    assert_eq!(fields(&gold), sorted(&expected));
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&gold[field], value, "{field}");
    }
    let path = format!("/api/gold-tasks/{}", gold["id"]);
    assert_eq!(api.get(&path).await.expect(200), gold);

    let plain = json!({ "s3ImageKey": "gold/2.jpg", "expectedLabels": labels, "labelingConfigId": other });
    api.create("/api/gold-tasks", plain).await;
    for (query, count) in [
        ("", 2),
        (&*format!("?labelingConfigId={other}"), 1),
        ("?category=animals", 1),
        ("?category=plants", 0),
        (&*format!("?category=animals&labelingConfigId={other}"), 0),
    ] {
        let list = api.get(&format!("/api/gold-tasks{query}")).await.expect(200);
        assert_eq!(list["pagination"]["total"], count, "{query}");
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{query}");
    }

    let changed = api.put(&path, json!({ "difficulty": "hard", "category": null })).await.expect(200);
    assert_eq!((&changed["difficulty"], &changed["category"]), (&json!("hard"), &Value::Null));
    let (_, named) = api.put(&path, json!({ "labelingConfigId": 999 })).await.expect_error(400);
    assert_eq!(named, ["labelingConfigId"]);
    api.put(&path, json!({})).await.expect_error(400);
    api.delete(&path).await.expect(200);
    api.get(&path).await.expect_error(404);
}
