//! Drift of instances and of what tells us of them: made, found, named, repaired, and gone for the next run.

use std::sync::Arc;

use labelfleet::{
    domain::{AnnotatorId, AnnotatorStatus},
    ops::jobs::{ProvisionInstance, Reconcile, RemoveInstance, StopInstance},
};
use serde_json::{Value, json};

use crate::support::{
    batch::{Batch, answer},
    factory,
    label_studio::{Fate, LabelStudio},
    simulation::Simulation,
};

#[tokio::test]
async fn an_instance_that_died_is_started_again() {
    let batch = Batch::in_order().await;
    batch.studio.stop();
    batch.finds(json!([["instance_gone", 1]])).await;
    assert_eq!(batch.day.fleet.status(batch.annotator).await, AnnotatorStatus::Starting);
    assert_eq!(batch.day.fleet.open_jobs::<ProvisionInstance>().await, 1);
}

/// Nobody listens in it. One that answers again, or is only starting, is left alone.
#[tokio::test]
async fn an_instance_that_is_silent_for_minutes_is_started_again() {
    let batch = Batch::in_order().await;
    let (fleet, studio) = (&batch.day.fleet, &batch.studio);
    let minutes_pass =
        || batch.run_sql("UPDATE annotators SET silent_since = silent_since - interval '5 minutes'");
    studio.deafen();
    for _ in 0..2 {
        let report = batch.report().await;
        assert_eq!(report["drift"], json!([]), "{report}");
        assert!(report["errors"][0].as_str().unwrap().contains("did not answer"), "{report}");
    }
    minutes_pass().await;
    studio.restart().await;
    assert_eq!(batch.drift().await, Vec::<Value>::new());
    studio.deafen();
    assert_eq!(batch.report().await["drift"], json!([]), "a new silence begins anew");
    minutes_pass().await;
    batch.finds(json!([["instance_silent", 1]])).await;
    assert!(!studio.is_running());
    assert_eq!(fleet.status(batch.annotator).await, AnnotatorStatus::Starting);
    assert_eq!(fleet.open_jobs::<ProvisionInstance>().await, 1);

    studio.deafen();
    assert_eq!(batch.drift().await, Vec::<Value>::new());
    assert!(studio.is_running(), "it is coming up");
}

#[tokio::test]
async fn an_instance_that_hangs_is_silent_too() {
    let day = Simulation::with([("LABEL_STUDIO_TIMEOUT_SECS".into(), "1".into())]).await;
    let (annotator, studio) = day.annotator(factory::role(day.pool()).await).await;
    sqlx::query("UPDATE annotators SET silent_since = now() - interval '5 minutes'")
        .execute(day.pool())
        .await
        .unwrap();
    studio.hang();
    let report = day.fleet.run(Reconcile {}).await.unwrap();
    assert_eq!(report["drift"][0]["kind"], "instance_silent", "{report}");
    assert_eq!(day.fleet.status(annotator).await, AnnotatorStatus::Starting);
}

#[tokio::test]
async fn a_webhook_that_was_removed_or_changed_is_made_again() {
    let batch = Batch::in_order().await;
    batch.studio.world().webhooks.clear();
    let first = *batch.studio.world().annotations.keys().next().unwrap();
    batch.client().update_annotation(first, &answer("blue")).await.unwrap();
    batch.finds(json!([["webhook_missing", 1], ["missed_update", 1]])).await;
    let changes = [
        ("is_active", json!(false)),
        ("url", json!("http://127.0.0.1:1/")),
        ("headers", json!({})),
        ("actions", json!(["ANNOTATION_CREATED"])),
        ("send_payload", json!(false)),
        ("send_for_all_actions", json!(true)),
    ];
    for (field, value) in changes {
        for webhook in batch.studio.world().webhooks.values_mut() {
            webhook[field] = value.clone();
        }
        batch.finds(json!([["webhook_missing", 1]])).await;
    }
    assert_eq!(batch.studio.world().webhooks.len(), 1);
    batch.create(2).await;
    assert_eq!(batch.day.progress(batch.id).await, ("completed".into(), 3), "it tells again");
}

#[tokio::test]
async fn instances_of_nobody_are_removed_and_those_of_the_stopped_are_stopped() {
    let batch = Batch::in_order().await;
    let nobodys = Arc::new(LabelStudio::start("token").await);
    batch.day.simulator.put(AnnotatorId(4711), nobodys.clone());
    let stopped = batch.day.fleet.annotator(AnnotatorStatus::Stopped).await;
    let unwanted = Arc::new(LabelStudio::start("token").await);
    batch.day.simulator.put(stopped, unwanted.clone());
    batch.finds(json!([["instance_unwanted", 1], ["instance_unowned", 1]])).await;
    assert!(!unwanted.is_running());
    assert_eq!(batch.day.fleet.open_jobs::<RemoveInstance>().await, 1);
}

#[tokio::test]
async fn what_hangs_on_its_way_is_brought_on_or_given_up() {
    let batch = Batch::in_order().await;
    let fleet = &batch.day.fleet;
    fleet.annotator(AnnotatorStatus::Stopping).await;
    let starting = fleet.annotator(AnnotatorStatus::Starting).await;
    batch.finds(json!([["stop_stuck", 1], ["start_stuck", 1]])).await;
    assert_eq!(fleet.open_jobs::<StopInstance>().await, 1);
    assert_eq!(fleet.open_jobs::<ProvisionInstance>().await, 1);
    batch.run_sql("UPDATE annotators SET status_at = now() - interval '2 hours'").await;
    batch.finds(json!([["start_stuck", 1]])).await;
    assert_eq!(fleet.status(starting).await, AnnotatorStatus::Error);
    assert!(fleet.get(starting, "status_reason").await.contains("starting for more than an hour"));
    assert_eq!(fleet.events(starting).await, ["error"]);
}

#[tokio::test]
async fn one_sick_instance_does_not_stop_the_others() {
    let batch = Batch::in_order().await;
    let (sick, studio) = batch.day.annotator(factory::role(batch.day.pool()).await).await;
    batch.run_sql("UPDATE annotators SET role_id = (SELECT role_id FROM workflows)").await;
    batch.day.published(batch.workflow, sick).await;
    studio.refuse(true);
    batch.studio.on_webhook(|_| Fate::Lose);
    batch.create(2).await;
    let report = batch.report().await;
    assert_eq!((&report["reconciled"], &report["completed"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(report["drift"][0]["kind"], "missed_create", "{report}");
    let errors = report["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{report}");
    let error = errors[0].as_str().unwrap();
    assert!(error.contains(&format!("annotator {sick}")) && error.contains("500"), "{error}");
}
