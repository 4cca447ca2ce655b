//! The audit log: two sources, one order, pages that neither lose nor double.

use serde_json::{Value, json};
use sqlx::PgPool;

use super::{fields, is_time, sorted};
use crate::support::{api::Api, database::Database};

/// So many events of each source for the annotator, at `instants` different times in all.
async fn events(pool: &PgPool, annotator: i64, count: i32, instants: i32) {
    for insert in [
        "INSERT INTO container_events (annotator_id, event_type, created_at)
         SELECT $1, 'started', '2026-04-06T12:00:00Z'::timestamptz + (n * 7 % $3) * interval '1 second'
         FROM generate_series(1, $2) AS n",
        "INSERT INTO annotation_events
             (annotator_id, action, ls_annotation_id, ls_task_id, source, lead_time_ms, occurred_at, received_at)
         SELECT $1, 'created', n, n, 'webhook', 1500, now(),
                '2026-04-06T12:00:00Z'::timestamptz + (n * 5 % $3) * interval '1 second'
         FROM generate_series(1, $2) AS n",
    ] {
        sqlx::query(insert).bind(annotator).bind(count).bind(instants).execute(pool).await.unwrap();
    }
}

fn key(event: &Value) -> (String, String, i64) {
    let text = |name: &str| event[name].as_str().unwrap().to_owned();
    (text("createdAt"), text("type"), event["id"].as_i64().unwrap())
}

#[tokio::test]
async fn each_source_has_its_fields() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = api.create_annotator("Alice").await;
    events(&database.pool, id, 1, 1).await;
    let list = api.get("/api/events").await.expect(200);
    assert_eq!(list["pagination"], json!({ "total": 2, "limit": 100, "offset": 0, "hasMore": false }));
    let [annotation, container] = [&list["data"][0], &list["data"][1]];
    assert_eq!(
        fields(container),
        sorted(&["type", "id", "annotatorId", "eventType", "details", "createdAt"])
    );
    assert_eq!((&container["type"], &container["eventType"]), (&json!("container"), &json!("started")));
    let names = [
        "type",
        "id",
        "annotatorId",
        "eventType",
        "assignmentId",
        "lsAnnotationId",
        "lsTaskId",
        "lsProjectId",
        "timeSpentMs",
        "source",
        "createdAt",
    ];
    assert_eq!(fields(annotation), sorted(&names));
    assert_eq!(annotation["type"], "annotation");
    assert_eq!(
        (&annotation["eventType"], &annotation["timeSpentMs"]),
        (&json!("annotation_created"), &json!(1500))
    );
    assert!(is_time(&annotation["createdAt"]) && annotation["annotatorId"] == json!(id), "{annotation}");
}

/// At any size of page, also where most events have the same time.
#[tokio::test]
async fn the_pages_together_are_the_whole() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (alice, bob) = (api.create_annotator("Alice").await, api.create_annotator("Bob").await);
    events(&database.pool, alice, 23, 3).await;
    events(&database.pool, bob, 11, 40).await;
    let filters = [
        (String::new(), 68),
        ("&type=container".into(), 34),
        ("&type=annotation".into(), 34),
        (format!("&annotatorId={alice}"), 46),
        (format!("&annotatorId={bob}&type=annotation"), 11),
        ("&annotatorId=999".into(), 0),
    ];
    for (filter, total) in filters {
        let whole = api.get(&format!("/api/events?limit=500{filter}")).await.expect(200);
        assert_eq!(whole["pagination"]["total"], total, "{filter}");
        let whole = whole["data"].as_array().unwrap().clone();
        assert_eq!(whole.len(), total, "{filter}");
        let mut keys: Vec<_> = whole.iter().map(key).collect();
        assert!(keys.windows(2).all(|two| {
            let [(later, kind, id), (earlier, next_kind, next_id)] = two else { unreachable!() };
            later > earlier || (later == earlier && (kind < next_kind || (kind == next_kind && id > next_id)))
        }));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), total, "{filter}: none is there twice");
        for limit in [1, 2, 7, 33, 34] {
            let mut paged = Vec::new();
            loop {
                let path = format!("/api/events?limit={limit}&offset={}{filter}", paged.len());
                let page = api.get(&path).await.expect(200);
                assert_eq!(page["pagination"]["total"], total);
                paged.extend(page["data"].as_array().unwrap().iter().cloned());
                assert_eq!(page["pagination"]["hasMore"], paged.len() < total, "{path}");
                if page["pagination"]["hasMore"] == false {
                    break;
                }
            }
            assert_eq!(paged, whole, "{filter} in pages of {limit}");
        }
    }
}

#[tokio::test]
async fn what_operators_ask_for_is_in_the_log() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let id = api.create_annotator("Alice").await;
    for call in ["start", "stop"] {
        api.post(&format!("/api/annotators/{id}/{call}"), json!(null)).await.expect(200);
        // Asked for again, it is not another event.
        api.post(&format!("/api/annotators/{id}/{call}"), json!(null)).await;
    }
    let list = api.get("/api/events?type=container").await.expect(200);
    let types: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|event| event["eventType"].clone()).collect();
    assert_eq!(types, ["stopping", "provisioning"]);
}

#[tokio::test]
async fn what_is_no_filter_is_named() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let bad = api.get("/api/events?type=weather&annotatorId=x&limit=0").await;
    assert_eq!(bad.expect_error(400).1, ["type", "annotatorId", "limit"]);
}
