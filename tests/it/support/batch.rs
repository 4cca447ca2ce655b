//! A batch in the hands of an annotator whose Label Studio is simulated, and what they do with it.

use std::sync::Arc;

use labelfleet::{
    domain::{AnnotatorId, AssignmentId, WorkflowId},
    ops::jobs::Reconcile,
};
use labelfleet_jobs::label_studio::{Client, NewAnnotation};
use serde_json::{Value, json};

use super::{factory, label_studio::LabelStudio, simulation::Simulation};

pub struct Batch {
    pub day: Simulation,
    pub workflow: WorkflowId,
    pub annotator: AnnotatorId,
    pub id: AssignmentId,
    pub studio: Arc<LabelStudio>,
    /// In the order in which the annotator gets them.
    pub tasks: Vec<i64>,
}

pub fn answer(label: &str) -> NewAnnotation {
    NewAnnotation { result: vec![factory::choice(label)], was_cancelled: false, lead_time: Some(1.0) }
}

impl Batch {
    /// So many tasks in it, of so many images that the workflow has.
    pub async fn published(tasks: i32, images: i32) -> Self {
        let day = Simulation::start().await;
        let (workflow, role) = day.workflow(tasks, images).await;
        let (annotator, studio) = day.annotator(role).await;
        let id = day.published(workflow, annotator).await;
        let tasks = studio.world().tasks.keys().copied().collect();
        Self { day, workflow, annotator, id, studio, tasks }
    }

    /// Three tasks, the first two answered; compared once.
    pub async fn in_order() -> Self {
        let batch = Self::published(3, 6).await;
        for place in 0..2 {
            batch.create(place).await;
        }
        assert_eq!(batch.drift().await, Vec::<Value>::new());
        batch
    }

    pub fn client(&self) -> Client {
        self.studio.client()
    }

    /// Answers the task at this place; what Label Studio calls the annotation.
    pub async fn create(&self, place: usize) -> i64 {
        let made = self.client().create_annotation(self.tasks[place], &answer("red")).await.unwrap();
        made["id"].as_i64().unwrap()
    }

    pub async fn report(&self) -> Value {
        self.day.fleet.run(Reconcile {}).await.unwrap()
    }

    /// Kind and count of each drift that reconciliation finds, without errors beside.
    pub async fn drift(&self) -> Vec<Value> {
        let report = self.report().await;
        assert_eq!(report["errors"], json!([]), "{report}");
        let all = report["drift"].as_array().unwrap();
        all.iter().map(|drift| json!([drift["kind"], drift["count"]])).collect()
    }

    /// It is found once.
    pub async fn finds(&self, expected: Value) {
        assert_eq!(Value::from(self.drift().await), expected);
        assert_eq!(self.drift().await, Vec::<Value>::new(), "a second run finds nothing");
    }

    pub async fn run_sql(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.day.pool()).await.unwrap();
    }
}
