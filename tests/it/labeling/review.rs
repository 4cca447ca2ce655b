//! Work that goes from workflow to workflow: what is done goes on, what is rejected comes back.

use std::sync::Arc;

use labelfleet::{
    domain::AssignmentId,
    ops::{
        Error,
        assign::{assign, assign_next},
        jobs::{ChainAssignment, CountReview, RouteRejection},
    },
    queue::{JobArgs, Run},
    store,
};
use labelfleet_jobs::Deps;
use serde_json::{Value, json};

use crate::support::{
    factory,
    fleet::{Fleet, deps},
    relay::Relay,
    review::{Chain, accept, event, reject},
    storage::Storage,
};

/// Runs the jobs of a kind that wait, twice each: the second run finds nothing to do.
async fn run_all<J: Run<Deps> + Copy>(fleet: &Fleet) -> usize {
    let waiting: Vec<Value> = sqlx::query_scalar(
        "UPDATE jobs SET state = 'completed', worker_id = NULL, finalized_at = now()
         WHERE kind = $1 AND finalized_at IS NULL RETURNING args",
    )
    .bind(<J as JobArgs>::KIND)
    .fetch_all(&fleet.database.pool)
    .await
    .unwrap();
    for args in &waiting {
        let job: J = serde_json::from_value(args.clone()).unwrap();
        fleet.run(job).await.unwrap();
        fleet.run(job).await.unwrap();
    }
    waiting.len()
}

pub(super) async fn settle(fleet: &Fleet) {
    run_all::<CountReview>(fleet).await;
    run_all::<RouteRejection>(fleet).await;
    run_all::<ChainAssignment>(fleet).await;
}

/// A fleet whose annotator has labeled all images and whose reviewer has them all.
async fn in_review(images: i32, rejections: Value) -> (Fleet, Chain, AssignmentId) {
    let fleet = Fleet::local().await;
    let chain = Chain::new(&fleet.database, images, rejections).await;
    let batch = chain.hand_out(chain.label, chain.ann).await;
    chain.label_all(batch, chain.ann, "red").await;
    settle(&fleet).await;
    let review = chain.hand_out(chain.review, chain.reviewer).await;
    (fleet, chain, review)
}

fn back_to_label(chain: &Chain) -> Value {
    json!({ "rejectionMode": "route_to_workflow", "rejectionRouteWorkflowId": chain.label,
            "rejectionReturnToOriginal": true })
}

/// As [`in_review`], with rejections routed back to the first workflow and its annotator.
pub(super) async fn in_review_with_rework(images: i32) -> (Fleet, Chain, AssignmentId) {
    let (fleet, chain, review) = in_review(images, json!({})).await;
    let path = format!("/api/workflows/{}", chain.review);
    chain.api.put(&path, back_to_label(&chain)).await.expect(200);
    (fleet, chain, review)
}

fn task(image: &str, status: &str, iteration: i32) -> (String, String, i32) {
    (format!("{image}.png"), status.to_owned(), iteration)
}

#[tokio::test]
async fn accepted_work_goes_on_and_rejected_work_comes_back_until_it_is_accepted() {
    let (fleet, chain, review) = in_review_with_rework(2).await;
    chain.decide(review, 1, "ANNOTATION_CREATED", 1, &accept()).await;
    chain.decide(review, 2, "ANNOTATION_CREATED", 2, &reject("too loose")).await;
    settle(&fleet).await;
    assert_eq!(chain.tasks(chain.last).await, [task("00000", "available", 0)]);
    assert_eq!(chain.counters(chain.ann).await, (2, 1));
    assert_eq!(chain.tasks(chain.label).await[2], task("00001", "available", 1));
    let rejection = chain.rejection().await;
    assert_eq!(rejection["reason"], "too loose");
    assert_eq!(
        (&rejection["status"], &rejection["actionTaken"]),
        (&json!("routed"), &json!("route_to_workflow"))
    );
    assert_eq!(rejection["routedToAssignment"], Value::Null);

    // Others of the role don't get what waits for its annotator.
    let other = factory::annotator(&chain.pool, chain.labelers).await;
    assert!(matches!(assign(&chain.queue, chain.label, other).await, Err(Error::Conflict(_))));
    let rework = chain.hand_out(chain.label, chain.ann).await;
    assert_eq!(chain.rejection().await["routedToAssignment"]["id"], rework.0);
    // What Label Studio is to show: the rejected annotation, and why it comes back.
    let mut db = chain.pool.acquire().await.unwrap();
    let slots = store::assignments::slots(&mut db, rework).await.unwrap();
    let places: Vec<_> = slots.iter().map(|slot| slot.id).collect();
    let earlier = store::publishing::earlier(&mut db, &places).await.unwrap();
    drop(db);
    assert_eq!(earlier.len(), 1);
    assert_eq!(
        (&earlier[0].result, earlier[0].reason.as_deref()),
        (&json!([factory::choice("red")]), Some("too loose"))
    );

    chain.label_all(rework, chain.ann, "green").await;
    settle(&fleet).await;
    assert_eq!(chain.tasks(chain.review).await[2], task("00001", "available", 1));
    let again = chain.hand_out(chain.review, chain.reviewer).await;
    chain.decide(again, 1, "ANNOTATION_CREATED", 9, &accept()).await;
    settle(&fleet).await;
    assert_eq!(chain.tasks(chain.last).await[1], task("00001", "available", 1));
    assert_eq!(chain.counters(chain.ann).await, (3, 1));
    // What goes on is the label, not the reviewer's decision.
    let label: Value = sqlx::query_scalar(
        "SELECT payload #> '{result,0,value,choices}' FROM tasks JOIN annotations ON annotations.id = source_annotation_id
         WHERE workflow_id = $1 ORDER BY tasks.id DESC LIMIT 1",
    )
    .bind(chain.last)
    .fetch_one(&chain.pool)
    .await
    .unwrap();
    assert_eq!(label, json!(["green"]));
    fleet.tear_down().await;
}

/// Each change is told twice, and its jobs run twice.
#[tokio::test]
async fn a_review_that_is_changed_is_followed_until_its_rework_is_handed_out() {
    let (fleet, chain, review) = in_review_with_rework(1).await;
    let decide = async |action: &str, second: u32, says: Value| {
        for _ in 0..2 {
            chain.decide(review, 1, action, second, &says).await;
        }
        settle(&fleet).await;
    };
    decide("ANNOTATION_CREATED", 1, accept()).await;
    assert_eq!((chain.counters(chain.ann).await, chain.tasks(chain.last).await.len()), ((1, 0), 1));
    decide("ANNOTATION_UPDATED", 2, reject("no")).await;
    assert_eq!(chain.counters(chain.ann).await, (1, 1));
    assert_eq!(chain.tasks(chain.last).await, [task("00000", "withdrawn", 0)]);
    assert_eq!(chain.tasks(chain.label).await[1], task("00000", "available", 1));
    decide("ANNOTATION_UPDATED", 3, accept()).await;
    assert_eq!(chain.counters(chain.ann).await, (1, 0));
    assert_eq!(chain.tasks(chain.last).await, [task("00000", "available", 0)]);
    assert_eq!(chain.tasks(chain.label).await[1], task("00000", "withdrawn", 1));
    assert_eq!(chain.rejection().await["status"], "withdrawn");
    decide("ANNOTATIONS_DELETED", 4, Value::Null).await;
    assert_eq!(chain.counters(chain.ann).await, (0, 0));
    assert_eq!(chain.tasks(chain.last).await, [task("00000", "withdrawn", 0)]);

    // A new annotation on the same task rejects; then the rework is handed out, and the rejection stands.
    let mut body = event("ANNOTATION_CREATED", review, 1, 5, &reject("really not"));
    body["annotation"]["id"] = json!(777);
    chain.tell(chain.reviewer, &body).await.expect(200);
    settle(&fleet).await;
    assert_eq!(chain.counters(chain.ann).await, (1, 1));
    chain.hand_out(chain.label, chain.ann).await;
    body["action"] = json!("ANNOTATION_UPDATED");
    body["annotation"]["result"] = accept();
    body["annotation"]["updated_at"] = json!("2026-04-06T12:00:30Z");
    chain.tell(chain.reviewer, &body).await.expect(200);
    settle(&fleet).await;
    assert_eq!(chain.counters(chain.ann).await, (1, 1));
    assert_eq!(chain.tasks(chain.last).await, [task("00000", "withdrawn", 0)]);
    let rejection = chain.rejection().await;
    assert_eq!((&rejection["status"], &rejection["reason"]), (&json!("routed"), &json!("really not")));
    fleet.tear_down().await;
}

/// The worker dies after the archive was written and before that is known; another finishes the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_is_archived_once_even_when_its_job_is_killed_in_between() {
    let storage = Storage::start().await;
    let fleet = Fleet::with(storage.settings()).await;
    let rejections = json!({ "rejectionMode": "archive", "rejectionArchiveBucket": "rejected/cars/" });
    let chain = Chain::new(&fleet.database, 1, rejections).await;
    let batch = chain.hand_out(chain.label, chain.ann).await;
    chain.label_all(batch, chain.ann, "red").await;
    settle(&fleet).await;
    let review = chain.hand_out(chain.review, chain.reviewer).await;
    chain.decide(review, 1, "ANNOTATION_CREATED", 1, &reject("blurred")).await;
    let rejection_id = sqlx::query_scalar("SELECT id FROM rejections").fetch_one(&chain.pool).await.unwrap();
    let job = RouteRejection { rejection_id };

    let endpoint = &fleet.settings["S3_ENDPOINT"];
    let relay = Relay::start("127.0.0.1", endpoint.trim_start_matches("http://")).await;
    let mut settings = fleet.settings.clone();
    settings.insert("S3_ENDPOINT".into(), format!("http://127.0.0.1:{}", relay.port));
    let doomed = deps(&settings, chain.pool.clone());
    let written = relay.hold_answer_to("PUT /");
    let id = fleet.claimed(job, 1).await;
    let context = labelfleet::queue::JobContext::new(id, 1, 20, crate::support::fleet::WORKER);
    let run = tokio::spawn(async move { job.run(context, Arc::clone(&doomed)).await });
    written.await.unwrap();
    run.abort();
    let _ = run.await;
    let key = format!("rejected/cars/rejection-{rejection_id}.json");
    let first = storage.get(&key).await;
    assert_eq!(chain.rejection().await["status"], "pending", "nobody knows of the archive yet");

    settle(&fleet).await;
    fleet.run(job).await.unwrap();
    assert_eq!(storage.get(&key).await, first);
    let rejection = chain.rejection().await;
    assert_eq!((&rejection["status"], &rejection["archiveKey"]), (&json!("routed"), &json!(key)));
    let archived: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(archived["rejection"]["reason"], "blurred");
    assert_eq!(archived["annotation"]["result"], json!([factory::choice("red")]));
    assert_eq!(archived["review"]["result"], reject("blurred"));
    assert_eq!(archived["task"]["imageKey"], "images/00000.png");
    assert_eq!(chain.tasks(chain.last).await, []);
    fleet.tear_down().await;
}

#[tokio::test]
async fn work_that_comes_back_too_often_is_left_to_a_person() {
    let (fleet, chain, review) = in_review_with_rework(1).await;
    let path = format!("/api/workflows/{}", chain.review);
    chain
        .api
        .put(&path, json!({ "maxReworkIterations": 0, "rejectionFlagAnnotator": false }))
        .await
        .expect(200);
    chain.decide(review, 1, "ANNOTATION_CREATED", 1, &reject("hopeless")).await;
    settle(&fleet).await;
    let rejection = chain.rejection().await;
    assert_eq!((&rejection["escalated"], &rejection["actionTaken"]), (&json!(true), &json!("none")));
    assert_eq!(chain.tasks(chain.label).await, [task("00000", "escalated", 0)]);
    assert_eq!(chain.counters(chain.ann).await, (1, 0), "reviewed, but not flagged");
    // Accepted after all, it is done.
    chain.decide(review, 1, "ANNOTATION_UPDATED", 2, &accept()).await;
    settle(&fleet).await;
    assert_eq!(chain.tasks(chain.label).await, [task("00000", "completed", 0)]);
    assert_eq!(chain.tasks(chain.last).await, [task("00000", "available", 0)]);
    fleet.tear_down().await;
}

#[tokio::test]
async fn nobody_reviews_their_own_work_while_somebody_else_can() {
    let fleet = Fleet::local().await;
    let chain = Chain::new(&fleet.database, 2, json!({})).await;
    let batch = chain.hand_out(chain.label, chain.ann).await;
    chain.label_all(batch, chain.ann, "red").await;
    settle(&fleet).await;
    sqlx::query("UPDATE annotators SET role_id = $2 WHERE id = $1")
        .bind(chain.ann)
        .bind(chain.reviewers)
        .execute(&chain.pool)
        .await
        .unwrap();
    assert!(matches!(assign(&chain.queue, chain.review, chain.ann).await, Err(Error::Conflict(_))));
    sqlx::query("UPDATE annotators SET status = 'stopped' WHERE id = $1")
        .bind(chain.reviewer)
        .execute(&chain.pool)
        .await
        .unwrap();
    assign(&chain.queue, chain.review, chain.ann).await.unwrap();
    fleet.tear_down().await;
}

/// Rework waits for its annotator, whatever they had already; when they are gone anyone gets it.
#[tokio::test]
async fn rework_comes_first_and_falls_back_to_anyone() {
    let (fleet, chain, review) = in_review_with_rework(1).await;
    chain.decide(review, 1, "ANNOTATION_CREATED", 1, &reject("no")).await;
    settle(&fleet).await;
    let path = format!("/api/workflows/{}", chain.label);
    chain.api.put(&path, json!({ "maxProjects": 1, "autoAssign": true })).await.expect(200);
    sqlx::query("INSERT INTO tasks (workflow_id, origin, image_key) VALUES ($1, 's3', 'images/new.png')")
        .bind(chain.label)
        .execute(&chain.pool)
        .await
        .unwrap();
    let other = factory::annotator(&chain.pool, chain.labelers).await;
    let mut tx = chain.queue.begin().await.unwrap();
    let next = assign_next(&mut tx, chain.ann, labelfleet::domain::JobRef(1)).await.unwrap();
    let labelfleet::ops::assign::Next::Assigned(assignment) = next else { panic!("{next:?}") };
    let origins: Vec<String> = sqlx::query_scalar(
        "SELECT origin FROM assignment_tasks JOIN tasks ON tasks.id = task_id WHERE assignment_id = $1",
    )
    .bind(assignment)
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(origins, ["rework"], "they had the one batch that maxProjects allows");
    drop(tx);
    chain.api.delete(&format!("/api/annotators/{}", chain.ann)).await.expect(200);
    let taken = chain.hand_out(chain.label, other).await;
    assert_eq!(chain.rejection().await["routedToAssignment"]["id"], taken.0);
    fleet.tear_down().await;
}

#[tokio::test]
async fn what_nobody_got_yet_follows_its_source_and_the_rest_stays() {
    let fleet = Fleet::local().await;
    let chain = Chain::new(&fleet.database, 2, json!({})).await;
    let batch = chain.hand_out(chain.label, chain.ann).await;
    chain.label_all(batch, chain.ann, "red").await;
    settle(&fleet).await;
    let shown = async || -> Vec<(String, i64)> {
        sqlx::query_as(
            "SELECT tasks.status, ls_annotation_id FROM tasks JOIN annotations ON annotations.id = source_annotation_id
             WHERE workflow_id = $1 ORDER BY tasks.id",
        )
        .bind(chain.review)
        .fetch_all(&chain.pool)
        .await
        .unwrap()
    };
    let own = batch.0 * 100;
    assert_eq!(shown().await, [("available".into(), own + 1), ("available".into(), own + 2)]);
    // A second annotation of the first task takes the place of the first.
    let newer = |second: u32| {
        let mut body = event("ANNOTATION_CREATED", batch, 1, second, &json!([factory::choice("green")]));
        body["annotation"]["id"] = json!(second);
        body
    };
    chain.tell(chain.ann, &newer(7)).await.expect(200);
    settle(&fleet).await;
    assert_eq!(shown().await[0], ("available".into(), 7));
    // The second task's answer is taken back.
    chain.tell(chain.ann, &event("ANNOTATIONS_DELETED", batch, 2, 0, &Value::Null)).await.expect(200);
    settle(&fleet).await;
    assert_eq!(shown().await[1].0, "withdrawn");
    chain.hand_out(chain.review, chain.reviewer).await;
    chain.tell(chain.ann, &newer(8)).await.expect(200);
    settle(&fleet).await;
    assert_eq!(shown().await[0], ("assigned".into(), 7));
    // Labeled again, it is there again.
    let mut body = event("ANNOTATION_CREATED", batch, 2, 9, &json!([factory::choice("red")]));
    body["annotation"]["id"] = json!(9);
    chain.tell(chain.ann, &body).await.expect(200);
    settle(&fleet).await;
    assert_eq!(shown().await[1], ("available".into(), 9));
    fleet.tear_down().await;
}

/// A workflow that was paused, or is only now tied to another, gets what was done meanwhile.
#[tokio::test]
async fn a_workflow_makes_good_for_what_it_missed() {
    let fleet = Fleet::local().await;
    let chain = Chain::new(&fleet.database, 2, json!({ "isActive": false })).await;
    let batch = chain.hand_out(chain.label, chain.ann).await;
    chain.label_all(batch, chain.ann, "red").await;
    settle(&fleet).await;
    assert_eq!(chain.tasks(chain.review).await, []);
    let path = format!("/api/workflows/{}", chain.review);
    chain.api.put(&path, json!({ "isActive": true })).await.expect(200);
    settle(&fleet).await;
    assert_eq!(chain.tasks(chain.review).await.len(), 2);
    fleet.tear_down().await;
}
