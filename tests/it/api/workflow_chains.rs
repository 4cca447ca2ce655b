//! Workflows that hang together: created at once, chained, shown as a graph, deleted.

use serde_json::{Value, json};

use super::{fields, sorted};
use crate::support::{api::Api, database::Database, factory};

fn new(name: &str, more: Value) -> Value {
    let mut body = json!({ "name": name, "s3SourcePath": "data/", "s3ExportPath": "out/" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn count(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM workflows").fetch_one(&database.pool).await.unwrap()
}

#[tokio::test]
async fn several_are_created_at_once_and_may_name_each_other() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let origin = api.create_workflow("origin").await;
    // The second names the third as its rework, which comes later in the list.
    let body = json!({ "workflows": [
        new("label", json!({ "previousWorkflowId": origin })),
        new("review", json!({
            "previousWorkflowIndex": 0, "rejectionMode": "route_to_workflow", "rejectionRouteWorkflowIndex": 2 })),
        new("rework", json!({ "imagesPerProject": 5 })),
        new("last", json!({ "previousWorkflowIndex": 1, "previousWorkflowId": null })),
    ]});
    let answer = api.post("/api/workflows/bulk", body).await.expect(201);
    assert_eq!(answer["created"], 4);
    let made = answer["workflows"].as_array().unwrap();
    let names: Vec<_> = made.iter().map(|workflow| workflow["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["label", "review", "rework", "last"]);
    assert_eq!(made[0]["previousWorkflowId"], origin);
    assert_eq!(made[1]["previousWorkflowId"], made[0]["id"]);
    assert_eq!(made[1]["rejectionMode"], "route_to_workflow");
    assert_eq!(made[1]["rejectionRouteWorkflowId"], made[2]["id"]);
    assert_eq!((&made[2]["imagesPerProject"], &made[2]["previousWorkflowId"]), (&json!(5), &Value::Null));
    let last = api.get(&format!("/api/workflows/{}", made[3]["id"])).await.expect(200);
    let chain: Vec<_> = last["chain"].as_array().unwrap().iter().map(|link| &link["id"]).collect();
    assert_eq!(chain, [&json!(origin), &made[0]["id"], &made[1]["id"], &made[3]["id"]]);
    // Only what stands at the start of a chain has images of its own to list.
    let listed: Vec<Value> =
        sqlx::query_scalar("SELECT args -> 'workflow_id' FROM jobs WHERE kind = 'sync_source' ORDER BY id")
            .fetch_all(&database.pool)
            .await
            .unwrap();
    assert_eq!(listed, [json!(origin), made[2]["id"].clone()]);
}

#[tokio::test]
async fn a_list_with_anything_wrong_creates_nothing_and_names_all_of_it() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let origin = api.create_workflow("origin").await;
    let cases = [
        (json!([]), vec!["workflows"]),
        (json!(vec![new("one too many", json!({})); 51]), vec!["workflows"]),
        (json!([new("fine", json!({})), 7]), vec!["workflows[1]"]),
        (
            json!([
                new("", json!({ "imagesPerProject": 0 })),
                new("b", json!({ "previousWorkflowId": 999, "labelingConfigId": 998, "roleId": 997 })),
            ]),
            vec!["workflows[0].name", "workflows[0].imagesPerProject"],
        ),
        (
            json!([
                new("a", json!({})),
                new(
                    "b",
                    json!({ "previousWorkflowId": 999, "labelingConfigId": 998, "roleId": 997,
                                 "rejectionRouteWorkflowId": 996 })
                ),
            ]),
            vec![
                "workflows[1].roleId",
                "workflows[1].labelingConfigId",
                "workflows[1].previousWorkflowId",
                "workflows[1].rejectionRouteWorkflowId",
            ],
        ),
        (json!([new("a", json!({ "goldStandardRate": "much" }))]), vec!["workflows[0].goldStandardRate"]),
        (
            json!([{ "name": "a", "s3ExportPath": "b" }, new("b", json!({ "previousWorkflowIndex": 2 }))]),
            vec!["workflows[0].s3SourcePath", "workflows[1].previousWorkflowIndex"],
        ),
        (
            json!([new("a", json!({ "previousWorkflowIndex": "first" }))]),
            vec!["workflows[0].previousWorkflowIndex"],
        ),
        (
            json!([
                new("a", json!({})),
                new("b", json!({ "previousWorkflowIndex": 0, "previousWorkflowId": origin }))
            ]),
            vec!["workflows[1].previousWorkflowIndex"],
        ),
        (
            json!([new("a", json!({ "rejectionMode": "route_to_workflow" }))]),
            vec!["workflows[0].rejectionRouteWorkflowId"],
        ),
        (
            json!([new(
                "a",
                json!({ "rejectionMode": "route_to_workflow", "rejectionRouteWorkflowIndex": 0 })
            )]),
            vec!["workflows[0].rejectionRouteWorkflowIndex"],
        ),
    ];
    for (workflows, named) in cases {
        let answer = api.post("/api/workflows/bulk", json!({ "workflows": workflows })).await;
        let (message, fields) = answer.expect_error(400);
        assert_eq!(fields, named, "{message}");
        assert_eq!(count(&database).await, 1, "{message}");
    }
    let circle = json!({ "workflows": [
        new("a", json!({ "previousWorkflowIndex": 2 })),
        new("b", json!({ "previousWorkflowIndex": 0 })),
        new("c", json!({ "previousWorkflowIndex": 1 })),
    ]});
    let (message, fields) = api.post("/api/workflows/bulk", circle).await.expect_error(400);
    assert_eq!(fields, ["workflows[0].previousWorkflowIndex"]);
    let way = "workflows[0] -> workflows[2] -> workflows[1] -> workflows[0]";
    assert!(message.contains(way), "{message}");
    api.post("/api/workflows/bulk", json!({})).await.expect_error(400);
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_circle_is_refused_with_the_way_around_it() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let mut ids = vec![api.create_workflow("one").await];
    for name in ["two", "three"] {
        let body = new(name, json!({ "previousWorkflowId": ids.last() }));
        ids.push(api.create("/api/workflows", body).await);
    }
    let (first, last) = (ids[0], ids[2]);
    let answer = api.put(&format!("/api/workflows/{first}"), json!({ "previousWorkflowId": last })).await;
    let (message, fields) = answer.expect_error(400);
    assert_eq!(fields, ["previousWorkflowId"]);
    let way = format!("one ({first}) -> two ({}) -> three ({last}) -> one ({first})", ids[1]);
    assert!(message.contains(&way), "{message}");
    let rework = json!({ "rejectionMode": "route_to_workflow", "rejectionRouteWorkflowId": first });
    let (_, fields) = api.put(&format!("/api/workflows/{first}"), rework).await.expect_error(400);
    assert_eq!(fields, ["rejectionRouteWorkflowId"]);
}

/// Each of the two changes is right by itself.
#[tokio::test(flavor = "multi_thread")]
async fn two_changes_at_once_close_no_circle() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    for _ in 0..10 {
        let (one, two) = (api.create_workflow("one").await, api.create_workflow("two").await);
        let tie = async |from: i64, to: i64| {
            let answer =
                api.put(&format!("/api/workflows/{from}"), json!({ "previousWorkflowId": to })).await;
            answer.status.as_u16()
        };
        let mut outcomes: [u16; 2] = futures::future::join(tie(one, two), tie(two, one)).await.into();
        outcomes.sort_unstable();
        assert_eq!(outcomes, [200, 400]);
    }
}

#[tokio::test]
async fn the_graph_shows_where_work_goes_and_how_much_there_is() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let pool = &database.pool;
    assert_eq!(
        api.get("/api/workflows/graph").await.expect(200),
        json!({ "nodes": [], "edges": [] }),
        "a fleet without workflows"
    );
    let body = json!({ "name": "labeler", "color": "#3B82F6" });
    let role = api.create("/api/roles", body).await;
    let body = json!({ "workflows": [
        new("label", json!({ "roleId": role })),
        new("review", json!({
            "previousWorkflowIndex": 0, "rejectionMode": "route_to_workflow", "rejectionRouteWorkflowIndex": 0 })),
        new("second review", json!({ "previousWorkflowIndex": 1, "rejectionMode": "archive", "isActive": false })),
    ]});
    let made = api.post("/api/workflows/bulk", body).await.expect(201);
    let ids: Vec<i64> = (0..3).map(|n| made["workflows"][n]["id"].as_i64().unwrap()).collect();
    // In the review: four decisions, one of which rejects; one batch is over, one is in hand.
    let annotator = factory::annotator(pool, labelfleet::domain::RoleId(role)).await;
    for status in ["completed", "in_progress", "cancelled"] {
        sqlx::query(
            "WITH batch AS (
                 INSERT INTO assignments (workflow_id, annotator_id, task_count, status, gold_at, ls_project_id,
                                          published_at, completed_at)
                 VALUES ($1, $2, 4, $3, now(), (random() * 1000000)::int, now(),
                         CASE WHEN $3 = 'completed' THEN now() END)
                 RETURNING id
             ), task AS (
                 INSERT INTO tasks (workflow_id, origin, image_key)
                 SELECT $1, 's3', $3 || n FROM generate_series(1, 4) AS n RETURNING id
             )
             INSERT INTO assignment_tasks (assignment_id, position, task_id, review_decision)
             SELECT batch.id, row_number() OVER (), task.id,
                    CASE WHEN $3 = 'completed' THEN
                        CASE row_number() OVER () WHEN 1 THEN 'reject' ELSE 'accept' END END
             FROM batch, task",
        )
        .bind(ids[1])
        .bind(annotator)
        .bind(status)
        .execute(pool)
        .await
        .unwrap();
    }
    let graph = api.get("/api/workflows/graph").await.expect(200);
    let nodes = graph["nodes"].as_array().unwrap();
    let expected =
        ["id", "name", "type", "roleId", "roleName", "roleColor", "isActive", "rejectionMode", "stats"];
    assert_eq!(fields(&nodes[0]), sorted(&expected));
    let none = json!({
        "totalAssignments": 0, "completedAssignments": 0, "activeAnnotators": 0, "rejectionRate": 0.0 });
    assert_eq!(
        nodes[0],
        json!({ "id": ids[0], "name": "label", "type": "workflow", "roleId": role, "roleName": "labeler",
                "roleColor": "#3B82F6", "isActive": true, "rejectionMode": "none", "stats": none })
    );
    let stats = json!({
        "totalAssignments": 3, "completedAssignments": 1, "activeAnnotators": 1, "rejectionRate": 0.25 });
    assert_eq!(nodes[1]["stats"], stats);
    assert_eq!((&nodes[2]["isActive"], &nodes[2]["roleName"]), (&json!(false), &Value::Null));
    let archive = format!("archive-{}", ids[2]);
    assert_eq!(nodes[3], json!({ "id": archive, "name": "Archive", "type": "terminal" }));
    assert_eq!(
        graph["edges"],
        json!([
            { "source": ids[0], "target": ids[1], "type": "chain", "label": "accept" },
            { "source": ids[1], "target": ids[2], "type": "chain", "label": "accept" },
            { "source": ids[1], "target": ids[0], "type": "rejection", "label": "reject" },
            { "source": ids[2], "target": archive, "type": "rejection", "label": "reject" },
        ])
    );
}

#[tokio::test]
async fn what_keeps_a_workflow_from_being_deleted_is_said() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let body = json!({ "workflows": [
        new("first", json!({})),
        new("second", json!({ "previousWorkflowIndex": 0, "rejectionRouteWorkflowIndex": 2 })),
        new("rework", json!({})),
    ]});
    let made = api.post("/api/workflows/bulk", body).await.expect(201);
    let path = |n: usize| format!("/api/workflows/{}", made["workflows"][n]["id"]);
    let (message, _) = api.delete(&path(0)).await.expect_error(409);
    assert!(message.contains("follows this one"), "{message}");
    let (message, _) = api.delete(&path(2)).await.expect_error(409);
    assert!(message.contains("routes its rejections"), "{message}");
    for n in [1, 2, 0] {
        assert_eq!(api.delete(&path(n)).await.expect(200), json!({ "success": true }));
        api.delete(&path(n)).await.expect_error(404);
    }
}

/// What came from the former source and nobody ever got leaves the pool; what someone got stays.
#[tokio::test]
async fn a_workflow_that_is_tied_to_another_changes_its_source() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (first, second) = (api.create_workflow("first").await, api.create_workflow("second").await);
    sqlx::query(
        "INSERT INTO tasks (workflow_id, origin, image_key, status)
         VALUES ($1, 's3', 'images/a.png', 'available'), ($1, 's3', 'images/b.png', 'completed')",
    )
    .bind(second)
    .execute(&database.pool)
    .await
    .unwrap();
    let path = format!("/api/workflows/{second}");
    let tied = api.put(&path, json!({ "previousWorkflowId": first })).await.expect(200);
    assert_eq!((&tied["totalImagesAvailable"], &tied["totalImagesAssigned"]), (&json!(0), &json!(1)));
    sqlx::query("UPDATE jobs SET state = 'completed', finalized_at = now()")
        .execute(&database.pool)
        .await
        .unwrap();
    api.put(&path, json!({ "previousWorkflowId": null })).await.expect(200);
    let listed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM jobs WHERE kind = 'sync_source' AND state = 'available'")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!(listed, 1);
}
