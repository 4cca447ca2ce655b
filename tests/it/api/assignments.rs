//! Assigning, seeing and cancelling batches.

use labelfleet::domain::{AnnotatorId, WorkflowId};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{fields, is_time, sorted};
use crate::support::{api::Api, database::Database, factory};

const FIELDS: &[&str] = &[
    "id",
    "workflowId",
    "annotatorId",
    "lsProjectId",
    "taskCount",
    "goldTaskCount",
    "completedTaskCount",
    "status",
    "statusReason",
    "exportKey",
    "exportBytes",
    "exportedAt",
    "completedAt",
    "createdAt",
    "updatedAt",
    "annotator",
    "workflow",
];

/// A workflow with 15 images and batches of 10, and an active annotator of its role.
async fn ready(pool: &PgPool) -> (WorkflowId, AnnotatorId) {
    let new = factory::Workflow::new(pool).await;
    let workflow = new.create(pool).await;
    factory::tasks(pool, workflow, 15).await;
    (workflow, factory::annotator(pool, new.role).await)
}

async fn assign(api: &Api, workflow: WorkflowId, annotator: AnnotatorId) -> i64 {
    let path = format!("/api/workflows/{workflow}/assign");
    let answer = api.post(&path, json!({ "annotatorId": annotator })).await.expect(200);
    answer["assignment"]["id"].as_i64().unwrap()
}

async fn totals(api: &Api, workflow: WorkflowId) -> (i64, i64) {
    let workflow = api.get(&format!("/api/workflows/{workflow}")).await.expect(200);
    (workflow["totalImagesAvailable"].as_i64().unwrap(), workflow["totalImagesAssigned"].as_i64().unwrap())
}

#[tokio::test]
async fn a_batch_is_assigned_on_request() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (workflow, annotator) = ready(&database.pool).await;
    let path = format!("/api/workflows/{workflow}/assign");
    let body = json!({ "annotatorId": annotator });
    let answer = api.post(&path, body.clone()).await.expect(200);
    assert_eq!(answer["success"], true);
    let assignment = &answer["assignment"];
    assert_eq!(fields(assignment), sorted(FIELDS));
    let expected = json!({
        "workflowId": workflow, "annotatorId": annotator, "lsProjectId": null, "taskCount": 10, "goldTaskCount": 0,
        "completedTaskCount": 0, "status": "pending",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&assignment[field], value, "{field}");
    }
    assert_eq!(totals(&api, workflow).await, (5, 10));

    api.post(&path, body.clone()).await.expect(200);
    let (message, _) = api.post(&path, body.clone()).await.expect_error(409);
    assert_eq!(message, "No images available for assignment");
    api.post("/api/workflows/999/assign", body).await.expect_error(404);
    let created = api.create_annotator("Idle").await;
    api.post(&path, json!({ "annotatorId": created })).await.expect_error(400);
    assert_eq!(api.post(&path, json!({})).await.expect_error(400).1, ["annotatorId"]);
}

#[tokio::test]
async fn assignments_are_listed_and_shown_with_all_that_belongs_to_them() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (workflow, annotator) = ready(&database.pool).await;
    let (first, second) = (assign(&api, workflow, annotator).await, assign(&api, workflow, annotator).await);
    let cases = [
        (String::new(), vec![second, first]),
        (format!("?workflowId={workflow}&annotatorId={annotator}&status=pending"), vec![second, first]),
        ("?status=completed".into(), vec![]),
        ("?workflowId=999".into(), vec![]),
        ("?annotatorId=999".into(), vec![]),
        ("?limit=1&offset=1".into(), vec![first]),
    ];
    for (query, ids) in cases {
        let list = api.get(&format!("/api/assignments{query}")).await.expect(200);
        let found: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
        assert_eq!(found, ids, "{query}");
    }
    let (_, named) = api.get("/api/assignments?status=lost").await.expect_error(400);
    assert_eq!(named, ["status"]);
    let list = api.get("/api/assignments").await.expect(200);
    assert_eq!(fields(&list["data"][0]["annotator"]), ["email", "id", "name"]);
    assert_eq!(list["data"][0]["workflow"], json!({ "id": workflow, "name": "Colours" }));

    let detail = api.get(&format!("/api/assignments/{second}")).await.expect(200);
    assert_eq!(fields(&detail), sorted(&[FIELDS, &["tasks", "goldResults"]].concat()));
    assert!(detail["annotator"]["role"]["name"].is_string(), "{detail}");
    assert_eq!(detail["workflow"]["labelingConfig"]["name"], "colours");
    let tasks = detail["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 5);
    let expected = [
        "id",
        "position",
        "taskId",
        "goldTaskId",
        "imageKey",
        "lsTaskId",
        "status",
        "leadTimeMs",
        "completedAt",
    ];
    assert_eq!(fields(&tasks[0]), sorted(&expected));
    assert_eq!((&tasks[4]["position"], &tasks[4]["status"]), (&json!(4), &json!("open")));
    assert!(tasks[0]["imageKey"].as_str().unwrap().starts_with("images/"), "{}", tasks[0]);
    assert!(is_time(&detail["createdAt"]), "{detail}");
    let annotator = api.get(&format!("/api/annotators/{annotator}")).await.expect(200);
    assert_eq!(annotator["assignments"][0]["id"], second);
    api.get("/api/assignments/999").await.expect_error(404);
}

#[tokio::test]
async fn gold_results_are_shown_with_their_assignment() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (workflow, annotator) = ready(&database.pool).await;
    let id = assign(&api, workflow, annotator).await;
    let config = factory::labeling_config(&database.pool).await;
    let gold = factory::gold(&database.pool, config, "red").await;
    sqlx::query(
        "WITH place AS (
             INSERT INTO assignment_tasks (assignment_id, position, gold_task_id) VALUES ($1, 99, $2) RETURNING id)
         INSERT INTO gold_results (assignment_task_id, assignment_id, annotator_id, gold_task_id, score)
         SELECT id, $1, $3, $2, 0.5 FROM place",
    )
    .bind(id)
    .bind(gold)
    .bind(annotator)
    .execute(&database.pool)
    .await
    .unwrap();
    let detail = api.get(&format!("/api/assignments/{id}")).await.expect(200);
    let result = &detail["goldResults"][0];
    let expected = [
        "id",
        "assignmentTaskId",
        "goldTaskId",
        "goldTaskName",
        "score",
        "skipped",
        "details",
        "jobId",
        "evaluatedAt",
    ];
    assert_eq!(fields(result), sorted(&expected));
    assert_eq!((&result["score"], &result["goldTaskId"]), (&json!(0.5), &json!(gold)));
    // It was given out: its results keep it.
    api.delete(&format!("/api/gold-tasks/{gold}")).await.expect_error(409);
}

#[tokio::test]
async fn a_cancelled_batch_goes_back_to_the_pool_but_for_what_is_done() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (workflow, annotator) = ready(&database.pool).await;
    let id = assign(&api, workflow, annotator).await;
    factory::publish(&database.pool, labelfleet::domain::AssignmentId(id), 1).await;
    sqlx::query(
        "WITH done AS (
             UPDATE assignment_tasks SET state = 'done' WHERE assignment_id = $1 AND position < 2 RETURNING task_id)
         UPDATE tasks SET status = 'completed' WHERE id IN (SELECT task_id FROM done)",
    )
    .bind(id)
    .execute(&database.pool)
    .await
    .unwrap();
    let path = format!("/api/assignments/{id}");
    assert_eq!(api.delete(&path).await.expect(200), json!({ "success": true }));
    assert_eq!(api.get(&path).await.expect(200)["status"], "cancelled");
    assert_eq!(totals(&api, workflow).await, (13, 2));
    let (message, _) = api.delete(&path).await.expect_error(409);
    assert!(message.contains("cancelled"), "{message}");
    api.delete("/api/assignments/999").await.expect_error(404);
    // The same images can be handed out again.
    let again = assign(&api, workflow, annotator).await;
    assert_ne!(again, id);
    assert_eq!(totals(&api, workflow).await, (3, 12));
}

#[tokio::test]
async fn only_open_assignments_can_be_cancelled() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (workflow, annotator) = ready(&database.pool).await;
    let id = assign(&api, workflow, annotator).await;
    factory::publish(&database.pool, labelfleet::domain::AssignmentId(id), 1).await;
    for status in ["completed", "failed"] {
        sqlx::query(
            "UPDATE assignments SET status = $2, completed_at = CASE WHEN $2 = 'completed' THEN now() END WHERE id = $1",
        )
        .bind(id)
        .bind(status)
        .execute(&database.pool)
        .await
        .unwrap();
        api.delete(&format!("/api/assignments/{id}")).await.expect_error(409);
        assert_eq!(totals(&api, workflow).await, (5, 10), "a refused cancellation frees nothing");
    }
}

#[tokio::test]
async fn deleting_an_annotator_frees_their_images() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (workflow, annotator) = ready(&database.pool).await;
    let id = assign(&api, workflow, annotator).await;
    api.delete(&format!("/api/annotators/{annotator}")).await.expect(200);
    assert_eq!(totals(&api, workflow).await, (15, 0));
    let detail = api.get(&format!("/api/assignments/{id}")).await.expect(200);
    assert_eq!((&detail["status"], &detail["annotator"]["status"]), (&json!("cancelled"), &json!("deleted")));
    api.delete(&format!("/api/workflows/{workflow}")).await.expect_error(409);
    assert_ne!(detail["annotator"]["email"], Value::Null);
}
