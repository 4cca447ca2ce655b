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

/// Whether their last batch was reclaimed, and they were neither seen at work nor started since.
pub async fn is_away(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM assignments JOIN annotators ON annotators.id = annotator_id
               WHERE assignments.id = (SELECT max(id) FROM assignments WHERE annotator_id = $1)
                 AND reclaimed_at > status_at AND (last_active_at IS NULL OR reclaimed_at > last_active_at)
           ) AS "away!""#,
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
    /// Its tasks come from S3, and not from another workflow.
    pub lists_source: bool,
}

/// Active, self-assigning workflows of the annotator's role: those first where something is reserved for them, then
/// those that have room for them, oldest first.
pub async fn choices(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<Vec<Choice>> {
    sqlx::query_as!(
        Choice,
        r#"SELECT workflows.id AS "id: WorkflowId", previous_workflow_id IS NULL AS "lists_source!",
                  is_awaited OR (has_room AND EXISTS
                      (SELECT FROM waiting_tasks
                       WHERE workflow_id = workflows.id AND reserved_for IS NULL
                         AND (not_for IS DISTINCT FROM annotators.id OR NOT EXISTS
                              (SELECT FROM annotators AS other
                               WHERE other.role_id = workflows.role_id AND other.status = 'active'
                                 AND other.id <> annotators.id)))) AS "has_work!"
           FROM workflows JOIN annotators ON annotators.role_id = workflows.role_id
           CROSS JOIN LATERAL
               (SELECT EXISTS (SELECT FROM waiting_tasks
                               WHERE workflow_id = workflows.id AND wanted_for = annotators.id
                                 AND reserved_for = annotators.id) AS is_awaited,
                       workflows.max_projects IS NULL OR workflows.max_projects >
                           (SELECT count(*) FROM assignments WHERE workflow_id = workflows.id
                              AND annotator_id = annotators.id
                              AND assignments.status NOT IN ('cancelled', 'failed')) AS has_room) AS own
           WHERE annotators.id = $1 AND annotators.status = 'active'
             AND workflows.is_active AND workflows.auto_assign AND workflows.labeling_config_id IS NOT NULL
             AND (is_awaited OR has_room)
           ORDER BY is_awaited DESC, workflows.id"#,
        annotator.0
    )
    .fetch_all(db)
    .await
}

/// Active annotators whom waiting tasks of this workflow can go to: right role, no batch in hand.
pub async fn waiting_annotators(
    db: &mut PgConnection,
    workflow: WorkflowId,
) -> sqlx::Result<Vec<AnnotatorId>> {
    sqlx::query_scalar!(
        r#"SELECT annotators.id AS "id: AnnotatorId" FROM annotators
           JOIN workflows ON workflows.role_id = annotators.role_id
           WHERE workflows.id = $1 AND workflows.is_active AND workflows.auto_assign
             AND annotators.status = 'active'
             AND NOT EXISTS (SELECT FROM assignments
                             WHERE annotator_id = annotators.id AND assignments.status IN ('pending', 'in_progress'))
             AND (EXISTS (SELECT FROM waiting_tasks WHERE workflow_id = $1 AND wanted_for = annotators.id
                                 AND reserved_for = annotators.id)
                  OR EXISTS (SELECT FROM waiting_tasks
                             WHERE workflow_id = $1 AND reserved_for IS NULL
                               AND (not_for IS DISTINCT FROM annotators.id OR NOT EXISTS
                                    (SELECT FROM annotators AS other
                                     WHERE other.role_id = workflows.role_id AND other.status = 'active'
                                       AND other.id <> annotators.id))))
           ORDER BY annotators.id"#,
        workflow.0
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
