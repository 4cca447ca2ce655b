//! What is delivered.

use labelfleet::{
    domain::{EventSource, event::from_webhook},
    ops::{
        assign::assign,
        ingest::ingest,
        jobs::{ExportAssignment, InjectGold},
    },
};
use serde_json::{Value, json};

use crate::support::{factory, fleet::Fleet, storage::Storage};

#[tokio::test]
async fn an_export_holds_every_annotation_but_gold_and_is_the_same_again() {
    let storage = Storage::start().await;
    let fleet = Fleet::with(storage.settings()).await;
    let pool = &fleet.database.pool;
    let workflow = factory::Workflow { gold_rate: 0.2, shuffle: false, ..factory::Workflow::new(pool).await };
    for _ in 0..2 {
        factory::gold(pool, workflow.config, "red").await;
    }
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, 10).await;
    let annotator = factory::annotator(pool, workflow.role).await;
    let assignment_id = assign(&fleet.deps.queue, id, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    factory::publish(pool, assignment_id, 5).await;
    for task in 1001..=1012 {
        let body = json!({
            "action": "ANNOTATION_CREATED", "project": {"id": 5}, "task": {"id": task, "data": {}},
            "annotation": {"id": task, "result": [factory::choice("blue")], "updated_at": "2026-04-06T12:00:00Z"},
        });
        let events = from_webhook(&body).unwrap();
        ingest(&fleet.deps.queue, annotator, EventSource::Webhook, &events).await.unwrap();
    }

    let outcome = fleet.run(ExportAssignment { assignment_id }).await.unwrap();
    let key = format!("exports/assignment-{assignment_id}.json");
    assert_eq!(outcome["key"], key);
    let bytes = storage.get(&key).await;
    let exported: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
    let images: Vec<&str> = exported.iter().filter_map(|task| task["data"]["image"].as_str()).collect();
    let expected: Vec<String> = (0..10).map(|n| format!("s3://fleet/images/{n:05}.png")).collect();
    assert_eq!(images, expected);
    assert!(exported.iter().all(|task| task["annotations"][0]["result"] == json!([factory::choice("blue")])));

    let (stored_key, size): (String, i64) =
        sqlx::query_as("SELECT export_key, export_bytes FROM assignments").fetch_one(pool).await.unwrap();
    assert_eq!((stored_key, size), (key.clone(), bytes.len() as i64));
    fleet.run(ExportAssignment { assignment_id }).await.unwrap();
    assert_eq!(storage.get(&key).await, bytes);
    fleet.tear_down().await;
}

#[tokio::test]
async fn an_unfinished_batch_is_not_exported() {
    let storage = Storage::start().await;
    let fleet = Fleet::with(storage.settings()).await;
    let pool = &fleet.database.pool;
    let workflow = factory::Workflow::new(pool).await;
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, 10).await;
    let annotator = factory::annotator(pool, workflow.role).await;
    let assignment_id = assign(&fleet.deps.queue, id, annotator).await.unwrap();
    assert_eq!(fleet.run(ExportAssignment { assignment_id }).await.unwrap(), Value::Null);
    assert!(!storage.path("exports").exists());
    fleet.tear_down().await;
}
