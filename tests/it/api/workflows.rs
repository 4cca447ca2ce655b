//! Workflows.

use serde_json::{Value, json};

use super::{fields, is_time, sorted};
use crate::support::{api::Api, database::Database};

const FIELDS: &[&str] = &[
    "id",
    "name",
    "roleId",
    "labelingConfigId",
    "previousWorkflowId",
    "s3SourcePath",
    "s3ExportPath",
    "imagesPerProject",
    "maxProjects",
    "estimatedTimeMinutes",
    "autoAssign",
    "goldStandardRate",
    "shuffleImages",
    "isActive",
    "totalImagesAvailable",
    "totalImagesAssigned",
    "rejectionMode",
    "rejectionArchiveBucket",
    "rejectionRouteWorkflowId",
    "rejectionReturnToOriginal",
    "rejectionFlagAnnotator",
    "maxReworkIterations",
    "exportFormats",
    "createdAt",
    "role",
    "labelingConfig",
];

async fn open_jobs(database: &Database, kind: &str) -> Vec<Value> {
    sqlx::query_scalar("SELECT args FROM jobs WHERE kind = $1 AND finalized_at IS NULL ORDER BY id")
        .bind(kind)
        .fetch_all(&database.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn defaults_are_the_contracts() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let body = json!({ "name": "Cars", "s3SourcePath": "images/cars/", "s3ExportPath": "exports/cars/" });
    let workflow = api.post("/api/workflows", body).await.expect(201);
    assert_eq!(fields(&workflow), sorted(FIELDS));
    let defaults = json!({
        "roleId": null, "labelingConfigId": null, "previousWorkflowId": null, "imagesPerProject": 100,
        "maxProjects": null, "estimatedTimeMinutes": null, "autoAssign": true, "goldStandardRate": 0.0,
        "shuffleImages": true, "isActive": true, "totalImagesAvailable": 0, "totalImagesAssigned": 0,
        "rejectionMode": "none", "rejectionArchiveBucket": null, "rejectionRouteWorkflowId": null,
        "rejectionReturnToOriginal": false, "rejectionFlagAnnotator": true, "maxReworkIterations": null, "exportFormats": ["json"],
        "role": null, "labelingConfig": null,
    });
    for (field, value) in defaults.as_object().unwrap() {
        assert_eq!(&workflow[field], value, "{field}");
    }
    assert!(is_time(&workflow["createdAt"]), "{workflow}");
    assert_eq!(open_jobs(&database, "sync_source").await, [json!({ "workflow_id": workflow["id"] })]);
}

#[tokio::test]
async fn a_workflow_shows_its_role_config_totals_and_chain() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let body = json!({ "name": "labeler", "color": "#3B82F6" });
    let (role, config) = (api.create("/api/roles", body).await, api.create_config().await);
    let origin = api.create_workflow("first").await;
    let body = json!({
        "name": "second", "s3SourcePath": "a/", "s3ExportPath": "b/", "roleId": role, "labelingConfigId": config,
        "previousWorkflowId": origin, "imagesPerProject": 50, "goldStandardRate": 0.1, "maxProjects": 3,
        "rejectionMode": "route_to_workflow", "rejectionRouteWorkflowId": origin,
    });
    let middle = api.create("/api/workflows", body.clone()).await;
    let last =
        json!({ "name": "third", "s3SourcePath": "c/", "s3ExportPath": "d/", "previousWorkflowId": middle });
    let last = api.create("/api/workflows", last).await;
    sqlx::query(
        "INSERT INTO tasks (workflow_id, origin, image_key, status)
         SELECT $1, 's3', 'a/' || n, CASE WHEN n <= 5 THEN 'available' WHEN n = 6 THEN 'completed' ELSE 'assigned' END
         FROM generate_series(1, 8) AS n",
    )
    .bind(middle)
    .execute(&database.pool)
    .await
    .unwrap();

    let workflow = api.get(&format!("/api/workflows/{middle}")).await.expect(200);
    assert_eq!(fields(&workflow), sorted(&[FIELDS, &["chain"]].concat()));
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&workflow[field], value, "{field}");
    }
    assert_eq!(workflow["role"], json!({ "id": role, "name": "labeler", "color": "#3B82F6" }));
    assert_eq!(workflow["labelingConfig"], json!({ "id": config, "name": "Classes" }));
    assert_eq!((&workflow["totalImagesAvailable"], &workflow["totalImagesAssigned"]), (&json!(5), &json!(3)));
    for id in [origin, middle, last] {
        let workflow = api.get(&format!("/api/workflows/{id}")).await.expect(200);
        let chain: Vec<_> = workflow["chain"].as_array().unwrap().iter().map(|link| &link["id"]).collect();
        assert_eq!(chain, [&json!(origin), &json!(middle), &json!(last)]);
    }
    let list = api.get("/api/workflows").await.expect(200);
    assert_eq!(list["pagination"]["total"], 3);
    assert_eq!(list["data"][1]["totalImagesAvailable"], 5);
    assert_eq!(fields(&list["data"][0]), sorted(FIELDS));
}

#[tokio::test]
async fn a_chain_never_becomes_a_circle() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (first, second) = (api.create_workflow("first").await, api.create_workflow("second").await);
    api.put(&format!("/api/workflows/{second}"), json!({ "previousWorkflowId": first })).await.expect(200);
    for previous in [first, second] {
        let (_, fields) = api
            .put(&format!("/api/workflows/{first}"), json!({ "previousWorkflowId": previous }))
            .await
            .expect_error(400);
        assert_eq!(fields, ["previousWorkflowId"]);
    }
    // Rows that were changed behind the API's back do not hang it.
    sqlx::query("UPDATE workflows SET previous_workflow_id = $2 WHERE id = $1")
        .bind(first)
        .bind(second)
        .execute(&database.pool)
        .await
        .unwrap();
    let workflow = api.get(&format!("/api/workflows/{first}")).await.expect(200);
    assert_eq!(workflow["chain"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn changes_touch_only_what_they_name() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = api.create_workflow("cars").await;
    let path = format!("/api/workflows/{id}");
    let paused = api.put(&path, json!({ "isActive": false, "maxProjects": 2 })).await.expect(200);
    assert_eq!((&paused["isActive"], &paused["maxProjects"]), (&json!(false), &json!(2)));
    assert_eq!((&paused["name"], &paused["imagesPerProject"]), (&json!("cars"), &json!(100)));
    let cleared = api.put(&path, json!({ "maxProjects": null })).await.expect(200);
    assert_eq!((&cleared["isActive"], &cleared["maxProjects"]), (&json!(false), &Value::Null));
    // A rule that spans fields holds for what comes out, not for what was sent.
    let (_, fields) = api.put(&path, json!({ "rejectionMode": "route_to_workflow" })).await.expect_error(400);
    assert_eq!(fields, ["rejectionRouteWorkflowId"]);
    api.put(&path, json!({ "unknown": 1 })).await.expect_error(400);
    api.put("/api/workflows/999", json!({ "name": "x" })).await.expect_error(404);
}

#[tokio::test]
async fn a_new_source_is_listed_and_the_old_ones_images_leave_the_pool() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = api.create_workflow("cars").await;
    let path = format!("/api/workflows/{id}");
    sqlx::query("UPDATE jobs SET state = 'completed', finalized_at = now()")
        .execute(&database.pool)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO tasks (workflow_id, origin, image_key, status)
         VALUES ($1, 's3', 'images/a.png', 'available'), ($1, 's3', 'images/b.png', 'completed')",
    )
    .bind(id)
    .execute(&database.pool)
    .await
    .unwrap();
    api.put(&path, json!({ "name": "bikes", "s3SourcePath": "images/" })).await.expect(200);
    assert!(open_jobs(&database, "sync_source").await.is_empty(), "the source is the same");
    let changed = api.put(&path, json!({ "s3SourcePath": "bikes/" })).await.expect(200);
    assert_eq!(open_jobs(&database, "sync_source").await, [json!({ "workflow_id": id })]);
    assert_eq!((&changed["totalImagesAvailable"], &changed["totalImagesAssigned"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn a_referenced_workflow_stays() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (first, second) = (api.create_workflow("first").await, api.create_workflow("second").await);
    api.put(&format!("/api/workflows/{second}"), json!({ "previousWorkflowId": first })).await.expect(200);
    api.delete(&format!("/api/workflows/{first}")).await.expect_error(409);
    api.delete(&format!("/api/workflows/{second}")).await.expect(200);
    assert_eq!(api.delete(&format!("/api/workflows/{first}")).await.expect(200), json!({ "success": true }));
    api.get(&format!("/api/workflows/{first}")).await.expect_error(404);
}
