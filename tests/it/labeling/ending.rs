//! Batches that end before their time: cancelled, or reclaimed because nothing happens in them.

use labelfleet::ops::jobs::{AssignBatch, CloseProject, ExportAssignment, ReclaimIdle};
use serde_json::{Value, json};

use crate::support::{batch::Batch, label_studio::Fate};

impl Batch {
    async fn idle_after(&self, hours: Value) {
        self.day.api.put("/api/settings/assignments.idleHours", json!({ "value": hours })).await.expect(200);
    }

    /// As if nothing had happened in the batch for so long.
    async fn quiet_for(&self, hours: i32) {
        sqlx::query("UPDATE assignments SET active_at = now() - make_interval(hours => $2) WHERE id = $1")
            .bind(self.id)
            .bind(hours)
            .execute(self.day.pool())
            .await
            .unwrap();
    }

    async fn shown(&self) -> Value {
        self.day.api.get(&format!("/api/assignments/{}", self.id)).await.expect(200)
    }

    async fn available(&self) -> Value {
        let workflow = self.day.api.get(&format!("/api/workflows/{}", self.workflow)).await.expect(200);
        workflow["totalImagesAvailable"].clone()
    }
}

#[tokio::test]
async fn a_cancelled_batch_is_closed_and_the_next_is_asked_for() {
    let batch = Batch::published(2, 4).await;
    batch.studio.on_webhook(|_| Fate::Lose);
    batch.create(0).await;
    batch.day.api.delete(&format!("/api/assignments/{}", batch.id)).await.expect(200);
    assert_eq!(batch.available().await, 4);
    assert_eq!(batch.day.fleet.open_jobs::<AssignBatch>().await, 1);
    assert_eq!(batch.day.fleet.open_jobs::<CloseProject>().await, 1);
    let close = CloseProject { assignment_id: batch.id };
    for _ in 0..2 {
        batch.day.fleet.run(close).await.unwrap();
        assert!(batch.studio.world().projects.is_empty(), "the project is gone");
        assert!(batch.studio.world().webhooks.is_empty(), "and its webhook");
    }
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM annotations").fetch_one(batch.day.pool()).await.unwrap();
    assert_eq!(kept, 1, "the answer that no webhook told is safe");
    batch.day.api.delete(&format!("/api/assignments/{}", batch.id)).await.expect_error(409);
    batch.day.fleet.run(AssignBatch { annotator_id: batch.annotator }).await.unwrap();
    let list = batch.day.api.get("/api/assignments?status=pending").await.expect(200);
    assert_eq!(list["data"][0]["annotatorId"], batch.annotator.0, "{list}");
}

/// The worker went away between making the project and noting it.
#[tokio::test]
async fn a_project_that_was_never_noted_is_closed_too() {
    let batch = Batch::published(2, 4).await;
    batch
        .run_sql("UPDATE assignments SET status = 'pending', published_at = NULL, ls_project_id = NULL")
        .await;
    batch.day.api.delete(&format!("/api/assignments/{}", batch.id)).await.expect(200);
    batch.day.fleet.run(CloseProject { assignment_id: batch.id }).await.unwrap();
    assert!(batch.studio.world().projects.is_empty());
}

#[tokio::test]
async fn a_batch_that_goes_on_is_not_closed() {
    let batch = Batch::published(2, 4).await;
    batch.day.fleet.run(CloseProject { assignment_id: batch.id }).await.unwrap();
    assert_eq!(batch.studio.world().projects.len(), 1);
}

#[tokio::test]
async fn what_is_done_of_an_idle_batch_is_exported_and_the_rest_goes_back() {
    let batch = Batch::published(2, 4).await;
    batch.create(0).await;
    batch.idle_after(json!(2)).await;
    batch.quiet_for(3).await;
    let report = batch.day.fleet.run(ReclaimIdle {}).await.unwrap();
    assert_eq!(report, json!({ "completed": 1, "cancelled": 0 }));
    let shown = batch.shown().await;
    assert_eq!((&shown["status"], &shown["taskCount"]), (&json!("completed"), &json!(1)), "{shown}");
    assert!(shown["statusReason"].as_str().unwrap().contains("reclaimed"), "{shown}");
    assert_eq!(batch.available().await, 3);

    let export = batch.day.fleet.export(batch.id).await.unwrap();
    assert_eq!(export["tasks"], 1, "{export}");
    batch.day.fleet.run(CloseProject { assignment_id: batch.id }).await.unwrap();
    assert!(batch.studio.world().projects.is_empty());

    // Whoever left work idle gets no more of it by itself, until they are there again.
    let next = AssignBatch { annotator_id: batch.annotator };
    batch.day.fleet.run(next).await.unwrap();
    assert_eq!(batch.available().await, 3);
    batch.run_sql("UPDATE annotators SET status_at = now()").await;
    batch.day.fleet.run(next).await.unwrap();
    assert_eq!(batch.available().await, 1);
}

#[tokio::test]
async fn an_idle_batch_in_which_nothing_was_done_is_cancelled() {
    let batch = Batch::published(2, 4).await;
    batch.idle_after(json!(0.5)).await;
    batch.quiet_for(1).await;
    batch.day.fleet.run(ReclaimIdle {}).await.unwrap();
    let shown = batch.shown().await;
    assert_eq!(shown["status"], "cancelled");
    assert!(shown["statusReason"].as_str().unwrap().contains("reclaimed"), "{shown}");
    assert_eq!(batch.available().await, 4);
    assert_eq!(batch.day.fleet.open_jobs::<ExportAssignment>().await, 0);
    // Its late answer is kept, and changes nothing.
    batch.create(1).await;
    assert_eq!(batch.available().await, 4);
}

#[tokio::test]
async fn nothing_is_reclaimed_before_its_time_or_without_the_setting() {
    let batch = Batch::published(2, 4).await;
    batch.quiet_for(3).await;
    batch.day.fleet.run(ReclaimIdle {}).await.unwrap();
    assert_eq!(batch.shown().await["status"], "in_progress", "without the setting");
    batch.idle_after(json!(4)).await;
    batch.day.fleet.run(ReclaimIdle {}).await.unwrap();
    assert_eq!(batch.shown().await["status"], "in_progress", "before its time");
    batch.idle_after(json!(null)).await;
    batch.quiet_for(10_000).await;
    batch.day.fleet.run(ReclaimIdle {}).await.unwrap();
    assert_eq!(batch.shown().await["status"], "in_progress", "never");
    batch.idle_after(json!(2)).await;
    batch.create(0).await;
    batch.day.fleet.run(ReclaimIdle {}).await.unwrap();
    assert_eq!(batch.shown().await["status"], "in_progress", "an event is a sign of life");
    for bad in [json!(-3), json!("2"), json!(1e9)] {
        let body = json!({ "value": bad });
        let answer = batch.day.api.put("/api/settings/assignments.idleHours", body).await;
        assert_eq!(answer.expect_error(400).1, ["value"]);
    }
}

/// The annotator's answer is being taken in while the batch is reclaimed: the reclaim waits for it, and looks again.
#[tokio::test(flavor = "multi_thread")]
async fn who_answers_at_this_very_moment_keeps_their_batch() {
    let batch = Batch::published(2, 4).await;
    batch.idle_after(json!(2)).await;
    batch.quiet_for(3).await;
    let mut answering = batch.day.pool().begin().await.unwrap();
    sqlx::query("UPDATE assignments SET active_at = now() WHERE id = $1")
        .bind(batch.id)
        .execute(&mut *answering)
        .await
        .unwrap();
    let commit = async {
        crate::support::wait::until("the reclaim waits", std::time::Duration::from_secs(30), || async {
            let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock'";
            sqlx::query_scalar::<_, bool>(waits).fetch_one(batch.day.pool()).await.unwrap().then_some(())
        })
        .await;
        answering.commit().await.unwrap();
    };
    let (report, ()) = tokio::join!(batch.day.fleet.run(ReclaimIdle {}), commit);
    assert_eq!(report.unwrap(), json!({ "completed": 0, "cancelled": 0 }));
    assert_eq!(batch.shown().await["status"], "in_progress");
}
