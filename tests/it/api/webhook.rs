//! `POST /api/webhook`: whatever a Label Studio sends, in any order, any number of times, at any moment.

use std::{sync::Arc, time::Duration};

use labelfleet::domain::{AnnotatorId, AssignmentId};
use labelfleet_jobs::label_studio::NewAnnotation;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::support::{
    api::Answer,
    factory,
    label_studio::{Fate, LabelStudio},
    simulation::Simulation,
    wait,
};

fn answer(label: &str) -> NewAnnotation {
    NewAnnotation { result: vec![factory::choice(label)], was_cancelled: false, lead_time: Some(2.5) }
}

fn skip() -> NewAnnotation {
    NewAnnotation { result: vec![], was_cancelled: true, lead_time: Some(0.5) }
}

/// An annotator who has a batch of three tasks in a simulated Label Studio.
struct Desk {
    day: Simulation,

    annotator: AnnotatorId,
    assignment: AssignmentId,
    studio: Arc<LabelStudio>,
    /// As Label Studio calls them, by position.
    tasks: Vec<i64>,
}

impl Desk {
    async fn set() -> Self {
        let day = Simulation::start().await;
        let (workflow, role) = day.workflow(3, 3).await;
        let (annotator, studio) = day.annotator(role).await;
        let assignment = day.published(workflow, annotator).await;
        let tasks = places(&day, assignment).await;
        Self { day, annotator, assignment, studio, tasks }
    }

    async fn create(&self, place: usize, annotation: &NewAnnotation) -> i64 {
        let made = self.studio.client().create_annotation(self.tasks[place], annotation).await.unwrap();
        made["id"].as_i64().unwrap()
    }

    async fn states(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT state FROM assignment_tasks WHERE assignment_id = $1 ORDER BY position")
            .bind(self.assignment)
            .fetch_all(self.day.pool())
            .await
            .unwrap()
    }

    /// A body of one's own, with the annotator's secret.
    async fn post(&self, body: impl Into<reqwest::Body>, content_type: &str) -> Answer {
        let api = &self.day.api;
        let request = api
            .request(Method::POST, "/api/webhook")
            .header("X-Annotator-Id", self.annotator.0)
            .header("X-Webhook-Secret", api.webhook_secret(self.annotator.0))
            .header(CONTENT_TYPE, content_type)
            .body(body);
        api.send(request).await
    }
}

async fn places(day: &Simulation, assignment: AssignmentId) -> Vec<i64> {
    sqlx::query_scalar("SELECT ls_task_id FROM assignment_tasks WHERE assignment_id = $1 ORDER BY position")
        .bind(assignment)
        .fetch_all(day.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn every_action_moves_its_task() {
    let desk = Desk::set().await;
    let client = desk.studio.client();
    let first = desk.create(0, &answer("red")).await;
    assert_eq!(desk.states().await, ["done", "open", "open"]);
    let skipped = desk.create(1, &skip()).await;
    assert_eq!(desk.states().await, ["done", "skipped", "open"]);
    assert_eq!(desk.day.progress(desk.assignment).await, ("in_progress".into(), 2));
    // Back to the skipped one, which is answered after all.
    client.update_annotation(skipped, &answer("blue")).await.unwrap();
    assert_eq!(desk.states().await, ["done", "done", "open"]);
    client.update_annotation(first, &answer("green")).await.unwrap();
    let held: Value =
        sqlx::query_scalar("SELECT payload -> 'result' FROM annotations WHERE ls_annotation_id = $1")
            .bind(first)
            .fetch_one(desk.day.pool())
            .await
            .unwrap();
    assert_eq!(held, json!([factory::choice("green")]));
    client.delete_annotation(first).await.unwrap();
    assert_eq!(desk.states().await, ["open", "done", "open"]);
    assert_eq!(desk.day.progress(desk.assignment).await, ("in_progress".into(), 1));
    desk.create(0, &answer("red")).await;
    desk.create(2, &answer("red")).await;
    assert_eq!(desk.day.progress(desk.assignment).await, ("completed".into(), 3));
    assert_eq!(desk.studio.not_delivered(), 0);
}

#[tokio::test]
async fn a_delivery_that_is_doubled_counts_once_and_one_that_is_lost_not_at_all() {
    let desk = Desk::set().await;
    desk.studio.on_webhook(|_| Fate::Double);
    desk.create(0, &answer("red")).await;
    desk.studio.on_webhook(|_| Fate::Lose);
    desk.create(1, &answer("red")).await;
    assert_eq!(desk.states().await, ["done", "open", "open"]);
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM annotation_events")
        .fetch_one(desk.day.pool())
        .await
        .unwrap();
    assert_eq!(events, 1);
}

#[tokio::test]
async fn several_creations_in_one_body_are_all_taken_in() {
    let desk = Desk::set().await;
    desk.studio.on_webhook(|_| Fate::Hold);
    for place in 0..3 {
        desk.create(place, &answer("red")).await;
    }
    let mut bodies = Vec::new();
    desk.studio.release(|held| bodies = held.drain(..).map(|delivery| delivery.body).collect()).await;
    let all = |key: &str| bodies.iter().map(|body| body[key].clone()).collect::<Vec<_>>();
    let body = json!({ "action": "ANNOTATIONS_CREATED", "annotation": all("annotation"), "task": all("task"),
        "project": bodies[0]["project"] });
    assert_eq!(desk.post(body.to_string(), "application/json").await.expect(200), json!({ "ok": true }));
    assert_eq!(desk.day.progress(desk.assignment).await, ("completed".into(), 3));
}

#[tokio::test]
async fn an_answer_taken_back_opens_a_completed_batch_again() {
    let desk = Desk::set().await;
    let mut made = Vec::new();
    for place in 0..3 {
        made.push(desk.create(place, &answer("red")).await);
    }
    desk.studio.client().delete_annotation(made[1]).await.unwrap();
    assert_eq!(desk.day.progress(desk.assignment).await, ("in_progress".into(), 2));
    let task: String = sqlx::query_scalar(
        "SELECT status FROM tasks JOIN assignment_tasks ON task_id = tasks.id WHERE position = 1",
    )
    .fetch_one(desk.day.pool())
    .await
    .unwrap();
    assert_eq!(task, "assigned");
    desk.create(1, &answer("blue")).await;
    assert_eq!(desk.day.progress(desk.assignment).await, ("completed".into(), 3));
}

#[tokio::test]
async fn what_is_no_event_is_refused_by_what_is_wrong_with_it() {
    let desk = Desk::set().await;
    let json = "application/json";
    for body in ["", "{", "ANNOTATION_CREATED", "{\"action\":\"ANNOTATION_CREATED\"} x", "\u{feff}{}"] {
        desk.post(body, json).await.expect_error(400);
    }
    let named = [
        (json!({}), "action"),
        (json!([]), "action"),
        (json!({ "action": "ANNOTATION_CREATED" }), "annotation"),
        (json!({ "action": "ANNOTATION_CREATED", "annotation": 3 }), "annotation.id"),
        (json!({ "action": "ANNOTATION_CREATED", "annotation": { "id": 1 } }), "annotation.updated_at"),
        (json!({ "action": "ANNOTATIONS_DELETED", "annotations": [{}] }), "annotation.id"),
    ];
    for (body, field) in named {
        let (_, fields) = desk.post(body.to_string(), json).await.expect_error(400);
        assert_eq!(fields, [field], "{body}");
    }
    let fine = json!({ "action": "PROJECT_UPDATED" }).to_string();
    for other in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let (message, _) = desk.post(fine.clone(), other).await.expect_error(400);
        assert!(message.contains("application/json"), "{message}");
    }
    desk.post(fine, "application/json; charset=utf-8").await.expect(200);
    let huge = vec![b' '; labelfleet::http::WEBHOOK_BODY_LIMIT + 1];
    desk.post(huge, json).await.expect_error(413);
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM annotation_events")
        .fetch_one(desk.day.pool())
        .await
        .unwrap();
    assert_eq!(events, 0);
}

#[tokio::test]
async fn a_task_of_no_assignment_is_kept_counted_and_visible() {
    let desk = Desk::set().await;
    // A task that the annotator, who administers their Label Studio, put into the project.
    let task = {
        let mut world = desk.studio.world();
        let (id, mut task) = (world.id("task"), world.tasks[&desk.tasks[0]].clone());
        task.data = json!({ "image": "http://elsewhere/own.png" });
        world.tasks.insert(id, task);
        id
    };
    let unassigned = async || {
        let text = desk.day.api.get("/metrics").await.expect(200);
        let line = r#"annotation_events_total{source="webhook",outcome="unassigned"} "#;
        let text = text.as_str().unwrap().lines().find_map(|one| one.strip_prefix(line).map(str::to_owned));
        text.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let before = unassigned().await;
    desk.studio.client().create_annotation(task, &answer("red")).await.unwrap();
    assert_eq!(desk.studio.not_delivered(), 0, "it is answered with 200");
    assert!(unassigned().await > before);
    let (seen, place): (i64, Option<i64>) =
        sqlx::query_as("SELECT ls_task_id, assignment_task_id FROM annotation_events")
            .fetch_one(desk.day.pool())
            .await
            .unwrap();
    assert_eq!((seen, place), (task, None));
    assert_eq!(desk.day.progress(desk.assignment).await, ("in_progress".into(), 0));
}

#[tokio::test]
async fn what_comes_after_a_cancellation_is_kept_and_gives_nothing_back_twice() {
    let desk = Desk::set().await;
    let first = desk.create(0, &answer("red")).await;
    desk.day.api.delete(&format!("/api/assignments/{}", desk.assignment)).await.expect(200);
    assert_eq!(desk.states().await, ["done", "released", "released"]);
    // The annotator has the project open still.
    desk.create(1, &answer("red")).await;
    assert_eq!(desk.states().await, ["done", "released", "released"]);
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM annotations").fetch_one(desk.day.pool()).await.unwrap();
    assert_eq!(kept, 2);
    desk.studio.client().delete_annotation(first).await.unwrap();
    assert_eq!(desk.states().await, ["released", "released", "released"]);
    let free: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks WHERE status = 'available'")
        .fetch_one(desk.day.pool())
        .await
        .unwrap();
    assert_eq!(free, 3);
    assert_eq!(desk.day.progress(desk.assignment).await, ("cancelled".into(), 0));
}

#[tokio::test]
async fn a_deleted_annotators_instance_is_not_heard() {
    let desk = Desk::set().await;
    desk.day.api.delete(&format!("/api/annotators/{}", desk.annotator)).await.expect(200);
    desk.create(0, &answer("red")).await;
    assert_eq!(desk.studio.not_delivered(), 1);
    let body = json!({ "action": "PROJECT_UPDATED" }).to_string();
    desk.post(body, "application/json").await.expect_error(401);
}

/// The deletion arrives while its creation is taken in and not committed: it waits, and is the last word.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_the_creation_that_is_under_way() {
    let desk = Desk::set().await;
    desk.studio.on_webhook(|_| Fate::Hold);
    let made = desk.create(0, &answer("red")).await;
    desk.studio.client().delete_annotation(made).await.unwrap();
    let mut bodies = Vec::new();
    desk.studio
        .release(|held| bodies = held.drain(..).map(|delivery| delivery.body.to_string()).collect())
        .await;

    let mut in_the_way = desk.day.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM assignments WHERE id = $1 FOR UPDATE")
        .bind(desk.assignment)
        .execute(&mut *in_the_way)
        .await
        .unwrap();
    let waiting = async |count: i64| {
        wait::until("requests wait", Duration::from_secs(30), || async {
            let waits = "SELECT count(*) FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let found: i64 = sqlx::query_scalar(waits).fetch_one(desk.day.pool()).await.unwrap();
            let events = "SELECT count(*) FROM annotation_events";
            let taken: i64 = sqlx::query_scalar(events).fetch_one(desk.day.pool()).await.unwrap();
            (found + taken >= count).then_some(())
        })
        .await;
    };
    let deletion = bodies.pop().unwrap();
    let creation = bodies.pop().unwrap();
    let created = desk.post(creation, "application/json");
    let deleted = async {
        waiting(1).await;
        let deleted = desk.post(deletion, "application/json");
        let go_on = async {
            waiting(2).await;
            in_the_way.rollback().await.unwrap();
        };
        tokio::join!(deleted, go_on).0
    };
    let (created, deleted) = tokio::join!(created, deleted);
    created.expect(200);
    deleted.expect(200);
    assert_eq!(desk.states().await, ["open", "open", "open"]);
    assert_eq!(desk.day.progress(desk.assignment).await, ("in_progress".into(), 0));
}

/// All that follows from a batch's events, times of our own left out.
async fn outcome(day: &Simulation, assignment: AssignmentId) -> Value {
    let query = "
        SELECT jsonb_build_object(
            'batch', (SELECT jsonb_build_array(status, done_count, completed_at IS NULL)
                      FROM assignments WHERE id = $1),
            'places', (SELECT jsonb_agg(jsonb_build_array(state, lead_time_ms, done_at, tasks.status)
                                        ORDER BY position)
                       FROM assignment_tasks JOIN tasks ON tasks.id = task_id WHERE assignment_id = $1),
            'annotations', (SELECT jsonb_agg(jsonb_build_array(ls_annotation_id, was_cancelled, payload,
                                             ls_updated_at, deleted_at IS NULL, position) ORDER BY ls_annotation_id)
                            FROM annotations JOIN assignment_tasks ON assignment_tasks.id = assignment_task_id
                            WHERE assignment_id = $1))";
    sqlx::query_scalar(query).bind(assignment).fetch_one(day.pool()).await.unwrap()
}

/// Undoes all that followed, so that the same events can be told again.
async fn forget(day: &Simulation, assignment: AssignmentId) {
    for statement in [
        "DELETE FROM annotations WHERE assignment_task_id IN
             (SELECT id FROM assignment_tasks WHERE assignment_id = $1)",
        "DELETE FROM annotation_events WHERE annotator_id = (SELECT annotator_id FROM assignments WHERE id = $1)",
        "UPDATE tasks SET status = 'assigned' WHERE id IN
             (SELECT task_id FROM assignment_tasks WHERE assignment_id = $1)",
        "UPDATE assignment_tasks SET state = 'open', lead_time_ms = NULL, done_at = NULL WHERE assignment_id = $1",
        "UPDATE assignments SET status = 'in_progress', done_count = 0, completed_at = NULL WHERE id = $1",
    ] {
        sqlx::query(statement).bind(assignment).execute(day.pool()).await.unwrap();
    }
}

/// What an annotator may do to three tasks in a day, at random; each webhook of it, in order.
async fn history(desk: &Desk, random: &mut StdRng) -> Vec<Value> {
    let client = desk.studio.client();
    let mut standing: Vec<i64> = Vec::new();
    desk.studio.on_webhook(|_| Fate::Hold);
    for step in 0..random.random_range(3..12) {
        let mut given = if random.random_bool(0.25) { skip() } else { answer("red") };
        given.lead_time = Some(f64::from(step));
        match (random.random_range(0..10), standing.is_empty()) {
            (0..5, _) | (_, true) => standing.push(desk.create(random.random_range(0..3), &given).await),
            (5..8, _) => {
                let one = standing[random.random_range(0..standing.len())];
                client.update_annotation(one, &given).await.unwrap();
            }
            _ => {
                let one = standing.swap_remove(random.random_range(0..standing.len()));
                client.delete_annotation(one).await.unwrap();
            }
        }
    }
    let mut bodies = Vec::new();
    desk.studio.release(|held| bodies = held.drain(..).map(|delivery| delivery.body).collect()).await;
    bodies
}

/// Whatever the order, and however often each is told, it comes to what the order in which it happened comes to;
/// told all at once, too.
#[tokio::test(flavor = "multi_thread")]
async fn any_order_with_any_repetition_comes_to_the_same() {
    let desk = Desk::set().await;
    for seed in 0..25 {
        let mut random = StdRng::seed_from_u64(seed);
        let told = history(&desk, &mut random).await;
        forget(&desk.day, desk.assignment).await;
        for body in &told {
            desk.post(body.to_string(), "application/json").await.expect(200);
        }
        let expected = outcome(&desk.day, desk.assignment).await;
        for at_once in [false, true] {
            forget(&desk.day, desk.assignment).await;
            let mut again = told.clone();
            again.extend(told.iter().filter(|_| random.random_bool(0.3)).cloned());
            again.shuffle(&mut random);
            let sent = again.iter().map(|body| desk.post(body.to_string(), "application/json"));
            if at_once {
                futures::future::join_all(sent).await.into_iter().for_each(|answer| drop(answer.expect(200)));
            } else {
                for answer in sent {
                    answer.await.expect(200);
                }
            }
            let order: Vec<_> =
                again.iter().map(|body| (&body["action"], &body["annotation"]["id"])).collect();
            let came_to = outcome(&desk.day, desk.assignment).await;
            assert_eq!(came_to, expected, "seed {seed}, at once: {at_once}, {order:?}");
        }
    }
}
