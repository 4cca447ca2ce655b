//! Jobs that wait for others, as operators see them: for what, why they gave up, and their batches.

use labelfleet::queue::JobId;
use serde_json::{Value, json};

use super::{fields, is_time};
use crate::{
    engine::{
        lab::{Lab, nothing},
        probe::{Act, Probe},
    },
    support::api::Api,
};

fn probe(key: i64) -> Probe {
    Probe { key, act: Act::Nothing }
}

fn ids(page: &Value) -> Vec<i64> {
    page["data"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_waiting_job_says_for_what() {
    let lab = Lab::new().await;
    let api = Api::start(&lab.database).await;
    let mut others = lab.enqueue_all(&nothing(0..12)).await;
    others.sort_unstable();
    let mut tx = lab.queue.begin().await.unwrap();
    let waiting = tx.enqueue_after(&others, &probe(20)).await.unwrap().id;
    let timed = tx.enqueue_in(&probe(21), std::time::Duration::from_secs(60)).await.unwrap().id;
    tx.commit().await.unwrap();
    let numbers = |ids: &[JobId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let waits = |jobs: &[JobId]| json!({ "jobs": numbers(jobs), "jobCount": 12, "batch": null, "until": "completed" });
    let whole = api.get(&format!("/api/jobs/{waiting}")).await.expect(200);
    assert_eq!(
        (&whole["state"], &whole["scheduledAt"], &whole["waitsFor"]),
        (&json!("scheduled"), &Value::Null, &waits(&others))
    );
    let list = api.get("/api/jobs?state=scheduled").await.expect(200);
    assert_eq!(ids(&list), [timed.0, waiting.0]);
    assert_eq!(list["data"][1]["waitsFor"], waits(&others[..10]), "a list has the first ten");
    assert_eq!(list["data"][0]["waitsFor"], Value::Null);
    assert!(is_time(&list["data"][0]["scheduledAt"]));

    // It runs at an operator's wish, and waits for nothing more.
    let retried = api.post(&format!("/api/jobs/{waiting}/retry"), Value::Null).await.expect(200);
    assert_eq!((&retried["state"], &retried["waitsFor"]), (&json!("available"), &Value::Null));
    assert!(is_time(&retried["scheduledAt"]));
    assert_eq!(lab.scalar("SELECT count(*) FROM job_waits").await, 0);
}

#[tokio::test]
async fn a_batch_says_how_far_it_is_and_who_waits_for_it() {
    let lab = Lab::new().await;
    let api = Api::start(&lab.database).await;
    let mut tx = lab.queue.begin().await.unwrap();
    let batch = tx.enqueue_batch(&nothing(0..3)).await.unwrap();
    let other = tx.enqueue_batch(&nothing(3..4)).await.unwrap();
    let done = tx.enqueue_when_done(batch.id, &probe(10)).await.unwrap().id;
    let failed = tx.enqueue_on_failure(batch.id, &probe(11)).await.unwrap().id;
    tx.commit().await.unwrap();
    let mut jobs: Vec<i64> = batch.jobs.iter().map(|job| job.id.0).collect();
    jobs.sort_unstable_by(|one, other| other.cmp(one));
    let cancelled = jobs[0];
    api.post(&format!("/api/jobs/{cancelled}/cancel"), Value::Null).await.expect(200);

    let id = batch.id.0;
    let shown = api.get(&format!("/api/jobs/batches/{id}")).await.expect(200);
    assert_eq!(fields(&shown), ["createdAt", "id", "jobs", "waiting"]);
    let counts = json!({ "scheduled": 0, "available": 2, "running": 0, "retryable": 0, "completed": 0,
        "cancelled": 1, "discarded": 0 });
    assert_eq!((&shown["id"], &shown["jobs"]), (&json!(id), &counts));
    let waiting = json!([
        { "id": done, "kind": "probe", "until": "completed" },
        { "id": failed, "kind": "probe", "until": "failed" },
    ]);
    assert_eq!(shown["waiting"], waiting);
    api.get("/api/jobs/batches/999999").await.expect_error(404);
    api.get("/api/jobs/batches/x").await.expect_error(400);

    let waits = api.get(&format!("/api/jobs/{failed}")).await.expect(200)["waitsFor"].clone();
    assert_eq!(waits, json!({ "jobs": [], "jobCount": 0, "batch": id, "until": "failed" }));
    let listed = api.get(&format!("/api/jobs?batch={id}")).await.expect(200);
    assert_eq!((ids(&listed), &listed["data"][0]["batchId"]), (jobs.clone(), &json!(id)));
    let page = api.get(&format!("/api/jobs?batch={id}&limit=2")).await.expect(200);
    assert_eq!((ids(&page), &page["nextBefore"]), (jobs[..2].to_vec(), &json!(jobs[1])));
    let rest = api.get(&format!("/api/jobs?batch={id}&before={}", jobs[1])).await.expect(200);
    assert_eq!((ids(&rest), &rest["nextBefore"]), (jobs[2..].to_vec(), &Value::Null));
    let open = api.get(&format!("/api/jobs?batch={id}&state=available")).await.expect(200);
    assert_eq!(ids(&open), jobs[1..]);
    let (_, wrong) = api.get("/api/jobs?batch=first").await.expect_error(400);
    assert_eq!(wrong, ["batch"]);

    // A batch is narrow enough to change its jobs.
    let retried = api.post("/api/jobs/retry", json!({ "batch": other.id, "state": ["cancelled"] })).await;
    assert_eq!(retried.expect(200), json!({ "count": 0, "skipped": 0 }));
    let retried = api.post("/api/jobs/retry", json!({ "batch": id, "state": ["cancelled"] })).await;
    assert_eq!(retried.expect(200), json!({ "count": 1, "skipped": 0 }));
}

#[tokio::test]
async fn who_cancelled_a_waiting_job_is_on_record() {
    let lab = Lab::new().await;
    let api = Api::start(&lab.database).await;
    let id = lab.enqueue(1, Act::Nothing).await;
    let path = format!("/api/jobs/{id}");
    for _ in 0..2 {
        let cancelled = api.post(&format!("{path}/cancel"), Value::Null).await.expect(200);
        assert_eq!(cancelled["lastError"], "cancelled by admin@fleet.local");
    }
    let by_whom = "/api/jobs?text=BY+ADMIN@";
    assert_eq!(ids(&api.get(by_whom).await.expect(200)), [id.0]);
    let runs = api.get(&path).await.expect(200)["attempts"].clone();
    assert_eq!(
        (&runs[0]["attempt"], &runs[0]["outcome"], &runs[0]["startedAt"]),
        (&json!(0), &json!("cancelled"), &Value::Null)
    );
    // Of a job that ran, its last run keeps what it said.
    sqlx::query(
        "WITH ran AS (
             UPDATE jobs SET state = 'retryable', attempt = 1, dispatched_at = NULL, finalized_at = NULL RETURNING id)
         INSERT INTO job_attempts (job_id, attempt, outcome, error) SELECT id, 1, 'retry', 'no route' FROM ran",
    )
    .execute(lab.pool())
    .await
    .unwrap();
    api.post(&format!("{path}/cancel"), Value::Null).await.expect(200);
    let run = api.get(&path).await.expect(200)["attempts"][1].clone();
    assert_eq!(
        (&run["outcome"], &run["error"]),
        (&json!("retry"), &json!("no route\ncancelled by admin@fleet.local"))
    );
    assert_eq!(ids(&api.get(by_whom).await.expect(200)), [id.0]);
}
