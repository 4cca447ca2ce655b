//! Queues, workers and schedules over HTTP.

use serde_json::{Value, json};

use super::{fields, is_time};
use crate::support::{api::Api, database::Database};

async fn execute(database: &Database, sql: &'static str) {
    sqlx::query(sql).execute(&database.pool).await.unwrap();
}

/// As the workers' claims would have noted them.
const CLAIMS: &str = "INSERT INTO job_claims (worker_id, ids) SELECT worker_id, array_agg(id) FROM jobs WHERE state = 'running' GROUP BY 1";

#[tokio::test]
async fn a_queue_says_what_it_holds_and_how_fast_it_goes() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    execute(&database, "DELETE FROM jobs").await;
    let insert = "INSERT INTO jobs (kind, queue, state, args, max_attempts, attempt, worker_id, priority, scheduled_at,
                                    attempted_at, finalized_at, dispatched_at, concurrency_key, concurrency_limit)
        SELECT 'k', queue, state, '{}', 3, CASE WHEN state IN ('available', 'scheduled') THEN 0 ELSE 1 END,
               CASE WHEN state = 'running' THEN gen_random_uuid() END, level, now() - due, now() - begun, now() - ended,
               CASE WHEN state IN ('available', 'running', 'completed') THEN now() END, key, CASE WHEN key IS NOT NULL THEN 1 END
        FROM (VALUES
            ('a', 'available', 1, interval '10 s', NULL, NULL, NULL),
            ('a', 'available', 3, interval '1000 s', NULL, NULL, NULL),
            ('a', 'running', 1, interval '10 s', interval '1 s', NULL, NULL),
            ('a', 'scheduled', 1, interval '-1 h', NULL, NULL, NULL),
            ('a', 'retryable', 1, interval '-1 h', interval '1 s', NULL, NULL),
            ('a', 'discarded', 1, interval '10 s', interval '1 s', interval '1 s', NULL),
            ('a', 'cancelled', 1, interval '10 s', interval '1 s', interval '1 s', NULL),
            ('a', 'completed', 1, interval '13 s', interval '12 s', interval '10 s', NULL),
            ('a', 'completed', 1, interval '17 s', interval '14 s', interval '10 s', NULL),
            ('a', 'completed', 1, interval '9 h', interval '8 h', interval '1 h', NULL),
            ('b', 'available', 1, interval '500 s', NULL, NULL, 'key')
        ) AS new (queue, state, level, due, begun, ended, key)";
    execute(&database, insert).await;
    execute(&database, CLAIMS).await;
    let worker = "INSERT INTO workers (id, name, queues, lease_until) VALUES
        (gen_random_uuid(), 'w', '{idle,a}', now() + interval '1 h'), (gen_random_uuid(), 'lost', '{idle}', now())";
    execute(&database, worker).await;
    let list = api.get("/api/queues").await.expect(200);
    let [a, b, idle] = list["data"].as_array().unwrap().as_slice() else { panic!("{list}") };
    let names = [
        "completedPerSecond",
        "depth",
        "meanRunSeconds",
        "meanWaitSeconds",
        "name",
        "oldestDueSeconds",
        "pausedAt",
        "pausedBy",
        "workers",
    ];
    assert_eq!(fields(a), names);
    assert_eq!(
        a["depth"],
        json!({ "scheduled": 1, "available": 2, "running": 1, "retryable": 1, "discarded": 1 })
    );
    let number = |value: &Value| value.as_f64().unwrap();
    assert!((1000.0..2000.0).contains(&number(&a["oldestDueSeconds"])), "{a}");
    assert!((number(&a["completedPerSecond"]) - 2.0 / 60.0).abs() < 0.001, "{a}");
    assert!((number(&a["meanRunSeconds"]) - 3.0).abs() < 0.01, "{a}");
    assert!((number(&a["meanWaitSeconds"]) - 2.0).abs() < 0.01, "{a}");
    assert!((500.0..1000.0).contains(&number(&b["oldestDueSeconds"])), "{b}");
    assert_eq!((&b["completedPerSecond"], &b["meanRunSeconds"]), (&json!(0.0), &Value::Null));
    assert_eq!((&idle["name"], &idle["oldestDueSeconds"]), (&json!("idle"), &Value::Null));
    assert_eq!(idle["depth"]["available"], 0);
    assert_eq!((&a["workers"], &b["workers"], &idle["workers"]), (&json!(1), &json!(0), &json!(1)));
}

#[tokio::test]
async fn a_queue_is_paused_and_resumed_and_a_misspelled_one_is_not() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let worker = "INSERT INTO workers (id, name, queues, lease_until) VALUES (gen_random_uuid(), 'w', '{exports}', now())";
    execute(&database, worker).await;
    let paused = api.post("/api/queues/exports/pause", Value::Null).await.expect(200);
    assert!(is_time(&paused["pausedAt"]) && paused["pausedBy"] == "admin@fleet.local", "{paused}");
    let again = api.post("/api/queues/exports/pause", Value::Null).await.expect(200);
    assert_eq!(again["pausedAt"], paused["pausedAt"]);
    let listed = api.get("/api/queues").await.expect(200);
    assert!(listed["data"].as_array().unwrap().contains(&again), "{listed}");
    for _ in 0..2 {
        let resumed = api.post("/api/queues/exports/resume", Value::Null).await.expect(200);
        assert_eq!((&resumed["pausedAt"], &resumed["pausedBy"]), (&Value::Null, &Value::Null));
    }
    for call in ["pause", "resume"] {
        for name in ["exprots", "%00"] {
            api.post(&format!("/api/queues/{name}/{call}"), Value::Null).await.expect_error(404);
        }
    }
    assert!(!api.get("/api/queues").await.expect(200).to_string().contains("exprots"));
}

#[tokio::test]
async fn workers_are_listed_with_what_they_run() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let workers = "INSERT INTO workers (id, name, queues, started_at, lease_until) VALUES
        ('00000000-0000-0000-0000-000000000001', 'north', '{a,b}', now() - interval '2 h', now() + interval '1 h'),
        ('00000000-0000-0000-0000-000000000002', 'south', '{a}', now(), now() - interval '1 s')";
    execute(&database, workers).await;
    let running = "INSERT INTO jobs (kind, queue, state, args, max_attempts, attempt, worker_id, attempted_at)
        SELECT 'k', 'a', 'running', '{}', 3, 1, '00000000-0000-0000-0000-000000000001', now() FROM generate_series(1, 2)";
    execute(&database, running).await;
    execute(&database, CLAIMS).await;
    let list = api.get("/api/workers").await.expect(200);
    let [north, south] = list["data"].as_array().unwrap().as_slice() else { panic!("{list}") };
    let names = ["heartbeatAt", "id", "isAlive", "leaseUntil", "name", "queues", "runningJobs", "startedAt"];
    assert_eq!(fields(north), names);
    assert_eq!(
        (&north["name"], &north["isAlive"], &north["runningJobs"]),
        (&json!("north"), &json!(true), &json!(2))
    );
    assert_eq!(
        (&south["name"], &south["isAlive"], &south["runningJobs"]),
        (&json!("south"), &json!(false), &json!(0))
    );
    assert_eq!(north["queues"], json!(["a", "b"]));
    assert!(is_time(&north["leaseUntil"]));
}

#[tokio::test]
async fn a_schedule_is_told_to_run_to_pause_and_to_resume() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let schedules = "INSERT INTO schedules (name, cron, kind, next_at, time_zone, catch_up) VALUES
        ('hourly', '0 0 * * * *', 'k', '2100-01-01T00:00:00Z', 'Europe/Berlin', 'all'), ('never', '0 0 0 31 2 *', 'k', 'infinity', 'UTC', 'once')";
    execute(&database, schedules).await;
    let list = api.get("/api/schedules").await.expect(200);
    let [hourly, never] = list["data"].as_array().unwrap().as_slice() else { panic!("{list}") };
    let expected = json!({
        "name": "hourly", "kind": "k", "cron": "0 0 * * * *", "timeZone": "Europe/Berlin", "catchUp": "all",
        "lastAt": null, "nextAt": "2100-01-01T00:00:00.000Z", "pausedAt": null, "runRequestedAt": null,
    });
    assert_eq!(*hourly, expected);
    assert_eq!((&never["name"], &never["nextAt"]), (&json!("never"), &Value::Null));
    let tell = async |order: &str| {
        api.post(&format!("/api/schedules/hourly/{order}"), Value::Null).await.expect(200)
    };
    let paused = tell("pause").await;
    assert!(is_time(&paused["pausedAt"]) && paused["runRequestedAt"].is_null(), "{paused}");
    assert_eq!(tell("pause").await["pausedAt"], paused["pausedAt"]);
    let asked = tell("run").await;
    assert!(is_time(&asked["runRequestedAt"]) && asked["pausedAt"] == paused["pausedAt"], "{asked}");
    let resumed = tell("resume").await;
    assert_eq!((&resumed["pausedAt"], &resumed["runRequestedAt"]), (&Value::Null, &asked["runRequestedAt"]));
    for order in ["run", "pause", "resume"] {
        for name in ["weekly", "%00"] {
            api.post(&format!("/api/schedules/{name}/{order}"), Value::Null).await.expect_error(404);
        }
    }
    assert_eq!(api.get("/api/schedules").await.expect(200)["data"][1], *never);
}
