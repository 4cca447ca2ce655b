//! Jobs as they change, over HTTP.

use std::time::{Duration, Instant};

use labelfleet::{
    queue,
    up::{Postgres, PostgresOptions},
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::{
    engine::{lab::Lab, probe::Act},
    support::{
        api::{ADMIN_EMAIL, ADMIN_PASSWORD, Answer, Api, answer, config},
        database::Database,
        events::{Event, Events},
        wait,
    },
};

async fn insert(pool: &PgPool, kind: &str, state: &str) -> i64 {
    sqlx::query_scalar(
        "INSERT INTO jobs (kind, queue, state, args, max_attempts, finalized_at, dispatched_at)
         VALUES ($1, 'exports', $2, '{}', 3, CASE WHEN $2 = 'discarded' THEN now() END,
                 CASE WHEN $2 = 'available' THEN now() END) RETURNING id",
    )
    .bind(kind)
    .bind(state)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// The answer to a stream that is not opened.
async fn refusal(api: &Api, query: &str) -> Answer {
    let request = api.request(Method::GET, &format!("/api/jobs/stream{query}"));
    answer(request.timeout(Duration::from_secs(20))).await
}

fn jobs(events: &[Event]) -> Vec<i64> {
    events.iter().filter(|event| event.name == "job").map(Event::job).collect()
}

#[tokio::test]
async fn the_present_state_comes_first_and_then_what_changes() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    sqlx::query("DELETE FROM jobs").execute(pool).await.unwrap();
    let first = insert(pool, "export", "available").await;
    let second = insert(pool, "export", "discarded").await;
    let mut events = Events::open(&api, "/api/jobs/stream").await;
    let present = events.until("ready").await;
    assert_eq!((jobs(&present), events.retry), (vec![first, second], Some(2000)));
    let listed = api.get("/api/jobs").await.expect(200);
    assert_eq!(present[1].data, listed["data"][0], "as the list has it");

    api.post(&format!("/api/jobs/{first}/cancel"), Value::Null).await.expect(200);
    let cancelled = events.next().await.unwrap();
    assert_eq!((cancelled.job(), &cancelled.data["state"]), (first, &json!("cancelled")));
    let third = insert(pool, "assign", "available").await;
    let new = events.next().await.unwrap();
    assert_eq!((new.name.as_str(), new.job()), ("job", third));
    sqlx::query("DELETE FROM jobs WHERE id = $1").bind(third).execute(pool).await.unwrap();
    let removed = events.next().await.unwrap();
    assert_eq!((removed.name.as_str(), removed.job()), ("removed", third));
    assert_eq!((present[0].id, removed.id), (1, 6), "they are counted");
}

#[tokio::test]
async fn only_what_the_filter_means_is_told() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    insert(pool, "assign", "available").await;
    let wanted = insert(pool, "export", "available").await;
    insert(pool, "export", "discarded").await;
    let mut events = Events::open(&api, "/api/jobs/stream?kind=export&state=available,running").await;
    assert_eq!(jobs(&events.until("ready").await), [wanted]);
    insert(pool, "assign", "available").await;
    insert(pool, "export", "discarded").await;
    let next = insert(pool, "export", "available").await;
    assert_eq!(events.next().await.unwrap().job(), next);

    let bad = [
        ("id=x&kind=", vec!["id", "kind"]),
        ("id=1&kind=export", vec!["id"]),
        ("state=dead", vec!["state"]),
        ("stat=running", vec!["stat"]),
        ("limit=5", vec!["limit"]),
    ];
    for (query, wrong) in bad {
        let (message, mut fields) = refusal(&api, &format!("?{query}")).await.expect_error(400);
        fields.sort_unstable();
        assert_eq!(fields, wrong, "{query}: {message}");
    }
    refusal(&api, "?id=999999").await.expect_error(404);
    let stranger = api.stranger();
    stranger.send(Method::GET, "/api/jobs/stream").await.expect_error(401);
    let made = api.post("/api/keys", json!({ "name": "r", "scopes": ["read"] })).await.expect(201);
    let key = made["key"].as_str().unwrap();
    let opened = stranger.request(Method::GET, "/api/jobs/stream").bearer_auth(key).send().await.unwrap();
    assert_eq!(opened.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_and_log_of_a_running_job_are_seen_as_they_come() {
    let lab = Lab::new().await;
    let api = Api::start(&lab.database).await;
    let id = lab.enqueue(1, Act::Steps { count: 2 }).await.0;
    let mut events = Events::open(&api, &format!("/api/jobs/stream?id={id}")).await;
    let present = events.until("ready").await;
    assert_eq!((present[0].job(), &present[0].data["log"]), (id, &json!([])));
    let (worker, _) = lab.worker().await;
    let (mut lines, mut last) = (Vec::new(), Value::Null);
    for step in 1..=2 {
        lab.step(1).await;
        while lines.len() < step || (step == 1 && last["progress"] != json!(0.5)) {
            last = events.next().await.expect("it goes on").data;
            lines.extend(last["log"].as_array().unwrap().iter().map(|said| said["line"].clone()));
        }
        if step == 1 {
            assert_eq!(
                (&last["state"], &last["attempts"][0]["outcome"]),
                (&json!("running"), &json!("running"))
            );
        }
    }
    while last["state"] != "completed" {
        last = events.next().await.expect("it goes on").data;
    }
    assert_eq!(lines, [json!("step 1"), json!("step 2")]);
    worker.drain().await;
    api.delete(&format!("/api/jobs/{id}")).await.expect(200);
    let removed = events.next().await.unwrap();
    assert_eq!((removed.name.as_str(), removed.job()), ("removed", id));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_process_serves_so_many_streams_and_no_more() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push(Events::open(&api, "/api/jobs/stream?state=discarded").await);
    }
    let refused = refusal(&api, "").await;
    assert_eq!(refused.headers["retry-after"], "10");
    assert!(refused.expect_error(503).0.contains("32 streams"));
    api.get("/api/jobs").await.expect(200);
    // All of them are served.
    let dead = insert(&database.pool, "export", "discarded").await;
    for events in &mut open {
        events.until("ready").await;
        assert_eq!(events.next().await.unwrap().job(), dead);
    }
    open.pop();
    wait::until("the place is free again", Duration::from_secs(30), async || {
        let response = api.request(Method::GET, "/api/jobs/stream").send().await.unwrap();
        (response.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let mut events = Events::open(&api, "/api/jobs/stream").await;
    events.until("ready").await;
    let stopping = Instant::now();
    drop(api);
    assert_eq!(events.next().await, None, "it ends, and is not cut off");
    assert!(stopping.elapsed() < Duration::from_secs(5), "it holds nobody up");
}

#[tokio::test]
async fn a_stream_outlives_an_outage_of_postgres() {
    let dir = tempfile::tempdir().unwrap();
    let options = PostgresOptions { durable: false, ..PostgresOptions::new(dir.path()) };
    let mut server = Postgres::start(options).await.unwrap();
    let database = Database::create_on(&server.url()).await;
    Api::start(&database).await;
    let pool =
        PgPoolOptions::new().acquire_timeout(Duration::from_secs(5)).connect_lazy(&database.url).unwrap();
    let api = Api::serve(config(&database.url), pool.clone()).await;
    api.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200);
    let job = insert(&database.pool, "export", "available").await;
    let mut events = Events::open(&api, "/api/jobs/stream").await;
    events.until("ready").await;
    server.stop().await.unwrap();
    assert_eq!(events.next().await.unwrap().name, "stalled");
    refusal(&api, "").await.expect_error(503);
    server.restart().await.unwrap();
    assert_eq!(events.next().await.unwrap().name, "resumed");
    wait::until("it can be cancelled", Duration::from_secs(10), async || {
        queue::admin::cancel(&queue::Client::new(pool.clone()), queue::JobId(job), "an operator").await.ok()
    })
    .await;
    let changed = events.next().await.unwrap();
    assert_eq!((changed.job(), &changed.data["state"]), (job, &json!("cancelled")));
}
