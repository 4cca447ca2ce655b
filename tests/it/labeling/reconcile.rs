//! Every kind of drift: made, found, named, repaired, and gone for the next run.

use futures::TryStreamExt;
use labelfleet::{
    lock::{Key, Session},
    ops::jobs::{CloseProject, ExportAssignment, ExportFile, InjectGold, PublishAssignment, Reconcile},
    queue::{JobError, JobState, admin},
};
use labelfleet_jobs::label_studio::NewAnnotation;
use serde_json::{Value, json};

use super::review::{in_review_with_rework, settle};
use crate::support::{
    batch::{Batch, answer},
    factory,
    label_studio::Fate,
    review::reject,
};

impl Batch {
    fn first(&self) -> i64 {
        *self.studio.world().annotations.keys().next().unwrap()
    }

    async fn states(&self) -> Vec<String> {
        let states = "SELECT state FROM assignment_tasks WHERE assignment_id = $1 ORDER BY ls_task_id, id";
        sqlx::query_scalar(states).bind(self.id).fetch_all(self.day.pool()).await.unwrap()
    }
}

#[tokio::test]
async fn what_no_webhook_told_is_taken_in() {
    let batch = Batch::in_order().await;
    batch.studio.on_webhook(|_| Fate::Lose);
    let third = batch.create(2).await;
    batch.finds(json!([["missed_create", 1]])).await;
    assert_eq!(batch.day.progress(batch.id).await, ("completed".into(), 3));

    // A batch that is complete is looked at still.
    batch.client().update_annotation(third, &answer("blue")).await.unwrap();
    batch.day.fleet.export(batch.id).await.unwrap();
    assert_eq!(batch.drift().await, [json!(["missed_update", 1])]);
    let held: Value =
        sqlx::query_scalar("SELECT payload -> 'result' FROM annotations WHERE ls_annotation_id = $1")
            .bind(third)
            .fetch_one(batch.day.pool())
            .await
            .unwrap();
    assert_eq!(held, json!([factory::choice("blue")]));
    batch.client().delete_annotation(third).await.unwrap();
    batch.finds(json!([["missed_delete", 1]])).await;
    assert_eq!(batch.states().await, ["done", "done", "open"]);
    let skip = NewAnnotation { result: vec![], was_cancelled: true, lead_time: None };
    batch.client().create_annotation(batch.tasks[2], &skip).await.unwrap();
    batch.finds(json!([["missed_skip", 1]])).await;
    assert_eq!(batch.states().await, ["done", "done", "skipped"]);
}

/// Counts alone don't show it; and only what changed is listed.
#[tokio::test]
async fn an_update_is_found_by_its_time() {
    let batch = Batch::in_order().await;
    let first = batch.first();
    batch.studio.on_webhook(|_| Fate::Lose);
    batch.client().update_annotation(first, &answer("green")).await.unwrap();
    batch.studio.on_webhook(|_| Fate::Deliver);
    // One that was told, later: it does not hide the earlier.
    let second = *batch.studio.world().annotations.keys().nth(1).unwrap();
    batch.client().update_annotation(second, &answer("blue")).await.unwrap();
    batch.finds(json!([["missed_update", 1]])).await;
}

#[tokio::test]
async fn one_deleted_and_one_created_leave_the_counts_as_they_were() {
    let batch = Batch::in_order().await;
    let first = batch.first();
    batch.studio.on_webhook(|_| Fate::Lose);
    batch.client().delete_annotation(first).await.unwrap();
    batch.create(2).await;
    let drift = batch.drift().await;
    assert_eq!(drift, [json!(["missed_create", 1]), json!(["missed_delete", 1])]);
    assert_eq!(batch.states().await, ["open", "done", "done"]);
    assert_eq!(batch.drift().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_look_at_work_that_is_in_order_costs_three_requests() {
    let batch = Batch::in_order().await;
    let before = batch.studio.requests();
    batch.drift().await;
    assert_eq!(batch.studio.requests() - before, 3);
}

#[tokio::test]
async fn a_project_that_is_gone_is_published_again_without_its_answers() {
    let batch = Batch::in_order().await;
    let project = *batch.studio.world().projects.keys().next().unwrap();
    batch.studio.world().remove_project(project);
    batch.finds(json!([["project_missing", 1]])).await;
    batch.day.fleet.run(PublishAssignment { assignment_id: batch.id }).await.unwrap();
    let again: Vec<_> = {
        let world = batch.studio.world();
        assert_eq!(world.projects.len(), 1);
        world.tasks.keys().copied().collect()
    };
    assert_eq!(again.len(), 1, "the open one");
    assert_eq!(batch.day.progress(batch.id).await, ("in_progress".into(), 2), "answers that we have stay");
    assert_eq!(batch.drift().await, Vec::<Value>::new());
    batch.client().create_annotation(again[0], &answer("red")).await.unwrap();
    assert_eq!(batch.day.progress(batch.id).await, ("completed".into(), 3));
    let export = batch.day.fleet.export(batch.id).await.unwrap();
    assert_eq!(export["tasks"], 3, "{export}");
}

#[tokio::test]
async fn tasks_that_are_gone_are_published_again_if_they_are_open() {
    let batch = Batch::in_order().await;
    batch.studio.world().remove_task(batch.tasks[0]);
    batch.studio.world().remove_task(batch.tasks[2]);
    batch.finds(json!([["task_missing", 1]])).await;
    batch.day.fleet.run(PublishAssignment { assignment_id: batch.id }).await.unwrap();
    let tasks: Vec<_> = batch.client().tasks(1, 100).try_concat().await.unwrap();
    assert_eq!(tasks.len(), 2);
    assert_eq!(batch.day.progress(batch.id).await, ("in_progress".into(), 2));
    assert_eq!(batch.drift().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_complete_batch_whose_export_was_lost_is_exported() {
    let batch = Batch::in_order().await;
    batch.create(2).await;
    batch.run_sql("UPDATE jobs SET state = 'discarded', attempt = 1, dispatched_at = NULL, finalized_at = now() WHERE kind = 'export_assignment'")
        .await;
    batch.finds(json!([["export_missing", 1]])).await;
    batch.day.fleet.export(batch.id).await.unwrap();
    assert_eq!(batch.drift().await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_export_of_which_a_file_failed_for_good_begins_again() {
    let batch = Batch::in_order().await;
    batch.create(2).await;
    batch.day.fleet.run(ExportAssignment { assignment_id: batch.id }).await.unwrap();
    batch
        .run_sql(
            "UPDATE jobs SET state = 'discarded', attempt = 1, dispatched_at = NULL, finalized_at = now()
             WHERE kind = 'export_file' AND args ->> 'format' IS NULL",
        )
        .await;
    assert_eq!(batch.drift().await, Vec::<Value>::new(), "the other file is on its way");
    for (id, file) in batch.day.fleet.due::<ExportFile>().await {
        batch.day.fleet.claim(id, 1).await;
        batch.day.fleet.run_claimed(file, id, 1).await.unwrap();
    }
    batch.finds(json!([["export_missing", 1]])).await;
    let export = batch.day.fleet.export(batch.id).await.unwrap();
    assert_eq!(export["tasks"], 3, "{export}");
    assert_eq!(batch.drift().await, Vec::<Value>::new());
}

/// Gold that was mixed in by nobody keeps back no project.
#[tokio::test]
async fn a_project_that_is_gone_is_published_again_whatever_that_waited_for() {
    let batch = Batch::in_order().await;
    let mut tx = batch.day.fleet.deps.queue.begin().await.unwrap();
    let gold = tx.enqueue(&InjectGold { assignment_id: batch.id }).await.unwrap().id;
    let publishing =
        tx.enqueue_after(&[gold], &PublishAssignment { assignment_id: batch.id }).await.unwrap().id;
    tx.commit().await.unwrap();
    admin::cancel(&batch.day.fleet.deps.queue, gold, "an operator").await.unwrap();
    let project = *batch.studio.world().projects.keys().next().unwrap();
    batch.studio.world().remove_project(project);
    batch.finds(json!([["project_missing", 1]])).await;
    let job = admin::get(&batch.day.fleet.deps.queue, publishing).await.unwrap();
    assert_eq!(job.state, JobState::Available);
}

#[tokio::test]
async fn a_rejection_whose_routing_was_lost_is_routed() {
    let (fleet, chain, review) = in_review_with_rework(1).await;
    chain.decide(review, 1, "ANNOTATION_CREATED", 1, &reject("no")).await;
    // Nobody's instance runs here.
    sqlx::query("UPDATE annotators SET status = 'stopped'").execute(&chain.pool).await.unwrap();
    let drift = async || fleet.run(Reconcile {}).await.unwrap()["drift"].take();
    assert_eq!(drift().await, json!([]), "it is on its way");
    sqlx::query(
        "UPDATE jobs SET state = 'discarded', attempt = 1, dispatched_at = NULL, finalized_at = now() WHERE kind = 'route_rejection'",
    )
    .execute(&chain.pool)
    .await
    .unwrap();
    let found =
        json!({ "kind": "rejection_pending", "annotatorId": null, "assignmentId": review, "count": 1 });
    assert_eq!(drift().await, json!([found]));
    assert_eq!(drift().await, json!([]), "a second run finds nothing");
    settle(&fleet).await;
    assert_eq!(chain.rejection().await["status"], "routed");
    assert_eq!(drift().await, json!([]));
    fleet.tear_down().await;
}

#[tokio::test]
async fn reservations_of_batches_that_are_over_or_gone_are_freed() {
    let batch = Batch::in_order().await;
    batch.run_sql("UPDATE assignments SET status = 'failed', status_reason = 'test'").await;
    batch.run_sql("UPDATE tasks SET status = 'assigned' WHERE image_key = (SELECT max(image_key) FROM tasks WHERE status = 'available')")
        .await;
    let drift = batch.drift().await;
    let expected = [
        json!(["reservation_stranded", 1]),
        json!(["reservation_stranded", 1]),
        json!(["project_left_open", 1]),
    ];
    assert_eq!(drift, expected);
    let workflow = batch.day.api.get(&format!("/api/workflows/{}", batch.workflow)).await.expect(200);
    assert_eq!(workflow["totalImagesAvailable"], 4, "all but the two that are done");
    batch.day.fleet.run(CloseProject { assignment_id: batch.id }).await.unwrap();
    assert!(batch.studio.world().projects.is_empty());
    assert_eq!(batch.drift().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_batch_whose_next_step_was_lost_goes_on() {
    let batch = Batch::in_order().await;
    let (other, _) = batch.day.annotator(factory::role(batch.day.pool()).await).await;
    batch.run_sql("UPDATE annotators SET role_id = (SELECT role_id FROM workflows)").await;
    labelfleet::ops::assign::assign(&batch.day.fleet.deps.queue, batch.workflow, other).await.unwrap();
    batch.run_sql("DELETE FROM jobs WHERE kind = 'inject_gold'").await;
    batch.finds(json!([["batch_stuck", 1]])).await;
}

#[tokio::test]
async fn two_at_once_never_double() {
    let batch = Batch::in_order().await;
    let lock = Session::try_acquire(batch.day.pool(), Key::Reconcile).await.unwrap();
    let waits = batch.day.fleet.run(Reconcile {}).await;
    assert!(matches!(waits, Err(JobError::Snooze(_))), "{waits:?}");
    lock.release().await;
    batch.run_sql("DELETE FROM jobs").await;
    // Two that ask at once get the report of one run, or of one after the other: a run is one open job.
    let (url, report) =
        ("/api/reconcile", json!({ "reconciled": 1, "completed": 0, "errors": [], "drift": [] }));
    let worker = async {
        loop {
            let open: i64 = sqlx::query_scalar(
                "WITH done AS (
                     UPDATE jobs SET state = 'completed', attempt = 1, result = $1, finalized_at = now()
                     WHERE kind = 'reconcile' AND finalized_at IS NULL RETURNING id)
                 SELECT count(*) FROM done",
            )
            .bind(sqlx::types::Json(&report))
            .fetch_one(batch.day.pool())
            .await
            .unwrap();
            assert!(open <= 1);
            tokio::task::yield_now().await;
        }
    };
    let asked =
        async { tokio::join!(batch.day.api.post(url, json!({})), batch.day.api.post(url, json!({}))) };
    let (one, other) = tokio::select! {
        answers = asked => answers,
        () = worker => unreachable!("it works for ever"),
    };
    assert_eq!((one.expect(200), other.expect(200)), (report.clone(), report.clone()));
}
