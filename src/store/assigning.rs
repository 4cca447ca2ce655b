//! What decides about the next batch: who may get one, and from which workflow.

use sqlx::PgConnection;

use crate::domain::{AnnotatorId, AnnotatorStatus, AssignmentId, RoleId, WorkflowId};

#[derive(Debug)]
pub struct Workflow {
    pub id: WorkflowId,
    pub role_id: Option<RoleId>,
    pub images_per_project: i32,
    pub shuffle_images: bool,
    pub is_active: bool,
    pub max_projects: Option<i32>,
}

pub async fn workflow(db: &mut PgConnection, id: WorkflowId) -> sqlx::Result<Option<Workflow>> {
    sqlx::query_as!(
        Workflow,
        r#"SELECT id AS "id: WorkflowId", role_id AS "role_id: RoleId", images_per_project, shuffle_images,
                  is_active, max_projects
           FROM workflows WHERE id = $1"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

#[derive(Debug)]
pub struct Annotator {
    pub status: AnnotatorStatus,
    pub role_id: Option<RoleId>,
}

pub async fn annotator(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<Annotator>> {
    sqlx::query_as!(
        Annotator,
        r#"SELECT status AS "status: AnnotatorStatus", role_id AS "role_id: RoleId"
           FROM annotators WHERE id = $1 AND status <> 'deleted'"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// Batches of this workflow that the annotator has had, those cancelled or failed not counted.
pub async fn batches(
    db: &mut PgConnection,
    workflow: WorkflowId,
    annotator: AnnotatorId,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM assignments
           WHERE workflow_id = $1 AND annotator_id = $2 AND status NOT IN ('cancelled', 'failed')"#,
        workflow.0,
        annotator.0
    )
    .fetch_one(db)
    .await
}

pub async fn has_open_batch(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM assignments
                          WHERE annotator_id = $1 AND status IN ('pending', 'in_progress')) AS "open!""#,
        annotator.0
    )
    .fetch_one(db)
    .await
}

/// A workflow that the annotator's next batch may come from, by itself.
#[derive(Debug)]
pub struct Choice {
    pub id: WorkflowId,
    pub has_work: bool,
}

/// Active, self-assigning workflows of the annotator's role that still have room for them, oldest first.
pub async fn choices(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<Vec<Choice>> {
    sqlx::query_as!(
        Choice,
        r#"SELECT workflows.id AS "id: WorkflowId",
                  EXISTS (SELECT FROM tasks
                          WHERE workflow_id = workflows.id AND tasks.status = 'available') AS "has_work!"
           FROM workflows JOIN annotators ON annotators.role_id = workflows.role_id
           WHERE annotators.id = $1 AND annotators.status = 'active'
             AND workflows.is_active AND workflows.auto_assign AND workflows.labeling_config_id IS NOT NULL
             AND (workflows.max_projects IS NULL OR workflows.max_projects >
                  (SELECT count(*) FROM assignments WHERE workflow_id = workflows.id
                     AND annotator_id = annotators.id AND assignments.status NOT IN ('cancelled', 'failed')))
           ORDER BY workflows.id"#,
        annotator.0
    )
    .fetch_all(db)
    .await
}

/// A batch that is not in Label Studio yet.
#[derive(Debug)]
pub struct Pending {
    pub id: AssignmentId,
    pub has_gold: bool,
}

pub async fn pending_batches(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<Vec<Pending>> {
    sqlx::query_as!(
        Pending,
        r#"SELECT id AS "id: AssignmentId", gold_at IS NOT NULL AS "has_gold!" FROM assignments
           WHERE annotator_id = $1 AND status = 'pending' ORDER BY id"#,
        annotator.0
    )
    .fetch_all(db)
    .await
}
