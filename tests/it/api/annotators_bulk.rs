//! Many annotators at once: all or nothing, and everything wrong is named.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    api::{Answer, Api},
    database::Database,
    factory,
};

const BULK: &str = "/api/annotators/bulk";

fn annotator(name: &str) -> Value {
    json!({ "name": name, "email": format!("{}@example.com", name.to_lowercase()) })
}

async fn delete(api: &Api, ids: Value) -> Answer {
    api.send(api.request(Method::DELETE, BULK).json(&json!({ "ids": ids }))).await
}

async fn total(api: &Api) -> Value {
    api.get("/api/annotators").await.expect(200)["pagination"]["total"].clone()
}

#[tokio::test]
async fn a_hundred_are_created_in_order_and_deleted() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let role = api.create_role("labeler").await;
    api.create_annotator("Ann").await;
    let body: Vec<Value> = (0..100)
        .map(|number| {
            json!({ "name": "Ann", "email": format!("ann{number}@example.com"), "roleId": role, "notes": "n" })
        })
        .collect();
    let answer = api.post(BULK, json!({ "annotators": body })).await.expect(201);
    assert_eq!(answer["created"], 100);
    let created = answer["annotators"].as_array().unwrap();
    for (number, (given, made)) in body.iter().zip(created).enumerate() {
        for (field, value) in given.as_object().unwrap() {
            assert_eq!(&made[field], value, "{number}: {field}");
        }
        assert_eq!(made["subdomain"], format!("ann-{}", number + 2));
        assert_eq!((&made["status"], &made["role"]["name"]), (&json!("created"), &json!("labeler")));
        assert_eq!(
            api.get(&format!("/api/annotators/{}", made["id"])).await.expect(200)["email"],
            made["email"]
        );
    }

    let ids: Vec<Value> = created.iter().map(|made| made["id"].clone()).collect();
    assert_eq!(delete(&api, json!(ids)).await.expect(200), json!({ "deleted": 100 }));
    assert_eq!(total(&api).await, 1);
    let statuses: Vec<(String, i64)> =
        sqlx::query_as("SELECT status, count(*) FROM annotators GROUP BY status ORDER BY status")
            .fetch_all(&database.pool)
            .await
            .unwrap();
    assert_eq!(statuses, [("created".to_owned(), 1), ("deleted".to_owned(), 100)]);
    let cleaned: Vec<i64> = sqlx::query_scalar(
        "SELECT (args->>'annotator_id')::bigint FROM jobs WHERE kind = 'remove_instance' ORDER BY 1",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(json!(cleaned), json!(ids), "what they have outside is removed, of each");
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_stored() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let role = api.create_role("labeler").await;
    api.create_annotator("Alice").await;
    let many: Vec<Value> = (0..101).map(|number| annotator(&format!("A{number}"))).collect();
    let twisted = json!([
        annotator("Bob"),
        { "name": "", "email": "carol" },
        { "name": 7 },
        "dave",
        { "name": "E", "email": "e@example.com", "roleId": "x", "notes": "n".repeat(2001) },
    ]);
    let with_role =
        |role: i64| json!({ "name": "R", "email": format!("r{role}@example.com"), "roleId": role });
    let cases: [(u16, Value, &[&str]); 8] = [
        (400, json!({}), &["annotators"]),
        (400, json!({ "annotators": 7 }), &["annotators"]),
        (400, json!({ "annotators": [] }), &["annotators"]),
        (400, json!({ "annotators": many }), &["annotators"]),
        (
            400,
            json!({ "annotators": twisted }),
            &[
                "annotators[1].name",
                "annotators[1].email",
                "annotators[2].name",
                "annotators[2].email",
                "annotators[3]",
                "annotators[4].roleId",
            ],
        ),
        (
            400,
            json!({ "annotators": [with_role(role), with_role(998), with_role(999)] }),
            &["annotators[1].roleId", "annotators[2].roleId"],
        ),
        (
            409,
            json!({ "annotators": [annotator("Bob"), annotator("Carol"), annotator("BOB"), annotator("bob")] }),
            &["annotators[2].email", "annotators[3].email"],
        ),
        (409, json!({ "annotators": [annotator("Bob"), annotator("ALICE")] }), &["annotators[1].email"]),
    ];
    for (status, body, expected) in cases {
        let (message, fields) = api.post(BULK, body.clone()).await.expect_error(status);
        assert_eq!(fields, expected, "{body}");
        assert!(expected.iter().all(|field| message.contains(field)), "{message}");
    }
    assert_eq!(total(&api).await, 1);
}

#[tokio::test]
async fn a_deletion_of_many_is_all_or_nothing() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let (alice, bob) = (api.create_annotator("Alice").await, api.create_annotator("Bob").await);
    let (message, fields) = delete(&api, json!([alice, 998, bob, 999])).await.expect_error(404);
    assert_eq!(fields, ["ids[1]", "ids[3]"], "{message}");
    for (bad, expected) in [
        (json!([]), "ids"),
        (json!((0..101).collect::<Vec<_>>()), "ids"),
        (json!([alice, "x"]), "ids[1]"),
        (json!(7), "ids"),
    ] {
        assert_eq!(delete(&api, bad).await.expect_error(400).1, [expected]);
    }
    assert_eq!(total(&api).await, 2);
    let jobs: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(&database.pool).await.unwrap();
    assert_eq!(jobs, 0, "nothing is cleaned up after those who stay");
    assert_eq!(delete(&api, json!([alice, alice, bob])).await.expect(200), json!({ "deleted": 2 }));
    delete(&api, json!([alice])).await.expect_error(404);
    // Their addresses are free again.
    api.post(BULK, json!({ "annotators": [annotator("Alice"), annotator("Bob")] })).await.expect(201);
}

#[tokio::test]
async fn the_open_work_of_the_deleted_goes_back_to_the_pool() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let pool = &database.pool;
    let new = factory::Workflow { batch: 3, ..factory::Workflow::new(pool).await };
    let workflow = new.create(pool).await;
    factory::tasks(pool, workflow, 9).await;
    let queue = labelfleet::queue::Client::new(pool.clone());
    let mut annotators = Vec::new();
    for _ in 0..3 {
        let annotator = factory::annotator(pool, new.role).await;
        labelfleet::ops::assign::assign(&queue, workflow, annotator).await.unwrap();
        annotators.push(annotator.0);
    }
    delete(&api, json!(&annotators[..2])).await.expect(200);
    let pooled: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks WHERE status = 'available'")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(pooled, 6);
    let open: Vec<(i64, String)> =
        sqlx::query_as("SELECT annotator_id, status FROM assignments ORDER BY annotator_id")
            .fetch_all(pool)
            .await
            .unwrap();
    let statuses: Vec<_> = open.iter().map(|(_, status)| status.as_str()).collect();
    assert_eq!(statuses, ["cancelled", "cancelled", "pending"]);
}

/// Two that want the same names and addresses, in opposite orders: one gets them, or both are told to try again.
#[tokio::test]
async fn batches_that_meet_leave_nothing_half_done() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let batch: Vec<Value> = (0..50).map(|number| annotator(&format!("A{number}"))).collect();
    let reversed: Vec<Value> = batch.iter().rev().cloned().collect();
    let answers = futures::future::join_all([
        api.post(BULK, json!({ "annotators": batch })),
        api.post(BULK, json!({ "annotators": reversed })),
    ])
    .await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let refused = answers.iter().filter(|answer| matches!(answer.status.as_u16(), 409 | 503)).count();
    assert_eq!(created + refused, 2, "{answers:?}");
    assert_eq!(total(&api).await, json!(50 * created), "{created} of the batches");
    assert_eq!(created, 1);
}
