//! Throughput, from webhooks to figures worked out by hand.

use chrono::{DateTime, SecondsFormat, TimeDelta, Timelike, Utc};
use labelfleet::{domain::AnnotatorId, ops, queue};
use serde_json::{Value, json};

use super::{fields, is_time, sorted};
use crate::support::{api::Api, database::Database, factory};

/// What Label Studio tells of an annotation.
fn told(action: &str, id: i64, task: i64, time: DateTime<Utc>, lead_time: Option<f64>) -> Value {
    json!({
        "action": action, "project": {"id": 5}, "task": {"id": task, "data": {}},
        "annotation": {"id": id, "result": [], "was_cancelled": false, "lead_time": lead_time, "updated_at": time},
    })
}

async fn webhook(api: &Api, annotator: AnnotatorId, body: &Value) {
    let request = api
        .request(reqwest::Method::POST, "/api/webhook")
        .header("X-Annotator-Id", annotator.0)
        .header("X-Webhook-Secret", api.webhook_secret(annotator.0))
        .json(body);
    api.send(request).await.expect(200);
}

/// The annotator with a published batch of so many tasks, which Label Studio calls 1001 and so on.
async fn at_work(database: &Database, tasks: i32) -> AnnotatorId {
    let pool = &database.pool;
    let workflow = factory::Workflow { batch: tasks, ..factory::Workflow::new(pool).await };
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, 2 * tasks).await;
    let annotator = factory::annotator(pool, workflow.role).await;
    let queue = queue::Client::new(pool.clone());
    let assignment = ops::assign::assign(&queue, id, annotator).await.unwrap();
    factory::publish(pool, assignment, 5).await;
    annotator
}

fn hour_of(time: DateTime<Utc>) -> String {
    let hour = time.with_minute(0).unwrap().with_second(0).unwrap().with_nanosecond(0).unwrap();
    hour.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn summary(body: &Value, id: impl Into<i64>) -> &Value {
    let id = id.into();
    body["annotatorSummaries"].as_array().unwrap().iter().find(|summary| summary["id"] == id).unwrap()
}

#[tokio::test]
async fn work_is_counted_once_where_it_was_done() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (ann, bob) = (at_work(&database, 8).await, at_work(&database, 1).await);
    let carol = api.create_annotator("Carol").await;

    let now = Utc::now();
    let created = |id, task, lead_time| told("ANNOTATION_CREATED", id, task, now, lead_time);
    let leads = [Some(5.0), Some(10.0), Some(29.999), Some(30.0), Some(90.0), None];
    for (n, lead_time) in (1..).zip(leads) {
        webhook(&api, ann, &created(n, 1000 + n, lead_time)).await;
    }
    let earlier = now - TimeDelta::hours(3);
    webhook(&api, ann, &told("ANNOTATION_CREATED", 7, 1008, earlier, Some(20.0))).await;
    // None of these is more work, or of today: told twice, changed, taken back, skipped, somebody else's, long ago.
    webhook(&api, ann, &created(1, 1001, Some(5.0))).await;
    let later = now + TimeDelta::seconds(1);
    webhook(&api, ann, &told("ANNOTATION_UPDATED", 2, 1002, later, Some(50.0))).await;
    webhook(
        &api,
        ann,
        &json!({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 3}], "project": {"id": 5}}),
    )
    .await;
    let mut skip = created(8, 1007, Some(2.0));
    skip["annotation"]["was_cancelled"] = json!(true);
    webhook(&api, ann, &skip).await;
    webhook(&api, ann, &created(9, 4711, Some(5.0))).await;
    let long_ago = now - TimeDelta::hours(30);
    webhook(&api, ann, &told("ANNOTATION_CREATED", 10, 1001, long_ago, Some(5.0))).await;

    webhook(&api, bob, &told("ANNOTATION_CREATED", 1, 1001, now, Some(12.5))).await;
    let role: i64 = sqlx::query_scalar("SELECT workflow_id FROM assignments WHERE annotator_id = $1")
        .bind(bob)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    let assigned =
        api.post(&format!("/api/workflows/{role}/assign"), json!({"annotatorId": bob})).await.expect(200);
    api.delete(&format!("/api/assignments/{}", assigned["assignment"]["id"])).await.expect(200);

    let body = api.get("/api/monitoring").await.expect(200);
    let names = [
        "activeAnnotators",
        "todayAnnotations",
        "inProgressAssignments",
        "annotationsPerHour",
        "annotatorSummaries",
    ];
    assert_eq!(fields(&body), sorted(&names));
    let hours = body["annotationsPerHour"].as_array().unwrap();
    assert_eq!(hours.len(), 24);
    assert!(
        hours.iter().all(|hour| is_time(&hour["hour"]) && fields(hour) == ["count", "hour"]),
        "{hours:?}"
    );
    // The server's idea of now: the hour may have turned since ours.
    let running: DateTime<Utc> = hours[23]["hour"].as_str().unwrap().parse().unwrap();
    assert!(running - now < TimeDelta::hours(1));
    let midnight = running.with_hour(0).unwrap();
    let today = |time| i64::from(time >= midnight);
    for (time, count) in [(now, 7), (earlier, 1), (now - TimeDelta::hours(1), 0)] {
        let hour = hours.iter().find(|hour| hour["hour"] == hour_of(time)).unwrap();
        assert_eq!(hour["count"], count, "{body}");
    }
    assert_eq!(body["activeAnnotators"], 2);
    assert_eq!(body["inProgressAssignments"], 1);
    assert_eq!(body["todayAnnotations"], 7 * today(now) + today(earlier));

    // (5,000 + 10,000 + 29,999 + 30,000 + 90,000) / 5, or with the 20,000 of three hours ago by 6.
    let (average, count) = match (today(now), today(earlier)) {
        (1, 1) => (json!(30_833), 7),
        (1, _) => (json!(33_000), 6),
        _ => (Value::Null, 0),
    };
    let ann_expected =
        json!({"id": ann, "name": "Ann", "todayCount": count, "avgTimeMs": average, "completionRate": 0.0});
    assert_eq!(summary(&body, ann.0), &ann_expected);
    let average = if today(now) == 1 { json!(12_500) } else { Value::Null };
    let bob_expected = json!({"id": bob, "name": "Ann", "todayCount": today(now), "avgTimeMs": average, "completionRate": 1.0});
    assert_eq!(summary(&body, bob.0), &bob_expected);
    let carol_expected =
        json!({"id": carol, "name": "Carol", "todayCount": 0, "avgTimeMs": null, "completionRate": null});
    assert_eq!(summary(&body, carol), &carol_expected);

    let body = api.get(&format!("/api/monitoring/annotator/{ann}")).await.expect(200);
    let names = [
        "annotator",
        "containerUptime",
        "todayAnnotations",
        "annotationsPerHour",
        "timeDistribution",
        "assignmentStats",
        "recentEvents",
    ];
    assert_eq!(fields(&body), sorted(&names));
    assert_eq!(body["annotator"], json!({"id": ann, "name": "Ann", "status": "active"}));
    assert_eq!(body["containerUptime"], "0h 0m");
    assert_eq!(body["todayAnnotations"], count);
    let per_hour = if count == 7 { 3.5 } else { f64::from(count) };
    assert_eq!(body["annotationsPerHour"], per_hour);
    let thirty = 2 * today(now) + today(earlier);
    assert_eq!(
        body["timeDistribution"],
        json!([
            {"bucket": "0-10s", "count": today(now)}, {"bucket": "10-30s", "count": thirty},
            {"bucket": "30-60s", "count": today(now)}, {"bucket": "60s+", "count": today(now)},
        ])
    );
    assert_eq!(body["assignmentStats"], json!({"total": 1, "completed": 0, "inProgress": 1}));
    let events = body["recentEvents"].as_array().unwrap();
    assert_eq!(events.len(), 12);
    assert_eq!(fields(&events[0]), ["createdAt", "eventType", "lsTaskId", "timeSpentMs"]);
    assert!(is_time(&events[0]["createdAt"]));
    assert_eq!(
        (&events[0]["eventType"], &events[0]["lsTaskId"]),
        (&json!("annotation_created"), &json!(1001))
    );
    assert_eq!(
        (&events[3]["eventType"], &events[3]["timeSpentMs"]),
        (&json!("annotation_deleted"), &Value::Null)
    );
    assert_eq!(
        (&events[4]["eventType"], &events[4]["timeSpentMs"]),
        (&json!("annotation_updated"), &json!(50_000))
    );

    let body = api.get(&format!("/api/monitoring/annotator/{bob}")).await.expect(200);
    assert_eq!(body["assignmentStats"], json!({"total": 2, "completed": 1, "inProgress": 0}));
    let body = api.get(&format!("/api/monitoring/annotator/{carol}")).await.expect(200);
    assert_eq!(body["containerUptime"], Value::Null);
    assert_eq!((&body["annotationsPerHour"], &body["recentEvents"]), (&json!(0.0), &json!([])));
}

#[tokio::test]
async fn uptime_counts_from_when_the_annotator_became_active() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let annotator = at_work(&database, 1).await;
    sqlx::query(
        "UPDATE annotators SET status_at = now() - interval '28 hours 32 minutes 5 seconds' WHERE id = $1",
    )
    .bind(annotator)
    .execute(&database.pool)
    .await
    .unwrap();
    let body = api.get(&format!("/api/monitoring/annotator/{annotator}")).await.expect(200);
    assert_eq!(body["containerUptime"], "28h 32m");
}

#[tokio::test]
async fn an_annotator_who_is_not_there_is_not_found() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    api.get("/api/monitoring/annotator/999").await.expect_error(404);
    assert_eq!(api.get("/api/monitoring/annotator/x").await.expect_error(400).1, ["id"]);
    let gone = api.create_annotator("Gone").await;
    api.delete(&format!("/api/annotators/{gone}")).await.expect(200);
    api.get(&format!("/api/monitoring/annotator/{gone}")).await.expect_error(404);
    let body = api.get("/api/monitoring").await.expect(200);
    assert_eq!(body["annotatorSummaries"], json!([]));
}
