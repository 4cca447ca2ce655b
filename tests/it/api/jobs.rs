//! Background jobs over HTTP: the list and its filters, one job whole, retry, cancel and delete, one by one and by filter.

use chrono::{DateTime, TimeDelta, Utc};
use labelfleet::{domain::AnnotatorId, ops::jobs::AssignBatch, queue};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{fields, is_time, sorted};
use crate::support::{
    api::{ADMIN_EMAIL, ADMIN_PASSWORD, Api, answer, config},
    database::Database,
};

const FIELDS: &[&str] = &[
    "id",
    "kind",
    "queue",
    "state",
    "args",
    "priority",
    "flow",
    "uniqueKey",
    "concurrencyKey",
    "concurrencyLimit",
    "batchId",
    "waitsFor",
    "attempt",
    "maxAttempts",
    "workerId",
    "progress",
    "result",
    "createdAt",
    "scheduledAt",
    "attemptedAt",
    "finalizedAt",
    "cancelRequestedAt",
    "lastError",
];

/// A row as a test wants it.
struct Row {
    kind: &'static str,
    queue: &'static str,
    state: &'static str,
    args: Value,
    unique_key: Option<&'static str>,
    created_at: DateTime<Utc>,
    /// Of the last of its attempts.
    error: Option<&'static str>,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            kind: "export",
            queue: "exports",
            state: "available",
            args: json!({}),
            unique_key: None,
            created_at: Utc::now(),
            error: None,
        }
    }
}

impl Row {
    async fn insert(self, pool: &PgPool) -> i64 {
        let id: i64 = sqlx::query_scalar(
            "WITH new AS (
                 INSERT INTO jobs (kind, queue, state, args, unique_key, created_at, max_attempts, attempt, worker_id,
                                   attempted_at, finalized_at, dispatched_at)
                 SELECT $1, $2, $3, $4, $5, $6, 3, CASE WHEN $3 IN ('scheduled', 'available') THEN 0 ELSE 2 END,
                        CASE WHEN $3 = 'running' THEN gen_random_uuid() END,
                        CASE WHEN $3 NOT IN ('scheduled', 'available') THEN now() END,
                        CASE WHEN $3 IN ('completed', 'cancelled', 'discarded') THEN now() END,
                        CASE WHEN $3 IN ('available', 'running', 'completed') THEN now() END
                 RETURNING id, worker_id
             ), claimed AS (
                 INSERT INTO job_claims (worker_id, ids) SELECT worker_id, ARRAY [id] FROM new WHERE worker_id IS NOT NULL
             )
             SELECT id FROM new",
        )
        .bind(self.kind)
        .bind(self.queue)
        .bind(self.state)
        .bind(self.args)
        .bind(self.unique_key)
        .bind(self.created_at)
        .fetch_one(pool)
        .await
        .unwrap();
        if let Some(error) = self.error {
            sqlx::query(
                "INSERT INTO job_attempts (job_id, attempt, started_at, outcome, error)
                 VALUES ($1, 1, now(), 'retry', $2)",
            )
            .bind(id)
            .bind(error)
            .execute(pool)
            .await
            .unwrap();
        }
        id
    }
}

fn ids(page: &Value) -> Vec<i64> {
    page["data"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

async fn state(pool: &PgPool, id: i64) -> Option<String> {
    sqlx::query_scalar("SELECT state FROM jobs WHERE id = $1").bind(id).fetch_optional(pool).await.unwrap()
}

#[tokio::test]
async fn each_filter_narrows_the_list_and_together_they_must_all_hold() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    sqlx::query("DELETE FROM jobs").execute(pool).await.unwrap();
    let hours_ago = |hours| Utc::now() - TimeDelta::hours(hours);
    let old = Row {
        created_at: hours_ago(5),
        args: json!({ "Path": "Cats/7.png", "n": [1, 2] }),
        ..Row::default()
    };
    let old = old.insert(pool).await;
    let dead = Row { state: "discarded", error: Some("exporting: no such BUCKET: x"), ..Row::default() };
    let dead = dead.insert(pool).await;
    let cancelled = Row { state: "cancelled", kind: "assign", ..Row::default() }.insert(pool).await;
    let late = Row { state: "scheduled", queue: "slow", ..Row::default() }.insert(pool).await;
    let again = Row { state: "retryable", error: Some("100% sure"), ..Row::default() }.insert(pool).await;
    let running =
        Row { state: "running", args: json!({ "path": "50_x" }), ..Row::default() }.insert(pool).await;
    let done = Row { state: "completed", kind: "assign", queue: "slow", ..Row::default() }.insert(pool).await;
    let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let (four, six) = (moment(hours_ago(4)), moment(hours_ago(6)));
    let cases: [(String, &[i64]); 21] = [
        (String::new(), &[done, running, again, late, cancelled, dead, old]),
        ("state=discarded".into(), &[dead]),
        ("state=cancelled,discarded".into(), &[cancelled, dead]),
        ("state=retryable".into(), &[again]),
        ("state=scheduled,retryable".into(), &[again, late]),
        ("state=running".into(), &[running]),
        ("state=available,completed".into(), &[done, old]),
        ("kind=assign".into(), &[done, cancelled]),
        ("queue=slow".into(), &[done, late]),
        ("queue=slow&kind=assign&state=completed".into(), &[done]),
        ("queue=slow&kind=assign&state=cancelled".into(), &[]),
        (format!("createdFrom={four}"), &[done, running, again, late, cancelled, dead]),
        (format!("createdTo={four}"), &[old]),
        (format!("createdFrom={six}&createdTo={four}"), &[old]),
        ("text=cats%2F7".into(), &[old]),
        ("text=bucket".into(), &[dead]),
        ("text=BUCKET&state=completed".into(), &[]),
        // What a pattern would take for any character is itself.
        ("text=0%25".into(), &[again]),
        ("text=0_".into(), &[running]),
        // As our own JSON writes it, or Postgres'.
        ("text=%22n%22%3A%5B1%2C2%5D".into(), &[old]),
        ("text=%22n%22%3A+%5B1%2C+2%5D".into(), &[old]),
    ];
    for (query, expected) in cases {
        let page = api.get(&format!("/api/jobs?{query}")).await.expect(200);
        assert_eq!((ids(&page).as_slice(), &page["nextBefore"]), (expected, &Value::Null), "{query}");
    }
}

#[tokio::test]
async fn pages_go_by_id() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    sqlx::query("DELETE FROM jobs").execute(pool).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(Row::default().insert(pool).await);
    }
    let mut query = "/api/jobs?limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = api.get(&query).await.expect(200);
        seen.extend(ids(&page));
        // Newer ones don't move the pages.
        Row::default().insert(pool).await;
        let Some(before) = page["nextBefore"].as_i64() else { break };
        assert_eq!(ids(&page).len(), 2);
        query = format!("/api/jobs?limit=2&before={before}");
    }
    all.reverse();
    assert_eq!(seen, all);
}

/// More jobs than are looked at for one page lie between those that are meant.
#[tokio::test]
async fn what_is_rare_is_found_page_by_page_and_the_dead_set_at_once() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    let dead = Row { state: "discarded", kind: "rare", ..Row::default() }.insert(pool).await;
    let done = Row { state: "completed", kind: "rare", ..Row::default() }.insert(pool).await;
    sqlx::query(
        "INSERT INTO jobs (kind, queue, state, args, max_attempts, attempt, attempted_at, finalized_at)
         SELECT 'common', 'q', 'completed', '{}', 3, 1, now(), now() FROM generate_series(1, 100000)",
    )
    .execute(pool)
    .await
    .unwrap();
    let first = api.get("/api/jobs?kind=rare").await.expect(200);
    assert_eq!(ids(&first), [0; 0]);
    let before = &first["nextBefore"];
    let second = api.get(&format!("/api/jobs?kind=rare&before={before}")).await.expect(200);
    assert_eq!((ids(&second), &second["nextBefore"]), (vec![done, dead], &Value::Null));
    let dead_set = api.get("/api/jobs?kind=rare&state=discarded").await.expect(200);
    assert_eq!((ids(&dead_set), &dead_set["nextBefore"]), (vec![dead], &Value::Null));
    let deleted = api.post("/api/jobs/delete", json!({ "kind": "rare" })).await.expect(200);
    assert_eq!(deleted, json!({ "count": 2, "skipped": 0 }));
}

#[tokio::test]
async fn a_job_is_shown_with_every_run_its_progress_and_its_log() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    let error = "exporting: listing the bucket: connection refused";
    let args = json!({ "assignment_id": 7 });
    let done = Row { state: "completed", error: Some(error), args: args.clone(), ..Row::default() };
    let done = done.insert(pool).await;
    let said = "INSERT INTO job_logs (job_id, number, attempt, line)
        SELECT $1, n, run, 'line ' || n FROM (VALUES (1, 250), (2, 950)) AS runs (run, count), generate_series(1, count) AS n";
    sqlx::query(said).bind(done).execute(pool).await.unwrap();
    let shown = api.get(&format!("/api/jobs/{done}")).await.expect(200);
    assert_eq!(fields(&shown), sorted(&[FIELDS, &["attempts", "log"]].concat()));
    assert_eq!((&shown["args"], &shown["lastError"]), (&args, &json!(error)));
    assert!(is_time(&shown["createdAt"]) && is_time(&shown["finalizedAt"]), "{shown}");
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!(fields(&attempts[0]), ["attempt", "error", "finishedAt", "outcome", "startedAt", "workerId"]);
    let told: Vec<_> = attempts.iter().map(|run| (&run["attempt"], &run["outcome"], &run["error"])).collect();
    assert_eq!(
        told,
        [(&json!(1), &json!("retry"), &json!(error)), (&json!(2), &json!("completed"), &Value::Null)]
    );
    assert!(is_time(&attempts[1]["finishedAt"]), "{shown}");
    let log = shown["log"].as_array().unwrap();
    assert_eq!(
        (log.len(), &log[0]["line"], &log[999]["line"]),
        (1000, &json!("line 201"), &json!("line 950"))
    );
    assert_eq!((&log[49]["line"], &log[50]["line"]), (&json!("line 250"), &json!("line 1")), "run by run");
    assert_eq!(fields(&log[0]), ["at", "attempt", "line", "number"]);

    let running = Row { state: "running", ..Row::default() }.insert(pool).await;
    sqlx::query("UPDATE jobs SET progress = 0.5 WHERE id = $1").bind(running).execute(pool).await.unwrap();
    let shown = api.get(&format!("/api/jobs/{running}")).await.expect(200);
    assert_eq!(shown["progress"], 0.5);
    assert_eq!(shown["attempts"][0]["outcome"], "running");
    assert_eq!(shown["attempts"][0]["workerId"], shown["workerId"]);
    assert_eq!(shown["attempts"][0]["finishedAt"], Value::Null);
    let listed = api.get("/api/jobs?state=running").await.expect(200);
    assert_eq!(fields(&listed["data"][0]), sorted(FIELDS));

    let fresh = Row::default().insert(pool).await;
    assert_eq!(api.get(&format!("/api/jobs/{fresh}")).await.expect(200)["attempts"], json!([]));
    api.get("/api/jobs/999999").await.expect_error(404);
    api.get("/api/jobs/x").await.expect_error(400);
}

#[tokio::test]
async fn one_job_is_retried_cancelled_and_deleted_where_its_state_allows() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    // What each of them answers, and the state after it.
    type Case = (&'static str, [(u16, Option<&'static str>); 3]);
    let cases: [Case; 7] = [
        ("scheduled", [(200, Some("available")), (200, Some("cancelled")), (409, Some("scheduled"))]),
        ("available", [(409, Some("available")), (200, Some("cancelled")), (409, Some("available"))]),
        ("running", [(409, Some("running")), (200, Some("running")), (409, Some("running"))]),
        ("retryable", [(200, Some("available")), (200, Some("cancelled")), (409, Some("retryable"))]),
        ("completed", [(409, Some("completed")), (409, Some("completed")), (200, None)]),
        ("cancelled", [(200, Some("available")), (200, Some("cancelled")), (200, None)]),
        ("discarded", [(200, Some("available")), (409, Some("discarded")), (200, None)]),
    ];
    for (before, [retry, cancel, delete]) in cases {
        for (what, (status, after)) in [("retry", retry), ("cancel", cancel), ("delete", delete)] {
            let id = Row { state: before, ..Row::default() }.insert(pool).await;
            let answer = match what {
                "delete" => api.delete(&format!("/api/jobs/{id}")).await,
                what => api.post(&format!("/api/jobs/{id}/{what}"), Value::Null).await,
            };
            let case = format!("{what} a {before} one: {}", answer.body);
            assert_eq!(answer.status, status, "{case}");
            assert_eq!(state(pool, id).await.as_deref(), after, "{case}");
            match (what, status) {
                ("delete", 200) => assert_eq!(answer.body, json!({ "success": true })),
                (_, 200) => assert_eq!(answer.body["state"].as_str(), after, "{case}"),
                _ => assert!(answer.body["error"].as_str().unwrap().contains(before), "{case}"),
            }
        }
    }
    for call in ["retry", "cancel"] {
        api.post(&format!("/api/jobs/999999/{call}"), Value::Null).await.expect_error(404);
    }
    api.delete("/api/jobs/999999").await.expect_error(404);
}

#[tokio::test]
async fn a_running_job_is_asked_to_stop_and_its_next_run_is_not() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    let id = Row { state: "running", ..Row::default() }.insert(pool).await;
    let asked = api.post(&format!("/api/jobs/{id}/cancel"), Value::Null).await.expect(200);
    assert!(is_time(&asked["cancelRequestedAt"]), "{asked}");
    let again = api.post(&format!("/api/jobs/{id}/cancel"), Value::Null).await.expect(200);
    assert_eq!(again["cancelRequestedAt"], asked["cancelRequestedAt"]);
    let ends = "UPDATE jobs SET state = 'cancelled', worker_id = NULL, dispatched_at = NULL, finalized_at = now(), progress = 0.7
                WHERE id = $1";
    sqlx::query(ends).bind(id).execute(pool).await.unwrap();
    let retried = api.post(&format!("/api/jobs/{id}/retry"), Value::Null).await.expect(200);
    assert_eq!((&retried["cancelRequestedAt"], &retried["progress"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn the_dead_set_is_retried_by_filter() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    // More than one batch.
    sqlx::query(
        "INSERT INTO jobs (kind, queue, state, args, max_attempts, attempt, attempted_at, dispatched_at, finalized_at)
         SELECT 'export', 'exports', 'discarded', '{}', 3, 3, now(), NULL, now() FROM generate_series(1, 2300)",
    )
    .execute(pool)
    .await
    .unwrap();
    let other = Row { state: "discarded", kind: "assign", ..Row::default() }.insert(pool).await;
    let cancelled = Row { state: "cancelled", ..Row::default() }.insert(pool).await;
    let completed = Row { state: "completed", ..Row::default() }.insert(pool).await;
    let retried = api.post("/api/jobs/retry", json!({ "kind": "export" })).await.expect(200);
    assert_eq!(retried, json!({ "count": 2300, "skipped": 0 }));
    let due = "SELECT count(*) FROM jobs WHERE kind = 'export' AND state = 'available' AND max_attempts = 4";
    assert_eq!(sqlx::query_scalar::<_, i64>(due).fetch_one(pool).await.unwrap(), 2300);
    for (id, kept) in [(other, "discarded"), (cancelled, "cancelled"), (completed, "completed")] {
        assert_eq!(state(pool, id).await.as_deref(), Some(kept));
    }
    let both = json!({ "state": ["cancelled", "discarded"], "queue": "exports" });
    assert_eq!(api.post("/api/jobs/retry", both).await.expect(200)["count"], 2);
    assert_eq!(state(pool, completed).await.as_deref(), Some("completed"));
}

#[tokio::test]
async fn of_several_with_one_key_the_newest_is_retried_and_none_beside_an_open_one() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    let dead = async |unique_key| Row { state: "discarded", unique_key, ..Row::default() }.insert(pool).await;
    let (one, other) = (dead(Some("a")).await, dead(Some("a")).await);
    let held = dead(Some("b")).await;
    let open = Row { state: "running", unique_key: Some("b"), ..Row::default() }.insert(pool).await;
    let (free, free_too) = (dead(None).await, dead(None).await);
    let retried = api.post("/api/jobs/retry", json!({ "state": ["discarded"] })).await.expect(200);
    assert_eq!(retried, json!({ "count": 3, "skipped": 2 }));
    let wanted = [
        (one, "discarded"),
        (other, "available"),
        (held, "discarded"),
        (open, "running"),
        (free, "available"),
        (free_too, "available"),
    ];
    for (id, wanted) in wanted {
        assert_eq!(state(pool, id).await.as_deref(), Some(wanted), "{id}");
    }
}

#[tokio::test]
async fn final_jobs_are_deleted_by_filter_with_all_that_belongs_to_them() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    let gone = Row { state: "discarded", error: Some("no space left"), ..Row::default() }.insert(pool).await;
    sqlx::query("INSERT INTO job_logs (job_id, number, attempt, line) VALUES ($1, 1, 1, 'x')")
        .bind(gone)
        .execute(pool)
        .await
        .unwrap();
    let other = Row { state: "discarded", error: Some("timeout"), ..Row::default() }.insert(pool).await;
    let open = Row { state: "retryable", error: Some("no space left"), ..Row::default() }.insert(pool).await;
    let deleted = api.post("/api/jobs/delete", json!({ "text": "NO SPACE" })).await.expect(200);
    assert_eq!(deleted, json!({ "count": 1, "skipped": 0 }));
    assert_eq!(state(pool, gone).await, None);
    assert!(state(pool, other).await.is_some() && state(pool, open).await.is_some());
    for table in ["job_attempts", "job_logs"] {
        let left = format!("SELECT count(*) FROM {table} WHERE job_id = {gone}");
        assert_eq!(sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(left)).fetch_one(pool).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_done() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    let dead = Row { state: "discarded", ..Row::default() }.insert(pool).await;
    let (long, too_long) = ("x".repeat(101), "x".repeat(201));
    let queries: [(String, &[&str]); 13] = [
        ("limit=0&before=x".into(), &["limit", "before"]),
        ("limit=501".into(), &["limit"]),
        ("before=0".into(), &["before"]),
        ("before=99999999999999999999".into(), &["before"]),
        ("state=dead".into(), &["state"]),
        ("state=running,".into(), &["state"]),
        (format!("kind={long}&queue={long}&text={too_long}"), &["kind", "queue", "text"]),
        ("kind=&text=%00&state=x&limit=-1".into(), &["kind", "text", "state", "limit"]),
        ("createdFrom=yesterday&createdTo=2026".into(), &["createdFrom", "createdTo"]),
        ("createdFrom=%2B12026-01-01T00:00:00Z".into(), &["createdFrom"]),
        ("createdFrom=2026-01-02T00:00:00Z&createdTo=2026-01-01T00:00:00Z".into(), &["createdTo"]),
        ("kind=a&kind=b".into(), &["kind"]),
        ("batch=x&stat=running".into(), &["batch", "stat"]),
    ];
    for (query, expected) in queries {
        let (message, mut fields) = api.get(&format!("/api/jobs?{query}")).await.expect_error(400);
        let mut expected = expected.to_vec();
        fields.sort_unstable();
        expected.sort_unstable();
        assert_eq!(fields, expected, "{query}: {message}");
    }
    let bodies: [(Value, &[&str]); 8] = [
        (json!({}), &[""]),
        (json!({ "createdTo": "2100-01-01T00:00:00Z" }), &[""]),
        (json!({ "state": ["discarded", "running"] }), &["state[1]"]),
        (json!({ "state": "discarded" }), &["state"]),
        (json!({ "state": ["dead"] }), &["state[0]"]),
        // A filter that is misspelled would mean more jobs than were thought of.
        (json!({ "state": ["discarded"], "kin": "export" }), &["kin"]),
        (json!({ "kind": "", "queue": 7, "text": "\u{0}" }), &["kind", "queue", "text"]),
        (
            json!({ "createdFrom": "2026-01-02T00:00:00Z", "createdTo": "2026-01-01T00:00:00Z" }),
            &["", "createdTo"],
        ),
    ];
    for (body, expected) in bodies {
        for call in ["retry", "delete"] {
            let (message, mut fields) =
                api.post(&format!("/api/jobs/{call}"), body.clone()).await.expect_error(400);
            fields.sort_unstable();
            assert_eq!(fields, expected, "{call} {body}: {message}");
        }
    }
    let completed = json!({ "state": ["completed"] });
    assert_eq!(api.post("/api/jobs/retry", completed).await.expect_error(400).1, ["state[0]"]);
    assert_eq!(state(pool, dead).await.as_deref(), Some("discarded"));
}

#[tokio::test]
async fn each_call_wants_its_scope() {
    let database = Database::create().await;
    let (pool, api) = (&database.pool, Api::start(&database).await);
    let ladder = ["read", "write", "admin"];
    let mut keys = Vec::new();
    for scope in ladder {
        let made = api.post("/api/keys", json!({ "name": scope, "scopes": [scope] })).await.expect(201);
        keys.push(made["key"].as_str().unwrap().to_owned());
    }
    let calls = [
        ("read", "GET", "/api/jobs"),
        ("read", "GET", "/api/jobs/{id}"),
        ("write", "POST", "/api/jobs/{id}/retry"),
        ("write", "POST", "/api/jobs/{id}/cancel"),
        ("write", "POST", "/api/jobs/retry"),
        ("admin", "DELETE", "/api/jobs/{id}"),
        ("admin", "POST", "/api/jobs/delete"),
    ];
    for (needed, method, path) in calls {
        for (held, key) in ladder.iter().zip(&keys) {
            let id = Row { state: "cancelled", ..Row::default() }.insert(pool).await;
            let path = path.replace("{id}", &id.to_string());
            let request = api.stranger().request(method.parse().unwrap(), &path).bearer_auth(key);
            let answer = answer(request.json(&json!({ "state": ["cancelled"] }))).await;
            let rung = |scope| ladder.iter().position(|rung| *rung == scope).unwrap();
            let wanted = if rung(*held) >= rung(needed) { 200 } else { 403 };
            assert_eq!(answer.status, wanted, "{method} {path} with {held}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn encrypted_arguments_are_shown_by_a_process_that_has_the_key() {
    let database = Database::create().await;
    let plain = Api::start(&database).await;
    let cipher: queue::ArgsCipher = format!("{}=", "A".repeat(43)).parse().unwrap();
    let queue = queue::Client::new(database.pool.clone()).with_cipher(Some(cipher));
    let id = queue.enqueue(&AssignBatch { annotator_id: AnnotatorId(4711) }).await.unwrap().id;
    let keyed = Api::serve_on(([127, 0, 0, 1], 0).into(), config(&database.url), queue).await;
    keyed.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200);
    let path = format!("/api/jobs/{id}");
    for (api, has_key) in [(plain, false), (keyed, true)] {
        let listed = api.get("/api/jobs").await.expect(200)["data"][0]["args"].clone();
        let got = api.get(&path).await.expect(200)["args"].clone();
        let cancelled = api.post(&format!("{path}/cancel"), json!({})).await.expect(200)["args"].clone();
        let retried = api.post(&format!("{path}/retry"), json!({})).await.expect(200)["args"].clone();
        for args in [listed, got, cancelled, retried] {
            if has_key {
                assert_eq!(args, json!({"annotator_id": 4711}));
            } else {
                assert_eq!(args["encrypted"], true, "{args}");
                assert!(args["key"].is_string());
            }
        }
    }
}

/// What the operation itself enqueues.
#[tokio::test]
async fn a_real_job_is_found_by_its_arguments() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    let mut tx = queue::Client::new(database.pool.clone()).begin().await.unwrap();
    let id = tx.enqueue(&AssignBatch { annotator_id: AnnotatorId(4711) }).await.unwrap().id.0;
    tx.commit().await.unwrap();
    let found = api.get("/api/jobs?kind=assign_batch&text=%22annotator_id%22%3A4711").await.expect(200);
    assert_eq!(ids(&found), [id]);
}
