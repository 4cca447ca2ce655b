//! What Label Studio tells, and what follows from it: in any order, any number of times.

use labelfleet::{
    domain::{AnnotatorId, AssignmentId, EventSource, event::from_webhook},
    ops::{
        assign::assign,
        ingest::{Ingested, ingest},
    },
    queue,
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{database::Database, factory};

/// An annotator with a published batch, of three tasks; Label Studio calls them 1001 and so on.
struct Batch {
    database: Database,
    queue: queue::Client,
    annotator: AnnotatorId,
    assignment: AssignmentId,
}

impl Batch {
    async fn published() -> Self {
        Self::of(3).await
    }

    async fn of(tasks: i32) -> Self {
        let database = Database::create().await;
        let pool = &database.pool;
        let workflow = factory::Workflow { batch: tasks, ..factory::Workflow::new(pool).await };
        let id = workflow.create(pool).await;
        factory::tasks(pool, id, tasks).await;
        let annotator = factory::annotator(pool, workflow.role).await;
        let queue = queue::Client::new(pool.clone());
        let assignment = assign(&queue, id, annotator).await.unwrap();
        factory::publish(pool, assignment, 5).await;
        Self { database, queue, annotator, assignment }
    }

    async fn tell(&self, body: &Value) -> Vec<Ingested> {
        let events = from_webhook(body).unwrap();
        ingest(&self.queue, self.annotator, EventSource::Webhook, &events).await.unwrap()
    }

    async fn states(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT state FROM assignment_tasks WHERE assignment_id = $1 ORDER BY position")
            .bind(self.assignment)
            .fetch_all(&self.database.pool)
            .await
            .unwrap()
    }

    async fn progress(&self) -> (String, i32) {
        sqlx::query_as("SELECT status, done_count FROM assignments WHERE id = $1")
            .bind(self.assignment)
            .fetch_one(&self.database.pool)
            .await
            .unwrap()
    }
}

async fn jobs(pool: &PgPool, kind: &str) -> i64 {
    let count = "SELECT count(*) FROM jobs WHERE kind = $1";
    sqlx::query_scalar(count).bind(kind).fetch_one(pool).await.unwrap()
}

fn annotated(action: &str, annotation: i64, task: i64, second: u32) -> Value {
    let time = format!("2026-04-06T12:00:{second:02}.000001Z");
    json!({
        "action": action,
        "annotation": {"id": annotation, "result": [factory::choice("red")], "was_cancelled": false,
            "lead_time": 2.5, "created_at": time, "updated_at": time, "task": task, "project": 5},
        "project": {"id": 5, "title": "Batch"},
        "task": {"id": task, "data": {"image": "http://elsewhere/x.png"}},
    })
}

fn created(annotation: i64, task: i64) -> Value {
    annotated("ANNOTATION_CREATED", annotation, task, 0)
}

fn deleted(annotation: i64) -> Value {
    json!({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": annotation}], "project": {"id": 5}})
}

#[tokio::test]
async fn the_last_task_completes_the_batch_and_calls_for_export_and_more() {
    let batch = Batch::published().await;
    for task in 1001..=1002 {
        assert_eq!(batch.tell(&created(task, task)).await, [Ingested::Recorded]);
    }
    assert_eq!(batch.progress().await, ("in_progress".into(), 2));
    assert_eq!(jobs(&batch.database.pool, "export_assignment").await, 0);
    batch.tell(&created(9, 1003)).await;
    assert_eq!(batch.progress().await, ("completed".into(), 3));
    assert_eq!(jobs(&batch.database.pool, "export_assignment").await, 1);
    assert_eq!(jobs(&batch.database.pool, "assign_batch").await, 1);
    let completed: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks WHERE status = 'completed'")
        .fetch_one(&batch.database.pool)
        .await
        .unwrap();
    assert_eq!(completed, 3);
}

#[tokio::test]
async fn a_duplicate_changes_nothing() {
    let batch = Batch::published().await;
    batch.tell(&created(1, 1001)).await;
    assert_eq!(batch.tell(&created(1, 1001)).await, [Ingested::Duplicate]);
    assert_eq!(batch.progress().await, ("in_progress".into(), 1));
}

/// The annotator's browser sends twice: two annotations stand on one task.
#[tokio::test]
async fn a_second_annotation_of_a_task_counts_once() {
    let batch = Batch::published().await;
    batch.tell(&created(1, 1001)).await;
    batch.tell(&created(2, 1001)).await;
    assert_eq!(batch.progress().await, ("in_progress".into(), 1));
    batch.tell(&deleted(2)).await;
    assert_eq!(batch.states().await[0], "done");
    batch.tell(&deleted(1)).await;
    assert_eq!(batch.states().await[0], "open");
    assert_eq!(batch.progress().await, ("in_progress".into(), 0));
}

#[tokio::test]
async fn a_deletion_that_arrives_first_stays_the_last_word() {
    let batch = Batch::published().await;
    batch.tell(&deleted(1)).await;
    batch.tell(&created(1, 1001)).await;
    assert_eq!(batch.states().await, ["open", "open", "open"]);
}

#[tokio::test]
async fn an_update_that_arrives_before_its_creation_wins() {
    let batch = Batch::published().await;
    let mut update = annotated("ANNOTATION_UPDATED", 1, 1001, 30);
    update["annotation"]["result"] = json!([factory::choice("blue")]);
    batch.tell(&update).await;
    batch.tell(&created(1, 1001)).await;
    let result: Value = sqlx::query_scalar("SELECT payload -> 'result' FROM annotations")
        .fetch_one(&batch.database.pool)
        .await
        .unwrap();
    assert_eq!(result, json!([factory::choice("blue")]));
    assert_eq!(batch.progress().await.1, 1);
}

#[tokio::test]
async fn a_skip_finishes_its_task_until_it_is_labeled() {
    let batch = Batch::published().await;
    let mut skip = created(1, 1001);
    skip["annotation"]["was_cancelled"] = json!(true);
    batch.tell(&skip).await;
    assert_eq!(batch.states().await[0], "skipped");
    batch.tell(&created(2, 1001)).await;
    assert_eq!(batch.states().await[0], "done");
    assert_eq!(batch.progress().await.1, 1);
}

#[tokio::test]
async fn a_task_of_no_assignment_is_kept_as_an_event_only() {
    let batch = Batch::published().await;
    assert_eq!(batch.tell(&created(1, 4711)).await, [Ingested::Unassigned]);
    let events: i64 =
        sqlx::query_scalar("SELECT count(*) FROM annotation_events WHERE assignment_task_id IS NULL")
            .fetch_one(&batch.database.pool)
            .await
            .unwrap();
    assert_eq!(events, 1);
    assert_eq!(batch.progress().await.1, 0);
}

/// Another annotator's ids, or even tokens, open nothing.
#[tokio::test]
async fn an_annotator_reaches_only_their_own_tasks() {
    let batch = Batch::published().await;
    let stranger = factory::annotator(&batch.database.pool, factory::role(&batch.database.pool).await).await;
    let token: uuid::Uuid = sqlx::query_scalar("SELECT token FROM assignment_tasks LIMIT 1")
        .fetch_one(&batch.database.pool)
        .await
        .unwrap();
    let mut body = created(1, 1001);
    body["task"]["data"]["image"] = json!(format!("http://127.0.0.1:3000/i/{token}"));
    let events = from_webhook(&body).unwrap();
    let outcome = ingest(&batch.queue, stranger, EventSource::Webhook, &events).await.unwrap();
    assert_eq!(outcome, [Ingested::Unassigned]);
    assert_eq!(batch.progress().await.1, 0);
}

/// Each transaction sees the others' tasks as open; still one of them must complete the batch.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_at_the_same_moment_complete_the_batch_once() {
    for _ in 0..20 {
        let batch = Batch::published().await;
        let bodies: Vec<Value> = (1001..=1003).map(|task| created(task, task)).collect();
        futures::future::join_all(bodies.iter().map(|body| batch.tell(body))).await;
        assert_eq!(batch.progress().await, ("completed".into(), 3));
        assert_eq!(jobs(&batch.database.pool, "export_assignment").await, 1);
        assert_eq!(jobs(&batch.database.pool, "assign_batch").await, 1);
    }
}

/// A change after the end is exported again.
#[tokio::test]
async fn a_late_update_calls_for_another_export() {
    let batch = Batch::published().await;
    for task in 1001..=1003 {
        batch.tell(&created(task, task)).await;
    }
    let pool = &batch.database.pool;
    sqlx::query("UPDATE jobs SET state = 'completed', finalized_at = now() WHERE kind = 'export_assignment'")
        .execute(pool)
        .await
        .unwrap();
    batch.tell(&annotated("ANNOTATION_UPDATED", 1001, 1001, 40)).await;
    assert_eq!(jobs(pool, "export_assignment").await, 2);
    assert_eq!(jobs(pool, "assign_batch").await, 1);
}

/// A whole project's annotations, created in one body and deleted in one, with some that are not ours and some told
/// twice; one of them is a second answer to a task, which stands.
#[tokio::test]
async fn thousands_in_one_body_are_settled_each() {
    const TASKS: i64 = 2_500;
    let batch = Batch::of(TASKS as i32).await;
    let pool = &batch.database.pool;
    let one = |task: i64| created(task, task);
    let ids = || 1001..1001 + TASKS;
    let body = json!({
        "action": "ANNOTATIONS_CREATED", "project": {"id": 5},
        "annotation": ids().map(|id| one(id)["annotation"].take()).collect::<Vec<_>>(),
        "task": ids().map(|id| one(id)["task"].take()).collect::<Vec<_>>(),
    });
    assert_eq!(batch.tell(&body).await, vec![Ingested::Recorded; TASKS as usize]);
    assert_eq!(batch.progress().await, ("completed".into(), TASKS as i32));
    batch.tell(&created(9, 1002)).await;

    let unknown = 50_001..=50_020;
    let told: Vec<_> = ids().chain(unknown).chain(1001..=1010).map(|id| json!({"id": id})).collect();
    let outcomes = batch
        .tell(&json!({"action": "ANNOTATIONS_DELETED", "annotations": told, "project": {"id": 5}}))
        .await;
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let counts = [Ingested::Recorded, Ingested::Unassigned, Ingested::Duplicate].map(count);
    assert_eq!(counts, [TASKS as usize, 20, 10]);
    assert!(outcomes[TASKS as usize + 20..].iter().all(|outcome| *outcome == Ingested::Duplicate));

    assert_eq!(batch.progress().await, ("in_progress".into(), 1));
    let mut expected = vec!["open"; TASKS as usize];
    expected[1] = "done";
    assert_eq!(batch.states().await, expected);
    let pool_rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT status, count(*) FROM tasks GROUP BY status ORDER BY status")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(pool_rows, [("assigned".into(), TASKS - 1), ("completed".into(), 1)]);
    let standing: Vec<i64> =
        sqlx::query_scalar("SELECT ls_annotation_id FROM annotations WHERE deleted_at IS NULL")
            .fetch_all(pool)
            .await
            .unwrap();
    assert_eq!(standing, [9]);
    let events: i64 =
        sqlx::query_scalar("SELECT sum(events)::bigint FROM event_totals").fetch_one(pool).await.unwrap();
    assert_eq!(events, 2 * TASKS + 21);
}
