//! Quality, from gold that was answered and work that was rejected, worked out by hand.

use labelfleet::{
    domain::{AnnotatorId, AssignmentTaskId, EventSource, WorkflowId, event::from_webhook},
    ops::{
        assign::assign,
        ingest::ingest,
        jobs::{CorrectRollups, InjectGold, ScoreGold},
    },
};
use serde_json::{Value, json};

use super::{fields, is_time, sorted};
use crate::support::{api::Api, database::Database, factory, fleet::Fleet};

const PROJECT: i64 = 5;

/// Has the annotator answer a batch's gold with `labels`, in turn (none: skipped), and the answers scored.
async fn answer_gold(fleet: &Fleet, workflow: WorkflowId, annotator: AnnotatorId, labels: &[Option<&str>]) {
    let assignment_id = assign(&fleet.deps.queue, workflow, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    factory::publish(&fleet.database.pool, assignment_id, PROJECT).await;
    let places: Vec<(AssignmentTaskId, i64)> = sqlx::query_as(
        "SELECT id, ls_task_id FROM assignment_tasks WHERE assignment_id = $1 AND gold_task_id IS NOT NULL ORDER BY id",
    )
    .bind(assignment_id)
    .fetch_all(&fleet.database.pool)
    .await
    .unwrap();
    assert_eq!(places.len(), labels.len());
    for ((place, task), label) in places.into_iter().zip(labels) {
        let result: Vec<Value> = label.iter().map(|label| factory::choice(label)).collect();
        let body = json!({
            "action": "ANNOTATION_CREATED", "project": {"id": PROJECT}, "task": {"id": task, "data": {}},
            "annotation": {"id": task, "result": result, "was_cancelled": label.is_none(),
                "updated_at": "2026-04-06T12:00:00Z"},
        });
        let events = from_webhook(&body).unwrap();
        ingest(&fleet.deps.queue, annotator, EventSource::Webhook, &events).await.unwrap();
        fleet.run(ScoreGold { assignment_task_id: place }).await.unwrap();
    }
}

/// A rejection of the first annotation of `original`, by `reviewer`, `minutes` ago.
async fn reject(fleet: &Fleet, original: AnnotatorId, reviewer: AnnotatorId, action: &str, minutes: i32) {
    sqlx::query(
        "WITH place AS (
             SELECT assignment_tasks.id, assignment_id, workflow_id,
                    (SELECT id FROM tasks WHERE tasks.workflow_id = assignments.workflow_id ORDER BY id LIMIT 1) AS task
             FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id
             WHERE annotator_id = $2 AND assignment_tasks.id NOT IN (SELECT assignment_task_id FROM rejections) LIMIT 1
         ), annotation AS (
             INSERT INTO annotations (annotator_id, ls_annotation_id, assignment_task_id, was_cancelled, payload, ls_updated_at)
             SELECT $2, 90000 + place.id, place.id, false, '{}', now() FROM place RETURNING id
         )
         INSERT INTO rejections
             (assignment_task_id, annotation_id, workflow_id, reviewer_annotator_id, reviewer_assignment_id, task_id,
              original_annotation_id, original_annotator_id, original_assignment_id, image_key, reason, iteration, status,
              action_taken, flags_annotator, routed_at, archive_key, created_at)
         SELECT place.id, annotation.id, workflow_id, $2, assignment_id, task, annotation.id, $1, assignment_id,
                'images/001.jpg', 'Bounding box too loose', 1, 'routed', $3, true, now(), 'archive/1.json',
                now() - make_interval(mins => $4)
         FROM place, annotation",
    )
    .bind(original)
    .bind(reviewer)
    .bind(action)
    .bind(minutes)
    .execute(&fleet.database.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn accuracy_rework_and_rejections_are_what_was_scored_and_reviewed() {
    let fleet = Fleet::local().await;
    let api = Api::start(&fleet.database).await;
    let pool = &fleet.database.pool;
    let workflow = factory::Workflow { gold_rate: 0.3, ..factory::Workflow::new(pool).await };
    for _ in 0..2 {
        factory::gold(pool, workflow.config, "red").await;
    }
    let named = factory::gold(pool, workflow.config, "red").await;
    sqlx::query("UPDATE gold_tasks SET name = 'Gold - Red' WHERE id = $1")
        .bind(named)
        .execute(pool)
        .await
        .unwrap();
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, 20).await;
    let alice = factory::annotator(pool, workflow.role).await;
    let bob = factory::annotator(pool, workflow.role).await;
    let carol = api.create_annotator("Carol").await;
    let counts = "UPDATE annotators SET name = $2, rejection_count = $3, reviewed_count = $4 WHERE id = $1";
    for (annotator, name, rejected, reviewed) in [(alice, "Alice", 2, 50), (bob, "Bob", 1, 10)] {
        let update = sqlx::query(counts).bind(annotator).bind(name).bind(rejected).bind(reviewed);
        update.execute(pool).await.unwrap();
    }
    answer_gold(&fleet, id, alice, &[Some("red"), Some("red"), Some("blue")]).await;
    answer_gold(&fleet, id, bob, &[Some("red"), None, Some("green")]).await;
    reject(&fleet, alice, bob, "route_to_workflow", 30).await;
    reject(&fleet, alice, bob, "route_to_workflow", 20).await;
    reject(&fleet, bob, alice, "archive", 10).await;
    reject(&fleet, bob, alice, "route_to_workflow", 5).await;
    sqlx::query("UPDATE rejections SET status = 'withdrawn' WHERE created_at > now() - interval '7 minutes'")
        .execute(pool)
        .await
        .unwrap();

    let body = api.get("/api/quality").await.expect(200);
    let names = [
        "overallAccuracy",
        "accuracyThreshold",
        "belowThresholdCount",
        "reworkRate",
        "annotatorScores",
        "recentEvaluations",
        "recentRejections",
    ];
    assert_eq!(fields(&body), sorted(&names));
    // Three right of five; the skipped one is no answer.
    assert_eq!(body["overallAccuracy"], 0.6);
    assert_eq!(body["accuracyThreshold"], 0.7);
    // Both: 2/3 and 1/2.
    assert_eq!(body["belowThresholdCount"], 2);
    // Two of sixty; archived and withdrawn ones came back to nobody.
    assert_eq!(body["reworkRate"], 0.0333);
    assert_eq!(
        body["annotatorScores"],
        json!([
            {"annotatorId": bob, "annotatorName": "Bob", "accuracy": 0.5, "evaluationCount": 2, "skippedCount": 1,
             "rejectionCount": 1, "reviewedCount": 10, "rejectionRate": 0.1},
            {"annotatorId": alice, "annotatorName": "Alice", "accuracy": 0.6667, "evaluationCount": 3,
             "skippedCount": 0, "rejectionCount": 2, "reviewedCount": 50, "rejectionRate": 0.04},
            {"annotatorId": carol, "annotatorName": "Carol", "accuracy": null, "evaluationCount": 0,
             "skippedCount": 0, "rejectionCount": 0, "reviewedCount": 0, "rejectionRate": null},
        ])
    );
    let evaluations = body["recentEvaluations"].as_array().unwrap();
    let seen: Vec<_> =
        evaluations.iter().map(|one| (one["annotatorId"].clone(), one["score"].clone())).collect();
    let (alice_id, bob_id) = (json!(alice), json!(bob));
    assert_eq!(
        seen,
        [
            (bob_id.clone(), json!(0.0)),
            (bob_id, json!(1.0)),
            (alice_id.clone(), json!(0.0)),
            (alice_id.clone(), json!(1.0)),
            (alice_id, json!(1.0))
        ]
    );
    let names = ["annotatorId", "annotatorName", "evaluatedAt", "goldTaskName", "score"];
    assert!(
        evaluations.iter().all(|one| fields(one) == names && is_time(&one["evaluatedAt"])),
        "{evaluations:?}"
    );
    let gold_names: Vec<_> = evaluations.iter().map(|one| one["goldTaskName"].as_str().unwrap()).collect();
    assert!(gold_names.contains(&"Gold - Red"), "{gold_names:?}");
    assert!(gold_names.iter().any(|name| name.starts_with("gold/")), "{gold_names:?}");
    let rejections = body["recentRejections"].as_array().unwrap();
    let actions: Vec<_> = rejections.iter().map(|one| one["actionTaken"].as_str().unwrap()).collect();
    assert_eq!(actions, ["archive", "route_to_workflow", "route_to_workflow"]);
    let mut last = rejections[2].clone();
    assert!(is_time(&last["createdAt"]));
    last["createdAt"] = Value::Null;
    let expected = json!({
        "originalAnnotatorId": alice, "originalAnnotatorName": "Alice", "reviewerAnnotatorName": "Bob",
        "imageKey": "images/001.jpg", "reason": "Bounding box too loose", "actionTaken": "route_to_workflow",
        "createdAt": null,
    });
    assert_eq!(last, expected);

    api.put("/api/settings/quality.accuracyThreshold", json!({"value": 0.55})).await.expect(200);
    let body = api.get("/api/quality").await.expect(200);
    assert_eq!((&body["accuracyThreshold"], &body["belowThresholdCount"]), (&json!(0.55), &json!(1)));
    for odd in [json!("0.9"), json!(1.5), json!([])] {
        let answer = api.put("/api/settings/quality.accuracyThreshold", json!({"value": odd})).await;
        assert_eq!(answer.expect_error(400).1, ["value"]);
    }

    // All of it was counted as it happened.
    let nothing = json!({"hours": 0, "events": 0, "gold": 0, "assignments": 0, "rejections": 0});
    assert_eq!(fleet.run(CorrectRollups {}).await.unwrap(), nothing);
    for table in ["annotation_hours", "annotator_gold", "annotator_assignments", "annotator_rejections"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table}"))).execute(pool).await.unwrap();
    }
    let all = json!({"hours": 2, "events": 0, "gold": 2, "assignments": 2, "rejections": 2});
    assert_eq!(fleet.run(CorrectRollups {}).await.unwrap(), all);
    assert_eq!(api.get("/api/quality").await.expect(200)["annotatorScores"], body["annotatorScores"]);
    fleet.tear_down().await;
}

#[tokio::test]
async fn where_nothing_was_evaluated_there_is_no_number() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let expected = json!({
        "overallAccuracy": null, "accuracyThreshold": 0.7, "belowThresholdCount": 0, "reworkRate": null,
        "annotatorScores": [], "recentEvaluations": [], "recentRejections": [],
    });
    assert_eq!(api.get("/api/quality").await.expect(200), expected);
}
