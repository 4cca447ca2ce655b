//! Gold: how much, which, where, and what its answers are worth.

use std::collections::BTreeSet;

use labelfleet::{
    domain::{AnnotatorId, AssignmentId, AssignmentTaskId, EventSource, WorkflowId, event::from_webhook},
    lock::{Key, lock_in},
    ops::{
        assign::assign,
        ingest::ingest,
        jobs::{InjectGold, PublishAssignment, ScoreGold},
    },
    store,
};
use serde_json::{Value, json};

use crate::support::{database::Database, factory, fleet::Fleet};

/// A workflow of batches of ten with two gold tasks each, and someone to do them.
async fn workflow(fleet: &Fleet, gold: usize) -> (WorkflowId, AnnotatorId) {
    let pool = &fleet.database.pool;
    let workflow = factory::Workflow { gold_rate: 0.2, ..factory::Workflow::new(pool).await };
    for _ in 0..gold {
        factory::gold(pool, workflow.config, "red").await;
    }
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, 100).await;
    (id, factory::annotator(pool, workflow.role).await)
}

async fn places(fleet: &Fleet, assignment: AssignmentId) -> Vec<(i32, Option<i64>)> {
    sqlx::query_as(
        "SELECT position, gold_task_id FROM assignment_tasks WHERE assignment_id = $1 ORDER BY position",
    )
    .bind(assignment)
    .fetch_all(&fleet.database.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn gold_is_mixed_in_once_however_often_the_job_runs() {
    let fleet = Fleet::local().await;
    let (workflow, annotator) = workflow(&fleet, 5).await;
    let assignment_id = assign(&fleet.deps.queue, workflow, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    let first = places(&fleet, assignment_id).await;
    assert_eq!(first.iter().map(|place| place.0).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    assert_eq!(first.iter().filter(|place| place.1.is_some()).count(), 2);
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    assert_eq!(places(&fleet, assignment_id).await, first);
    assert_eq!(fleet.open_jobs::<PublishAssignment>().await, 1);
    fleet.tear_down().await;
}

#[tokio::test]
async fn gold_repeats_only_when_all_was_seen() {
    let fleet = Fleet::local().await;
    let (workflow, annotator) = workflow(&fleet, 6).await;
    let mut seen = BTreeSet::new();
    for batch in 1..=4 {
        let assignment_id = assign(&fleet.deps.queue, workflow, annotator).await.unwrap();
        fleet.run(InjectGold { assignment_id }).await.unwrap();
        seen.extend(places(&fleet, assignment_id).await.into_iter().filter_map(|place| place.1));
        assert_eq!(seen.len(), (2 * batch).min(6));
    }
    fleet.tear_down().await;
}

/// An operator may give someone several batches; made at once, they draw from the same gold.
#[tokio::test(flavor = "multi_thread")]
async fn batches_made_at_once_share_no_gold() {
    let fleet = Fleet::local().await;
    let (workflow, annotator) = workflow(&fleet, 12).await;
    let mut batches = Vec::new();
    for _ in 0..6 {
        batches.push(assign(&fleet.deps.queue, workflow, annotator).await.unwrap());
    }
    let runs = batches.iter().map(|&assignment_id| fleet.run(InjectGold { assignment_id }));
    futures::future::try_join_all(runs).await.unwrap();
    let mut seen = BTreeSet::new();
    for batch in batches {
        seen.extend(places(&fleet, batch).await.into_iter().filter_map(|place| place.1));
    }
    assert_eq!(seen.len(), 12, "two each, none twice");
    fleet.tear_down().await;
}

#[tokio::test]
async fn chance_decides_among_gold_met_as_often() {
    let database = Database::create().await;
    let pool = &database.pool;
    let new = factory::Workflow::new(pool).await;
    for _ in 0..20 {
        factory::gold(pool, new.config, "red").await;
    }
    // Made for another interface.
    let other = factory::labeling_config(pool).await;
    let foreign = factory::gold(pool, other, "red").await;
    let annotator = factory::annotator(pool, new.role).await;
    let mut tx = pool.begin().await.unwrap();
    let lock = lock_in(&mut tx, Key::AssignTo(annotator.0)).await.unwrap();
    let mut drawn = BTreeSet::new();
    for seed in 0..20 {
        let gold = store::gold::draw(&mut tx, &lock, new.config, annotator, 5, seed).await.unwrap();
        assert_eq!(gold.iter().collect::<BTreeSet<_>>().len(), 5);
        assert!(!gold.contains(&foreign));
        assert_eq!(gold, store::gold::draw(&mut tx, &lock, new.config, annotator, 5, seed).await.unwrap());
        drawn.insert(gold);
    }
    assert_eq!(drawn.len(), 20, "each seed draws otherwise");
}

#[tokio::test]
async fn a_batch_without_gold_to_draw_from_goes_on() {
    let fleet = Fleet::local().await;
    let (workflow, annotator) = workflow(&fleet, 1).await;
    let assignment_id = assign(&fleet.deps.queue, workflow, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    assert_eq!(places(&fleet, assignment_id).await.len(), 11);
    fleet.tear_down().await;
}

#[tokio::test]
async fn the_newest_answer_is_the_one_that_counts() {
    let fleet = Fleet::local().await;
    let pool = &fleet.database.pool;
    let (workflow, annotator) = workflow(&fleet, 2).await;
    let assignment_id = assign(&fleet.deps.queue, workflow, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    factory::publish(pool, assignment_id, 5).await;
    let (place, task): (AssignmentTaskId, i64) = sqlx::query_as(
        "SELECT id, ls_task_id FROM assignment_tasks WHERE gold_task_id IS NOT NULL ORDER BY id LIMIT 1",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    let answer = |action: &str, label: &str, second: i32| {
        let time = format!("2026-04-06T12:00:{second:02}Z");
        json!({"action": action, "project": {"id": 5}, "task": {"id": task, "data": {}},
               "annotation": {"id": 1, "result": [factory::choice(label)], "updated_at": time}})
    };
    let tell = async |body: Value| {
        let events = from_webhook(&body).unwrap();
        ingest(&fleet.deps.queue, annotator, EventSource::Webhook, &events).await.unwrap();
        fleet.run(ScoreGold { assignment_task_id: place }).await.unwrap();
        let score = sqlx::query_scalar("SELECT score FROM gold_results WHERE assignment_task_id = $1");
        score.bind(place).fetch_optional(pool).await.unwrap()
    };
    assert_eq!(tell(answer("ANNOTATION_CREATED", "blue", 1)).await, Some(0.0));
    assert_eq!(tell(answer("ANNOTATION_UPDATED", "red", 2)).await, Some(1.0));
    let (details, job): (Value, Option<i64>) =
        sqlx::query_as("SELECT details, job_id FROM gold_results").fetch_one(pool).await.unwrap();
    assert_eq!(
        details["controls"]["label"]["matched"],
        json!([{"expected": 0, "given": 0, "similarity": 1.0}])
    );
    assert!(job.is_some());
    let deletion = json!({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}], "project": {"id": 5}});
    assert_eq!(tell(deletion).await, None::<f64>);
    fleet.tear_down().await;
}

#[tokio::test]
async fn skipped_gold_is_counted_and_not_scored() {
    let fleet = Fleet::local().await;
    let pool = &fleet.database.pool;
    let (workflow, annotator) = workflow(&fleet, 2).await;
    let assignment_id = assign(&fleet.deps.queue, workflow, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    factory::publish(pool, assignment_id, 5).await;
    let (place, task): (AssignmentTaskId, i64) = sqlx::query_as(
        "SELECT id, ls_task_id FROM assignment_tasks WHERE gold_task_id IS NOT NULL ORDER BY id LIMIT 1",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    let tell = async |annotation: i64, skipped: bool| {
        let body = json!({"action": "ANNOTATION_CREATED", "project": {"id": 5}, "task": {"id": task, "data": {}},
                          "annotation": {"id": annotation, "result": [factory::choice("red")],
                                         "was_cancelled": skipped, "updated_at": "2026-04-06T12:00:00Z"}});
        let events = from_webhook(&body).unwrap();
        ingest(&fleet.deps.queue, annotator, EventSource::Webhook, &events).await.unwrap();
        assert_eq!(fleet.open_jobs::<ScoreGold>().await, annotation);
        fleet.run(ScoreGold { assignment_task_id: place }).await.unwrap();
        let row: (Option<f64>, bool) =
            sqlx::query_as("SELECT score, skipped FROM gold_results").fetch_one(pool).await.unwrap();
        row
    };
    assert_eq!(tell(1, true).await, (None, true));
    // Answered after all: it counts as an answer.
    assert_eq!(tell(2, false).await, (Some(1.0), false));
    fleet.tear_down().await;
}
