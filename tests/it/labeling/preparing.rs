//! From a reservation into Label Studio: gold, then publishing, a chain that an operator sees whole from its start, and
//! that goes on whatever becomes of its jobs.

use std::{sync::Arc, time::Duration};

use labelfleet::{
    domain::{AnnotatorId, AssignmentId, WorkflowId},
    ops::jobs::{InjectGold, PublishAssignment, Reconcile},
    queue::{JobArgs, JobId, admin},
};
use serde_json::{Value, json};

use crate::support::{label_studio::LabelStudio, simulation::Simulation, wait};

const PATIENCE: Duration = Duration::from_secs(30);

/// A batch that was assigned just now. No worker runs.
struct Reserved {
    day: Simulation,
    workflow: WorkflowId,
    annotator: AnnotatorId,
    id: AssignmentId,
    studio: Arc<LabelStudio>,
}

impl Reserved {
    async fn new() -> Self {
        let day = Simulation::start().await;
        let (workflow, role) = day.workflow(3, 6).await;
        let (annotator, studio) = day.annotator(role).await;
        let path = format!("/api/workflows/{workflow}/assign");
        let made = day.api.post(&path, json!({ "annotatorId": annotator })).await.expect(200);
        let id = AssignmentId(made["assignment"]["id"].as_i64().unwrap());
        Self { day, workflow, annotator, id, studio }
    }

    /// The newest job of the kind, as operators see it.
    async fn newest<J: JobArgs>(&self) -> Value {
        let jobs = self.day.api.get(&format!("/api/jobs?kind={}", J::KIND)).await.expect(200);
        jobs["data"][0].clone()
    }

    /// State of the newest job for gold, and of that for publishing.
    async fn states(&self) -> [String; 2] {
        [self.newest::<InjectGold>().await, self.newest::<PublishAssignment>().await]
            .map(|job| job["state"].as_str().unwrap_or_default().to_owned())
    }

    async fn id_of<J: JobArgs>(&self) -> JobId {
        JobId(self.newest::<J>().await["id"].as_i64().unwrap())
    }

    /// For which job the publishing waits.
    async fn waits_for(&self) -> Vec<i64> {
        sqlx::query_scalar("SELECT on_job FROM job_waits WHERE job_id = $1 ORDER BY on_job")
            .bind(self.id_of::<PublishAssignment>().await)
            .fetch_all(self.day.pool())
            .await
            .unwrap()
    }

    async fn run_sql(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(self.day.pool()).await.unwrap();
    }

    async fn drift(&self) -> Value {
        let report = self.day.fleet.run(Reconcile {}).await.unwrap();
        assert_eq!(report["errors"], json!([]), "{report}");
        let kinds = report["drift"].as_array().unwrap().iter().map(|drift| drift["kind"].clone());
        kinds.collect()
    }

    /// A worker brings the batch into Label Studio, once.
    async fn gets_published(&self) {
        let worker = self.day.fleet.worker().await;
        wait::until("it is in Label Studio", PATIENCE, async || {
            (self.day.progress(self.id).await.0 == "in_progress").then_some(())
        })
        .await;
        worker.drain().await;
        assert_eq!(self.studio.world().projects.len(), 1);
        assert_eq!(self.studio.world().tasks.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_waits_for_gold_and_a_dead_injection_holds_it_until_it_is_retried() {
    let batch = Reserved::new().await;
    assert_eq!(batch.states().await, ["available", "scheduled"], "both are there from the start");
    let gold = batch.id_of::<InjectGold>().await;
    assert_eq!(batch.waits_for().await, [gold.0]);
    batch
        .run_sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no gold today'; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE OF gold_at ON assignments FOR EACH ROW EXECUTE FUNCTION refuse();
             UPDATE jobs SET max_attempts = 1 WHERE kind = 'inject_gold'",
        )
        .await;
    let worker = batch.day.fleet.worker().await;
    wait::until("the injection is dead", PATIENCE, async || {
        (batch.states().await[0] == "discarded").then_some(())
    })
    .await;
    assert_eq!(batch.states().await[1], "scheduled");
    assert_eq!(batch.newest::<PublishAssignment>().await["attempt"], 0);
    assert!(batch.studio.world().projects.is_empty());

    batch.run_sql("DROP TRIGGER refuse ON assignments").await;
    batch.day.api.post(&format!("/api/jobs/{gold}/retry"), Value::Null).await.expect(200);
    wait::until("both are done", PATIENCE, async || {
        (batch.states().await == ["completed", "completed"]).then_some(())
    })
    .await;
    worker.drain().await;
    assert_eq!(batch.day.progress(batch.id).await.0, "in_progress");
    assert_eq!(batch.studio.world().projects.len(), 1);
    let (gold_by, published_by): (i64, i64) =
        sqlx::query_as("SELECT gold_by_job, published_by_job FROM assignments")
            .fetch_one(batch.day.pool())
            .await
            .unwrap();
    assert_eq!((gold_by, published_by), (gold.0, batch.id_of::<PublishAssignment>().await.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_publishing_was_cancelled_is_mended() {
    let batch = Reserved::new().await;
    let publishing = batch.id_of::<PublishAssignment>().await;
    assert_eq!(batch.drift().await, json!([]));
    admin::cancel(&batch.day.fleet.deps.queue, publishing, "an operator").await.unwrap();
    assert_eq!(batch.drift().await, json!(["batch_stuck"]));
    assert_eq!(batch.drift().await, json!([]), "a second run finds nothing");
    assert_eq!(batch.states().await, ["available", "scheduled"]);
    assert_eq!(batch.waits_for().await, [batch.id_of::<InjectGold>().await.0]);
    batch.gets_published().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_injection_was_cancelled_is_mended() {
    let batch = Reserved::new().await;
    let (gold, publishing) = (batch.id_of::<InjectGold>().await, batch.id_of::<PublishAssignment>().await);
    admin::cancel(&batch.day.fleet.deps.queue, gold, "an operator").await.unwrap();
    assert_eq!(batch.drift().await, json!(["batch_stuck"]));
    assert_eq!(batch.drift().await, json!([]), "a second run finds nothing");
    let again = batch.id_of::<InjectGold>().await;
    assert_ne!(again, gold);
    assert_eq!(batch.id_of::<PublishAssignment>().await, publishing);
    assert_eq!(batch.waits_for().await, [again.0], "what waited for the lost one waits for the new one");
    batch.gets_published().await;
}

/// And with gold in it, the batch is not mixed again.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_jobs_are_gone_is_mended() {
    let batch = Reserved::new().await;
    batch.day.fleet.run(InjectGold { assignment_id: batch.id }).await.unwrap();
    batch.run_sql("DELETE FROM jobs").await;
    assert_eq!(batch.drift().await, json!(["batch_stuck"]));
    assert_eq!(batch.drift().await, json!([]));
    assert_eq!(batch.day.fleet.open_jobs::<InjectGold>().await, 0);
    assert_eq!(batch.states().await[1], "available");
    batch.gets_published().await;
}

/// Who waits for gold of a job that was lost, once another has mixed it in.
#[tokio::test(flavor = "multi_thread")]
async fn publishing_that_waits_in_vain_is_started_once_the_gold_is_there() {
    let batch = Reserved::new().await;
    admin::cancel(&batch.day.fleet.deps.queue, batch.id_of::<InjectGold>().await, "an operator")
        .await
        .unwrap();
    batch.day.fleet.run(InjectGold { assignment_id: batch.id }).await.unwrap();
    assert_eq!(batch.states().await, ["completed", "scheduled"]);
    assert_eq!(batch.drift().await, json!(["batch_stuck"]));
    assert_eq!(batch.states().await[1], "available");
    batch.gets_published().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_that_an_operator_starts_too_early_waits_again() {
    let batch = Reserved::new().await;
    let outcome = batch.day.fleet.run(PublishAssignment { assignment_id: batch.id }).await.unwrap();
    assert_eq!(outcome, json!("has no gold yet: waits for it"));
    assert_eq!(batch.states().await, ["available", "scheduled"]);
    assert_eq!(batch.waits_for().await, [batch.id_of::<InjectGold>().await.0]);
    batch.gets_published().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotator_who_was_stopped_gets_their_batch_when_they_are_started() {
    let batch = Reserved::new().await;
    batch.run_sql("UPDATE annotators SET status = 'stopped'").await;
    let worker = batch.day.fleet.worker().await;
    wait::until("the chain has come to its end", PATIENCE, async || {
        (batch.states().await == ["completed", "completed"]).then_some(())
    })
    .await;
    assert_eq!(batch.day.progress(batch.id).await.0, "pending");
    worker.drain().await;
    batch.run_sql("UPDATE annotators SET status = 'active'").await;
    let mut tx = batch.day.fleet.deps.queue.begin().await.unwrap();
    let resumed = labelfleet::ops::assign::resume_pending(&mut tx, batch.annotator).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(resumed, [batch.id]);
    batch.gets_published().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_of_a_batch_that_is_cancelled_ends_without_a_project() {
    let batch = Reserved::new().await;
    batch.day.api.delete(&format!("/api/assignments/{}", batch.id)).await.expect(200);
    // Nobody gets what came back.
    batch.run_sql("UPDATE workflows SET auto_assign = false").await;
    let worker = batch.day.fleet.worker().await;
    wait::until("the chain has come to its end", PATIENCE, async || {
        (batch.states().await == ["completed", "completed"]).then_some(())
    })
    .await;
    worker.drain().await;
    assert!(batch.studio.world().projects.is_empty());
    let workflow = batch.day.api.get(&format!("/api/workflows/{}", batch.workflow)).await.expect(200);
    assert_eq!(workflow["totalImagesAvailable"], 6);
}
