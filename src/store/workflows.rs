//! Workflows as operators keep them: fields and totals of the pool. How they hang together is read in
//! [`super::workflow_graph`].

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;

use super::{Page, Slice, labeling_configs::LabelingConfigRef, roles::RoleRef};
use crate::domain::{
    ExportFormats, LabelingConfigId, RejectionMode, RoleId, WorkflowId, fields::WorkflowFields, time,
};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workflow {
    #[schema(value_type = i64)]
    pub id: WorkflowId,
    pub name: String,
    #[schema(value_type = Option<i64>)]
    pub role_id: Option<RoleId>,
    #[schema(value_type = Option<i64>)]
    pub labeling_config_id: Option<LabelingConfigId>,
    #[schema(value_type = Option<i64>)]
    pub previous_workflow_id: Option<WorkflowId>,
    pub s3_source_path: String,
    pub s3_export_path: String,
    pub images_per_project: i32,
    pub max_projects: Option<i32>,
    pub estimated_time_minutes: Option<i32>,
    pub auto_assign: bool,
    pub gold_standard_rate: f64,
    pub shuffle_images: bool,
    pub is_active: bool,
    /// Images that can be handed out now.
    pub total_images_available: i64,
    /// Images that are handed out, finished ones included.
    pub total_images_assigned: i64,
    #[schema(inline)]
    pub rejection_mode: RejectionMode,
    pub rejection_archive_bucket: Option<String>,
    #[schema(value_type = Option<i64>)]
    pub rejection_route_workflow_id: Option<WorkflowId>,
    pub rejection_return_to_original: bool,
    pub rejection_flag_annotator: bool,
    pub max_rework_iterations: Option<i32>,
    #[schema(value_type = Vec<crate::domain::ExportFormat>, inline)]
    pub export_formats: ExportFormats,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    #[schema(value_type = Option<RoleRef>)]
    pub role: Option<Json<RoleRef>>,
    #[schema(value_type = Option<LabelingConfigRef>)]
    pub labeling_config: Option<Json<LabelingConfigRef>>,
}

/// A page of workflows, or of those with these ids. The totals of all its rows come in one grouped count over an
/// index.
async fn select(db: &mut PgConnection, ids: Option<&[i64]>, page: Page) -> sqlx::Result<Vec<Workflow>> {
    sqlx::query_as!(
        Workflow,
        r#"WITH page AS (
               SELECT * FROM workflows WHERE $1::bigint[] IS NULL OR id = ANY($1) ORDER BY id LIMIT $2 OFFSET $3
           ), totals AS (
               SELECT workflow_id, count(*) FILTER (WHERE status = 'available') AS available,
                      count(*) FILTER (WHERE status NOT IN ('available', 'withdrawn')) AS assigned
               FROM tasks WHERE workflow_id IN (SELECT id FROM page) GROUP BY workflow_id
           )
           SELECT page.id AS "id: WorkflowId", page.name, page.role_id AS "role_id: RoleId",
                  page.labeling_config_id AS "labeling_config_id: LabelingConfigId",
                  previous_workflow_id AS "previous_workflow_id: WorkflowId", s3_source_path, s3_export_path,
                  images_per_project, max_projects, estimated_time_minutes, auto_assign, gold_standard_rate,
                  shuffle_images, is_active, COALESCE(available, 0) AS "total_images_available!",
                  COALESCE(assigned, 0) AS "total_images_assigned!",
                  rejection_mode AS "rejection_mode: RejectionMode", rejection_archive_bucket,
                  rejection_route_workflow_id AS "rejection_route_workflow_id: WorkflowId",
                  rejection_return_to_original, rejection_flag_annotator, max_rework_iterations,
                  export_formats AS "export_formats: ExportFormats", page.created_at,
                  CASE WHEN roles.id IS NOT NULL THEN
                      jsonb_build_object('id', roles.id, 'name', roles.name, 'color', roles.color)
                  END AS "role: Json<RoleRef>",
                  CASE WHEN labeling_configs.id IS NOT NULL THEN
                      jsonb_build_object('id', labeling_configs.id, 'name', labeling_configs.name)
                  END AS "labeling_config: Json<LabelingConfigRef>"
           FROM page
           LEFT JOIN totals ON totals.workflow_id = page.id
           LEFT JOIN roles ON roles.id = page.role_id
           LEFT JOIN labeling_configs ON labeling_configs.id = page.labeling_config_id
           ORDER BY page.id"#,
        ids,
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await
}

pub async fn list(db: &mut PgConnection, page: Page) -> sqlx::Result<Slice<Workflow>> {
    let total =
        sqlx::query_scalar!(r#"SELECT count(*) AS "total!" FROM workflows"#).fetch_one(&mut *db).await?;
    Ok(Slice { rows: select(db, None, page).await?, total })
}

pub async fn get(db: &mut PgConnection, id: WorkflowId) -> sqlx::Result<Option<Workflow>> {
    Ok(get_many(db, &[id]).await?.pop())
}

/// By id, which is the order in which they were created.
pub async fn get_many(db: &mut PgConnection, ids: &[WorkflowId]) -> sqlx::Result<Vec<Workflow>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    select(db, Some(&ids), Page { limit: i64::MAX, offset: 0 }).await
}

/// [`get`], and nobody changes it before the transaction ends.
pub async fn get_locked(db: &mut PgConnection, id: WorkflowId) -> sqlx::Result<Option<Workflow>> {
    sqlx::query!("SELECT FROM workflows WHERE id = $1 FOR NO KEY UPDATE", id.0)
        .fetch_optional(&mut *db)
        .await?;
    get(db, id).await
}

/// Ids for workflows that are to be inserted, so that they can name each other.
pub async fn new_ids(db: &mut PgConnection, count: usize) -> sqlx::Result<Vec<WorkflowId>> {
    sqlx::query_scalar!(
        r#"SELECT nextval(pg_get_serial_sequence('workflows', 'id')) AS "id!: WorkflowId"
           FROM generate_series(1, $1::bigint)"#,
        i64::try_from(count).unwrap_or(i64::MAX)
    )
    .fetch_all(db)
    .await
}

/// Inserts workflows under their [`new_ids`], in one statement.
pub async fn insert(db: &mut PgConnection, all: &[(WorkflowId, &WorkflowFields)]) -> sqlx::Result<()> {
    let rows = all.iter().map(|(id, fields)| {
        json!({
            "id": id,
            "name": fields.name,
            "role_id": fields.role_id,
            "labeling_config_id": fields.labeling_config_id,
            "previous_workflow_id": fields.previous_workflow_id,
            "s3_source_path": fields.s3_source_path,
            "s3_export_path": fields.s3_export_path,
            "images_per_project": fields.images_per_project,
            "max_projects": fields.max_projects,
            "estimated_time_minutes": fields.estimated_time_minutes,
            "auto_assign": fields.auto_assign,
            "gold_standard_rate": fields.gold_standard_rate,
            "shuffle_images": fields.shuffle_images,
            "is_active": fields.is_active,
            "rejection_mode": fields.rejection_mode.as_str(),
            "rejection_archive_bucket": fields.rejection_archive_bucket,
            "rejection_route_workflow_id": fields.rejection_route_workflow_id,
            "rejection_return_to_original": fields.rejection_return_to_original,
            "rejection_flag_annotator": fields.rejection_flag_annotator,
            "max_rework_iterations": fields.max_rework_iterations,
            "export_formats": fields.export_formats.names(),
        })
    });
    sqlx::query!(
        "INSERT INTO workflows
             (id, name, role_id, labeling_config_id, previous_workflow_id, s3_source_path, s3_export_path,
              images_per_project, max_projects, estimated_time_minutes, auto_assign, gold_standard_rate,
              shuffle_images, is_active, rejection_mode, rejection_archive_bucket, rejection_route_workflow_id,
              rejection_return_to_original, rejection_flag_annotator, max_rework_iterations, export_formats)
         OVERRIDING SYSTEM VALUE
         SELECT id, name, role_id, labeling_config_id, previous_workflow_id, s3_source_path, s3_export_path,
                images_per_project, max_projects, estimated_time_minutes, auto_assign, gold_standard_rate,
                shuffle_images, is_active, rejection_mode, rejection_archive_bucket, rejection_route_workflow_id,
                rejection_return_to_original, rejection_flag_annotator, max_rework_iterations, export_formats
         FROM jsonb_populate_recordset(NULL::workflows, $1)",
        Value::Array(rows.collect())
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes the fields. A new source path is listed from its start.
pub async fn update(db: &mut PgConnection, id: WorkflowId, fields: &WorkflowFields) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE workflows
         SET name = $2, role_id = $3, labeling_config_id = $4, previous_workflow_id = $5, s3_source_path = $6,
             s3_export_path = $7, images_per_project = $8, max_projects = $9, estimated_time_minutes = $10,
             auto_assign = $11, gold_standard_rate = $12, shuffle_images = $13, is_active = $14,
             rejection_mode = $15, rejection_archive_bucket = $16, rejection_route_workflow_id = $17,
             rejection_return_to_original = $18, rejection_flag_annotator = $19, max_rework_iterations = $20, export_formats = $21,
             sync_cursor = CASE WHEN s3_source_path = $6 THEN sync_cursor END,
             synced_at = CASE WHEN s3_source_path = $6 THEN synced_at END,
             updated_at = now()
         WHERE id = $1",
        id.0,
        fields.name,
        fields.role_id.map(|id| id.0),
        fields.labeling_config_id.map(|id| id.0),
        fields.previous_workflow_id.map(|id| id.0),
        fields.s3_source_path,
        fields.s3_export_path,
        fields.images_per_project,
        fields.max_projects,
        fields.estimated_time_minutes,
        fields.auto_assign,
        fields.gold_standard_rate,
        fields.shuffle_images,
        fields.is_active,
        fields.rejection_mode.as_str(),
        fields.rejection_archive_bucket,
        fields.rejection_route_workflow_id.map(|id| id.0),
        fields.rejection_return_to_original,
        fields.rejection_flag_annotator,
        fields.max_rework_iterations,
        &fields.export_formats.names()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Which of these ids there are.
#[derive(Debug)]
pub struct Known {
    pub roles: Vec<i64>,
    pub labeling_configs: Vec<i64>,
    pub workflows: Vec<i64>,
}

pub async fn known(
    db: &mut PgConnection,
    roles: &[i64],
    labeling_configs: &[i64],
    workflows: &[i64],
) -> sqlx::Result<Known> {
    sqlx::query_as!(
        Known,
        r#"SELECT ARRAY(SELECT id FROM roles WHERE id = ANY($1)) AS "roles!",
                  ARRAY(SELECT id FROM labeling_configs WHERE id = ANY($2)) AS "labeling_configs!",
                  ARRAY(SELECT id FROM workflows WHERE id = ANY($3)) AS "workflows!""#,
        roles,
        labeling_configs,
        workflows
    )
    .fetch_one(db)
    .await
}

/// Deletes it with its pool of tasks; false if there was none.
pub async fn delete(db: &mut PgConnection, id: WorkflowId) -> sqlx::Result<bool> {
    let deleted = sqlx::query!("DELETE FROM workflows WHERE id = $1", id.0).execute(db).await?;
    Ok(deleted.rows_affected() == 1)
}
