//! Tasks: lists, and what became of one.

use std::time::Duration;

use labelfleet::{
    domain::{AnnotatorId, AssignmentStatus, EventSource, JobRef, WorkflowId, event::from_webhook},
    ops::{assign::assign_next, assignments, ingest::ingest},
    queue,
    store::closing,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use super::{fields, is_time, sorted};
use crate::support::{api::Api, database::Database, factory};

const FIELDS: &[&str] = &[
    "id",
    "uid",
    "workflowId",
    "origin",
    "imageKey",
    "status",
    "iteration",
    "sourceTaskId",
    "assignmentId",
    "annotatorId",
    "createdAt",
    "updatedAt",
];

/// A workflow with so many images, and an active annotator of its role.
async fn ready(pool: &PgPool, images: i32) -> (WorkflowId, AnnotatorId) {
    let new = factory::Workflow::new(pool).await;
    let workflow = new.create(pool).await;
    factory::tasks(pool, workflow, images).await;
    (workflow, factory::annotator(pool, new.role).await)
}

async fn assign(api: &Api, workflow: WorkflowId, annotator: AnnotatorId) -> i64 {
    let path = format!("/api/workflows/{workflow}/assign");
    let answer = api.post(&path, json!({ "annotatorId": annotator })).await.expect(200);
    answer["assignment"]["id"].as_i64().unwrap()
}

/// The id that the statement returns.
async fn id(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn lists_are_filtered_and_the_newest_comes_first() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (workflow, annotator) = ready(&database.pool, 15).await;
    ready(&database.pool, 3).await;
    let assignment = assign(&api, workflow, annotator).await;
    for (query, count) in [
        (String::new(), 18),
        (format!("workflowId={workflow}"), 15),
        (format!("workflowId={workflow}&status=available"), 5),
        ("status=assigned".to_owned(), 10),
        ("status=escalated".to_owned(), 0),
        (format!("annotatorId={annotator}"), 10),
        (format!("assignmentId={assignment}"), 10),
        (format!("assignmentId={assignment}&status=available"), 0),
        ("annotatorId=999".to_owned(), 0),
    ] {
        let list = api.get(&format!("/api/tasks?limit=500&{query}")).await.expect(200);
        assert_eq!(list["pagination"]["total"], count, "{query}");
        let ids: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|task| task["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len() as i64, count, "{query}");
        assert!(ids.is_sorted_by(|a, b| a > b), "{query}: {ids:?}");
    }
    let held = api.get(&format!("/api/tasks?assignmentId={assignment}&limit=1")).await.expect(200);
    let task = &held["data"][0];
    assert_eq!(fields(task), sorted(FIELDS));
    assert_eq!((&task["assignmentId"], &task["annotatorId"]), (&json!(assignment), &json!(annotator)));
    let (_, named) = api.get("/api/tasks?status=lost").await.expect_error(400);
    assert_eq!(named, ["status"]);
}

/// Through a batch that is cancelled, one that is labeled, reviewed, rejected, exported, and the rework.
#[tokio::test]
async fn a_task_tells_its_whole_history() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let pool = &database.pool;
    let queue = queue::Client::new(pool.clone());
    let (workflow, annotator) = ready(pool, 1).await;
    let task = id(pool, "SELECT id FROM tasks").await;

    let first = assign(&api, workflow, annotator).await;
    api.delete(&format!("/api/assignments/{first}")).await.expect(200);
    let mut tx = queue.begin().await.unwrap();
    assign_next(&mut tx, annotator, JobRef(71)).await.unwrap();
    tx.commit().await.unwrap();
    let second = id(pool, "SELECT max(id) FROM assignments").await;
    factory::publish(pool, second.into(), 5).await;
    sqlx::query("UPDATE assignments SET published_by_job = 72 WHERE id = $1")
        .bind(second)
        .execute(pool)
        .await
        .unwrap();
    for (action, second) in [("ANNOTATION_CREATED", 1), ("ANNOTATION_UPDATED", 2)] {
        let body = json!({"action": action, "project": {"id": 5}, "task": {"id": 1001, "data": {}},
            "annotation": {"id": 1, "result": [factory::choice("red")], "lead_time": 1.5,
                           "updated_at": format!("2046-04-06T12:00:0{second}Z")}});
        ingest(&queue, annotator, EventSource::Webhook, &from_webhook(&body).unwrap()).await.unwrap();
    }
    // What jobs of the worker write.
    sqlx::query(
        "UPDATE assignments SET export_key = 'exports/a.json', exported_at = '2046-04-06T12:00:05Z',
             exported_by_job = 73 WHERE id = $1",
    )
    .bind(second)
    .execute(pool)
    .await
    .unwrap();
    let annotation = id(pool, "SELECT id FROM annotations").await;
    let reviewer = factory::annotator(pool, factory::role(pool).await).await;
    let reviews = factory::Workflow::new(pool).await.create(pool).await;
    let review = id(
        pool,
        &format!(
            "INSERT INTO tasks (workflow_id, origin, image_key, source_task_id, source_annotation_id)
             VALUES ({reviews}, 'upstream', 'a.png', {task}, {annotation}) RETURNING id"
        ),
    )
    .await;
    let batch = id(
        pool,
        &format!(
            "INSERT INTO assignments (workflow_id, annotator_id, task_count) VALUES ({reviews}, {reviewer}, 1) RETURNING id"
        ),
    )
    .await;
    let place = id(
        pool,
        &format!(
            "INSERT INTO assignment_tasks (assignment_id, position, task_id, state, done_at, review_decision)
             VALUES ({batch}, 0, {review}, 'done', '2046-04-06T12:00:06Z', 'reject') RETURNING id"
        ),
    )
    .await;
    let verdict = id(
        pool,
        &format!(
            "INSERT INTO annotations (annotator_id, ls_annotation_id, assignment_task_id, was_cancelled, payload, ls_updated_at)
             VALUES ({reviewer}, 1, {place}, false, '{{}}', now()) RETURNING id"
        ),
    )
    .await;
    let rejection = id(
        pool,
        &format!(
            "INSERT INTO rejections (assignment_task_id, annotation_id, workflow_id, reviewer_annotator_id,
                 reviewer_assignment_id, task_id, original_annotation_id, original_annotator_id,
                 original_assignment_id, image_key, reason, iteration, status, action_taken, flags_annotator,
                 routed_at, job_id, created_at)
             VALUES ({place}, {verdict}, {reviews}, {reviewer}, {batch}, {task}, {annotation}, {annotator}, {second},
                 'a.png', 'too loose', 1, 'routed', 'route_to_workflow', true, '2046-04-06T12:00:07Z', 74,
                 '2046-04-06T12:00:06Z') RETURNING id"
        ),
    )
    .await;
    let rework = id(
        pool,
        &format!(
            "INSERT INTO tasks (workflow_id, origin, image_key, source_task_id, source_annotation_id, rejection_id, iteration)
             VALUES ({workflow}, 'rework', 'a.png', {task}, {annotation}, {rejection}, 1) RETURNING id"
        ),
    )
    .await;
    let third = id(
        pool,
        &format!("INSERT INTO assignments (workflow_id, annotator_id, task_count) VALUES ({workflow}, {annotator}, 1) RETURNING id"),
    )
    .await;
    sqlx::query(
        "INSERT INTO assignment_tasks (assignment_id, position, task_id, state, done_at)
         VALUES ($1, 0, $2, 'done', '2046-04-06T12:00:08Z')",
    )
    .bind(third)
    .bind(rework)
    .execute(pool)
    .await
    .unwrap();

    let told = api.get(&format!("/api/tasks/{task}")).await.expect(200);
    assert_eq!(fields(&told), sorted(&[FIELDS, &["sourceTask", "followUpTasks", "history"]].concat()));
    let history = told["history"].as_array().unwrap();
    let event = |event: &Value| {
        assert!(is_time(&event["at"]), "{event}");
        (event["event"].as_str().unwrap().to_owned(), event["assignmentId"].as_i64(), event["jobId"].as_i64())
    };
    let happened: Vec<_> = history.iter().map(event).collect();
    let expected = [
        ("created", None, None),
        ("assigned", Some(first), None),
        ("released", Some(first), None),
        ("assigned", Some(second), Some(71)),
        ("published", Some(second), Some(72)),
        ("labeled", Some(second), None),
        ("labeled", Some(second), None),
        ("exported", Some(second), Some(73)),
        ("rejected", Some(batch), None),
        ("routed", Some(second), Some(74)),
        ("reworked", Some(third), None),
    ];
    let expected = expected.map(|(event, assignment, job)| (event.to_owned(), assignment, job));
    assert_eq!(happened, expected, "{told:#}");
    assert_eq!(history[3]["jobKind"], "assign_batch");
    assert_eq!(history[6]["details"]["action"], "updated");
    assert_eq!(history[8]["details"]["reason"], "too loose");
    assert_eq!(history[8]["annotatorId"], json!(reviewer));
    let ids = |tasks: &Value| {
        tasks.as_array().unwrap().iter().map(|task| task["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&told["followUpTasks"]), [review, rework]);
    assert_eq!(told["sourceTask"], Value::Null);

    let told = api.get(&format!("/api/tasks/{rework}")).await.expect(200);
    assert_eq!((&told["sourceTask"]["id"], &told["iteration"]), (&json!(task), &json!(1)));
    api.get("/api/tasks/999999").await.expect_error(404);
}

/// By an operator, because nothing happened in its batch, or because reconciliation found it.
#[tokio::test]
async fn who_gave_a_task_back_is_told() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let pool = &database.pool;
    let queue = queue::Client::new(pool.clone());
    let (workflow, annotator) = ready(pool, 1).await;
    let task = id(pool, "SELECT id FROM tasks").await;

    let by_hand = assign(&api, workflow, annotator).await;
    api.delete(&format!("/api/assignments/{by_hand}")).await.expect(200);
    let idle = assign(&api, workflow, annotator).await;
    let status = assignments::reclaim(&queue, idle.into(), Duration::ZERO, JobRef(81)).await.unwrap();
    assert_eq!(status, Some(AssignmentStatus::Cancelled));
    let stranded = assign(&api, workflow, annotator).await;
    sqlx::query("UPDATE assignments SET status = 'failed' WHERE id = $1")
        .bind(stranded)
        .execute(pool)
        .await
        .unwrap();
    let mut tx = queue.begin().await.unwrap();
    assert_eq!(closing::release_stranded(&mut tx, stranded.into(), JobRef(82)).await.unwrap(), 1);
    tx.commit().await.unwrap();

    let told = api.get(&format!("/api/tasks/{task}")).await.expect(200);
    assert_eq!(told["status"], "available");
    let history = told["history"].as_array().unwrap().iter();
    let released: Vec<_> = history
        .filter(|event| event["event"] == "released")
        .inspect(|event| assert!(is_time(&event["at"]), "{event}"))
        .map(|event| json!([event["assignmentId"], event["jobId"], event["jobKind"]]))
        .collect();
    let expected =
        [json!([by_hand, null, null]), json!([idle, 81, "reclaim_idle"]), json!([stranded, 82, "reconcile"])];
    assert_eq!(released, expected, "{told:#}");
    let times: Option<i64> = sqlx::query_scalar(
        "SELECT count(*) FROM assignment_tasks WHERE state = 'released' AND released_at IS NULL",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(times, Some(0));
}
