//! What it takes to put a batch into its annotator's Label Studio.

use serde_json::Value;
use sqlx::PgConnection;

use crate::domain::{AnnotatorId, AnnotatorStatus, AssignmentId, AssignmentTaskId};

/// An annotator's Label Studio, as the worker reaches it.
#[derive(Debug, Clone)]
pub struct Instance {
    pub annotator_id: AnnotatorId,
    pub host: String,
    pub port: i32,
    pub token: String,
    pub secret_version: i32,
}

/// A pending batch that has its gold.
#[derive(Debug)]
pub struct Batch {
    pub annotator_id: AnnotatorId,
    pub annotator_status: AnnotatorStatus,
    pub workflow_name: String,
    pub config_xml: Option<String>,
    pub ls_project_id: Option<i64>,
}

pub async fn batch(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Option<Batch>> {
    sqlx::query_as!(
        Batch,
        r#"SELECT annotator_id AS "annotator_id: AnnotatorId",
                  annotators.status AS "annotator_status: AnnotatorStatus",
                  workflows.name AS workflow_name, config_xml AS "config_xml?", ls_project_id
           FROM assignments
           JOIN annotators ON annotators.id = annotator_id
           JOIN workflows ON workflows.id = workflow_id
           LEFT JOIN labeling_configs ON labeling_configs.id = labeling_config_id
           WHERE assignments.id = $1 AND assignments.status = 'pending' AND gold_at IS NOT NULL"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// What came before a task in a batch.
#[derive(Debug)]
pub struct Earlier {
    pub id: AssignmentTaskId,
    /// The result of the annotation that it goes on with.
    pub result: Value,
    /// Why that was rejected, or what it was reworked for.
    pub reason: Option<String>,
}

/// Of these places, those whose task goes on with earlier work.
pub async fn earlier(db: &mut PgConnection, places: &[AssignmentTaskId]) -> sqlx::Result<Vec<Earlier>> {
    let places: Vec<i64> = places.iter().map(|place| place.0).collect();
    sqlx::query_as!(
        Earlier,
        r#"SELECT place.id AS "id: AssignmentTaskId", COALESCE(payload -> 'result', '[]') AS "result!", reason
           FROM assignment_tasks AS place
           JOIN tasks ON tasks.id = place.task_id
           JOIN annotations ON annotations.id = tasks.source_annotation_id
           LEFT JOIN tasks AS source ON source.id = tasks.source_task_id
           LEFT JOIN rejections ON rejections.id = COALESCE(tasks.rejection_id, source.rejection_id)
           WHERE place.id = ANY($1)"#,
        &places
    )
    .fetch_all(db)
    .await
}

/// Where an annotator's Label Studio is, while they are active.
pub async fn instance(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<Instance>> {
    sqlx::query_as!(
        Instance,
        r#"SELECT id AS "annotator_id: AnnotatorId", COALESCE(container_ip, '127.0.0.1') AS "host!",
                  container_port AS "port!", api_token AS "token!", secret_version
           FROM annotators WHERE id = $1 AND status = 'active'"#,
        id.0
    )
    .fetch_optional(db)
    .await
}
