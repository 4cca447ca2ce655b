//! Gold: how much, which, where, and what its answers are worth.

use std::{collections::BTreeSet, time::Duration};

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

use crate::support::{database::Database, factory, fleet::Fleet, wait};

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

/// Their next batch, with its gold.
async fn batch(fleet: &Fleet, workflow: WorkflowId, annotator: AnnotatorId) -> AssignmentId {
    let assignment_id = assign(&fleet.deps.queue, workflow, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    assignment_id
}

/// A gold task in somebody's Label Studio.
struct Gold {
    fleet: Fleet,
    annotator: AnnotatorId,
    place: AssignmentTaskId,
    task: i64,
}

impl Gold {
    async fn published() -> Self {
        let fleet = Fleet::local().await;
        let (workflow, annotator) = workflow(&fleet, 2).await;
        let assignment = batch(&fleet, workflow, annotator).await;
        factory::publish(&fleet.database.pool, assignment, 5).await;
        let (place, task) = sqlx::query_as(
            "SELECT id, ls_task_id FROM assignment_tasks WHERE gold_task_id IS NOT NULL ORDER BY id LIMIT 1",
        )
        .fetch_one(&fleet.database.pool)
        .await
        .unwrap();
        Self { fleet, annotator, place, task }
    }

    /// Takes an event in and scores what it says: score, and whether it was skipped; none without an answer.
    async fn tell(&self, body: Value) -> Option<(Option<f64>, bool)> {
        let events = from_webhook(&body).unwrap();
        let before = self.fleet.open_jobs::<ScoreGold>().await;
        ingest(&self.fleet.deps.queue, self.annotator, EventSource::Webhook, &events).await.unwrap();
        assert_eq!(self.fleet.open_jobs::<ScoreGold>().await, before + 1, "it is to be scored");
        self.fleet.run(ScoreGold { assignment_task_id: self.place }).await.unwrap();
        sqlx::query_as("SELECT score, skipped FROM gold_results WHERE assignment_task_id = $1")
            .bind(self.place)
            .fetch_optional(&self.fleet.database.pool)
            .await
            .unwrap()
    }

    /// What Label Studio tells of an annotation on it.
    fn event(&self, action: &str, annotation: i64, label: &str, second: i32) -> Value {
        let time = format!("2026-04-06T12:00:{second:02}Z");
        json!({"action": action, "project": {"id": 5}, "task": {"id": self.task, "data": {}},
               "annotation": {"id": annotation, "result": [factory::choice(label)], "updated_at": time}})
    }
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
    let assignment_id = batch(&fleet, workflow, annotator).await;
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
    for count in 1..=4 {
        let batch = batch(&fleet, workflow, annotator).await;
        seen.extend(places(&fleet, batch).await.into_iter().filter_map(|place| place.1));
        assert_eq!(seen.len(), (2 * count).min(6));
    }
    fleet.tear_down().await;
}

/// An operator may give someone several batches; made at once, they draw from the same gold one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn batches_made_at_once_share_no_gold() {
    let fleet = Fleet::local().await;
    let (workflow, annotator) = workflow(&fleet, 6).await;
    let pool = &fleet.database.pool;
    let mut batches = Vec::new();
    for _ in 0..3 {
        batches.push(assign(&fleet.deps.queue, workflow, annotator).await.unwrap());
    }
    let mut before = pool.begin().await.unwrap();
    lock_in(&mut before, Key::AssignTo(annotator.0)).await.unwrap();
    let runs = batches.iter().map(|&assignment_id| fleet.run(InjectGold { assignment_id }));
    let all_wait = async {
        wait::until("all wait for the one before", Duration::from_secs(10), async || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap();
            (waiting == 3).then_some(())
        })
        .await;
        before.commit().await.unwrap();
    };
    let (done, ()) = tokio::join!(futures::future::try_join_all(runs), all_wait);
    done.unwrap();
    let mut seen = BTreeSet::new();
    for batch in batches {
        seen.extend(places(&fleet, batch).await.into_iter().filter_map(|place| place.1));
    }
    assert_eq!(seen.len(), 6, "two each, none twice");
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
    let batch = batch(&fleet, workflow, annotator).await;
    assert_eq!(places(&fleet, batch).await.len(), 11);
    fleet.tear_down().await;
}

#[tokio::test]
async fn the_newest_answer_is_the_one_that_counts() {
    let gold = Gold::published().await;
    let wrong = gold.event("ANNOTATION_CREATED", 1, "blue", 1);
    assert_eq!(gold.tell(wrong).await, Some((Some(0.0), false)));
    let right = gold.event("ANNOTATION_UPDATED", 1, "red", 2);
    assert_eq!(gold.tell(right).await, Some((Some(1.0), false)));
    let (details, job): (Value, Option<i64>) = sqlx::query_as("SELECT details, job_id FROM gold_results")
        .fetch_one(&gold.fleet.database.pool)
        .await
        .unwrap();
    assert_eq!(
        details["controls"]["label"]["matched"],
        json!([{"expected": 0, "given": 0, "similarity": 1.0}])
    );
    assert!(job.is_some());
    let deletion = json!({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}], "project": {"id": 5}});
    assert_eq!(gold.tell(deletion).await, None);
    gold.fleet.tear_down().await;
}

#[tokio::test]
async fn skipped_gold_is_counted_and_not_scored() {
    let gold = Gold::published().await;
    let mut skip = gold.event("ANNOTATION_CREATED", 1, "red", 0);
    skip["annotation"]["was_cancelled"] = json!(true);
    assert_eq!(gold.tell(skip).await, Some((None, true)));
    // Answered after all: it counts as an answer.
    let answer = gold.event("ANNOTATION_CREATED", 2, "red", 0);
    assert_eq!(gold.tell(answer).await, Some((Some(1.0), false)));
    gold.fleet.tear_down().await;
}
