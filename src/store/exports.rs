//! What an export is written from, and the exports and uploads that are under way.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use crate::domain::{
    AnnotatorId, AssignmentId, ExportFormats, GoldTaskId, JobBatchRef, WorkflowId,
    export::{Task, quality::GoldAnswer},
};

#[derive(Debug)]
pub struct Target {
    pub workflow_id: WorkflowId,
    pub annotator_id: AnnotatorId,
    pub s3_export_path: String,
    pub formats: ExportFormats,
    pub config_xml: Option<String>,
    /// Changes whenever something of the assignment does.
    pub version: DateTime<Utc>,
}

/// Where an assignment's export goes, and as what; none unless it is completed.
pub async fn target(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Option<Target>> {
    sqlx::query_as!(
        Target,
        r#"SELECT workflow_id AS "workflow_id: WorkflowId", annotator_id AS "annotator_id: AnnotatorId",
                  s3_export_path, export_formats AS "formats: ExportFormats", config_xml AS "config_xml?",
                  assignments.updated_at AS version
           FROM assignments
           JOIN workflows ON workflows.id = workflow_id
           LEFT JOIN labeling_configs ON labeling_configs.id = labeling_config_id
           WHERE assignments.id = $1 AND status = 'completed'"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// An export that was begun and has not ended: what its files are made of, decided once for all of them.
#[derive(Debug)]
pub struct UnderWay {
    /// The jobs that write its files.
    pub batch: JobBatchRef,
    pub workflow_id: WorkflowId,
    pub annotator_id: AnnotatorId,
    /// Of all keys.
    pub prefix: String,
    pub formats: ExportFormats,
    pub config_xml: Option<String>,
    /// The assignment's version when it was begun.
    pub version: DateTime<Utc>,
    /// The assignment is as it was then.
    pub is_current: bool,
}

pub async fn under_way(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Option<UnderWay>> {
    sqlx::query_as!(
        UnderWay,
        r#"SELECT job_batch AS "batch: JobBatchRef", workflow_id AS "workflow_id: WorkflowId",
                  annotator_id AS "annotator_id: AnnotatorId", prefix, formats AS "formats: ExportFormats", config_xml,
                  version, status = 'completed' AND updated_at = version AS "is_current!"
           FROM exports_under_way JOIN assignments ON assignments.id = assignment_id
           WHERE assignment_id = $1"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// Has this batch write the export's files, in place of any other.
pub async fn begin(
    db: &mut PgConnection,
    id: AssignmentId,
    batch: JobBatchRef,
    prefix: &str,
    target: &Target,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO exports_under_way (assignment_id, job_batch, version, prefix, formats, config_xml)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (assignment_id) DO UPDATE
         SET job_batch = excluded.job_batch, version = excluded.version, prefix = excluded.prefix,
             formats = excluded.formats, config_xml = excluded.config_xml, begun_at = excluded.begun_at",
        id.0,
        batch.0,
        target.version,
        prefix,
        &target.formats.names(),
        target.config_xml
    )
    .execute(db)
    .await?;
    Ok(())
}

pub async fn end(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM exports_under_way WHERE assignment_id = $1", id.0).execute(db).await?;
    Ok(())
}

/// Tasks of the deliverable after this position, in the batch's order; gold is left out: it is not the customer's. So
/// many at once, so that neither a snapshot nor a connection is held for as long as S3 takes.
pub async fn tasks_after(
    db: &mut PgConnection,
    id: AssignmentId,
    bucket: &str,
    position: i32,
    most: i64,
) -> sqlx::Result<Vec<Task>> {
    let rows = sqlx::query!(
        r#"SELECT position, tasks.uid, tasks.image_key, ls_task_id, ls_project_id,
                  ARRAY(SELECT payload FROM annotations
                        WHERE assignment_task_id = assignment_tasks.id AND deleted_at IS NULL
                        ORDER BY ls_annotation_id) AS "annotations!: Vec<Value>"
           FROM assignment_tasks
           JOIN assignments ON assignments.id = assignment_id
           JOIN tasks ON tasks.id = task_id
           WHERE assignment_id = $1 AND position > $2 AND state <> 'released'
           ORDER BY position LIMIT $3"#,
        id.0,
        position,
        most
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Task {
            position: row.position,
            uid: row.uid,
            image_key: row.image_key,
            bucket: bucket.to_owned(),
            ls_task_id: row.ls_task_id,
            ls_project_id: row.ls_project_id,
            annotations: row.annotations,
        })
        .collect())
}

/// The gold of an assignment and what became of it, in the batch's order.
pub async fn gold_answers(
    db: &mut PgConnection,
    id: AssignmentId,
    bucket: &str,
) -> sqlx::Result<Vec<GoldAnswer>> {
    sqlx::query_as!(
        GoldAnswer,
        r#"SELECT gold_tasks.id AS "gold_task_id: GoldTaskId", name, 's3://' || $2 || '/' || s3_image_key AS "image!",
                  ls_task_id, score AS "score?", COALESCE(skipped, false) AS "skipped!", details AS "details?",
                  expected_labels AS expected,
                  (SELECT payload -> 'result' FROM annotations
                   WHERE assignment_task_id = assignment_tasks.id AND deleted_at IS NULL AND NOT was_cancelled
                   ORDER BY ls_updated_at DESC LIMIT 1) AS given
           FROM assignment_tasks
           JOIN gold_tasks ON gold_tasks.id = assignment_tasks.gold_task_id
           LEFT JOIN gold_results ON gold_results.assignment_task_id = assignment_tasks.id
           WHERE assignment_tasks.assignment_id = $1 AND state <> 'released'
           ORDER BY position"#,
        id.0,
        bucket
    )
    .fetch_all(db)
    .await
}

/// An upload in parts that was begun and may not have ended.
#[derive(Debug)]
pub struct Upload {
    pub upload_id: String,
    pub key: String,
}

/// Remembers an upload before its first part is sent.
pub async fn add_upload(db: &mut PgConnection, id: AssignmentId, upload: &Upload) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO export_uploads (upload_id, assignment_id, key) VALUES ($1, $2, $3)",
        upload.upload_id,
        id.0,
        upload.key
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Of one key, if given.
pub async fn uploads(
    db: &mut PgConnection,
    id: AssignmentId,
    key: Option<&str>,
) -> sqlx::Result<Vec<Upload>> {
    sqlx::query_as!(
        Upload,
        "SELECT upload_id, key FROM export_uploads WHERE assignment_id = $1 AND ($2::text IS NULL OR key = $2)",
        id.0,
        key
    )
    .fetch_all(db)
    .await
}

/// It is over, one way or the other.
pub async fn forget_upload(db: &mut PgConnection, upload_id: &str) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM export_uploads WHERE upload_id = $1", upload_id).execute(db).await?;
    Ok(())
}
