//! Work that is done in one workflow becomes the source of the next.
//!
//! Level-triggered: [`pull`] brings what a workflow has from a batch to what the batch holds now, however often it
//! is called. What somebody got stays as they got it; what nobody got yet follows, and is withdrawn where its source
//! was taken back.

use sqlx::PgConnection;

use crate::{
    domain::{AssignmentId, WorkflowId},
    lock::{Held, Key},
};

/// A workflow that goes on with a batch.
#[derive(Debug)]
pub struct Target {
    pub id: WorkflowId,
    pub config_xml: Option<String>,
}

/// The active workflows that go on with a completed batch, by id: those that follow its own; where none does, those
/// whose reviewers called for the rework in it.
pub async fn targets(db: &mut PgConnection, batch: AssignmentId) -> sqlx::Result<Vec<Target>> {
    sqlx::query_as!(
        Target,
        r#"WITH followers AS (
               SELECT workflows.id FROM assignments
               JOIN workflows ON previous_workflow_id = workflow_id
               WHERE assignments.id = $1
           ), reviews AS (
               SELECT DISTINCT rejections.workflow_id AS id
               FROM assignment_tasks JOIN tasks ON tasks.id = task_id
               JOIN rejections ON rejections.id = rejection_id
               WHERE assignment_id = $1 AND NOT EXISTS (SELECT FROM followers)
           )
           SELECT workflows.id AS "id: WorkflowId", config_xml AS "config_xml?"
           FROM workflows LEFT JOIN labeling_configs ON labeling_configs.id = labeling_config_id
           WHERE is_active AND (workflows.id IN (SELECT id FROM followers) OR workflows.id IN (SELECT id FROM reviews))
           ORDER BY workflows.id"#,
        batch.0
    )
    .fetch_all(db)
    .await
}

/// The labeling config that a batch was done under.
pub async fn source_config(db: &mut PgConnection, batch: AssignmentId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "SELECT config_xml FROM assignments
         JOIN workflows ON workflows.id = workflow_id
         JOIN labeling_configs ON labeling_configs.id = labeling_config_id
         WHERE assignments.id = $1",
        batch.0
    )
    .fetch_optional(db)
    .await
}

/// Completed batches that these workflows go on with: those of the ones before them, and rework that their reviewers
/// called for.
pub async fn completed_assignments(
    db: &mut PgConnection,
    workflows: &[WorkflowId],
) -> sqlx::Result<Vec<AssignmentId>> {
    let workflows: Vec<i64> = workflows.iter().map(|id| id.0).collect();
    sqlx::query_scalar!(
        r#"SELECT id AS "id: AssignmentId" FROM assignments
           WHERE status = 'completed'
             AND (workflow_id IN (SELECT previous_workflow_id FROM workflows WHERE id = ANY($1))
                  OR id IN (SELECT assignment_id FROM rejections
                            JOIN tasks ON rejection_id = rejections.id
                            JOIN assignment_tasks ON assignment_tasks.task_id = tasks.id
                            WHERE rejections.workflow_id = ANY($1)))
           ORDER BY id"#,
        &workflows
    )
    .fetch_all(db)
    .await
}

/// How a workflow takes what comes to it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The batch was a review: only what was accepted goes on.
    pub only_accepted: bool,
    /// The workflow is a review: whoever made the work is not to judge it.
    pub is_review: bool,
}

/// Brings the tasks that `workflow` has from a batch to what the batch holds: every task that is done, gold and skipped
/// ones left out; of a batch that is not complete nothing new is taken. What a review passes on is the reviewer's own labels where there are any, else what was
/// reviewed. Returns how many tasks became available. Needs the workflow's lock: nobody hands its tasks out meanwhile.
pub async fn pull(
    db: &mut PgConnection,
    lock: &Held,
    workflow: WorkflowId,
    batch: AssignmentId,
    rule: Rule,
) -> sqlx::Result<u64> {
    debug_assert_eq!(lock.key(), Key::Workflow(workflow.0));
    let made = sqlx::query!(
        r#"WITH done AS (
               SELECT source.id, source.image_key, source.size_bytes, source.iteration, kept.id AS annotation_id,
                      kept.annotator_id, assignments.status = 'completed' AS is_complete
               FROM assignments
               JOIN assignment_tasks AS place ON place.assignment_id = assignments.id
               JOIN tasks AS source ON source.id = place.task_id
               CROSS JOIN LATERAL
                   (SELECT id, payload FROM annotations
                    WHERE assignment_task_id = place.id AND deleted_at IS NULL AND NOT was_cancelled
                    ORDER BY ls_updated_at DESC, ls_annotation_id DESC LIMIT 1) AS standing
               JOIN annotations AS kept ON kept.id = CASE
                   WHEN $3 AND source.source_annotation_id IS NOT NULL AND NOT jsonb_path_exists(standing.payload,
                        '$.result[*].from_name ? (@ != "review_decision" && @ != "rejection_reason")')
                   THEN source.source_annotation_id ELSE standing.id END
               WHERE assignments.id = $2 AND place.state = 'done'
                 AND (NOT $3 OR place.review_decision = 'accept')
                 AND (assignments.workflow_id = (SELECT previous_workflow_id FROM workflows WHERE id = $1)
                      OR source.rejection_id IN (SELECT id FROM rejections WHERE workflow_id = $1))
           ), withdrawn AS (
               UPDATE tasks SET status = 'withdrawn', updated_at = now()
               WHERE workflow_id = $1 AND origin = 'upstream' AND status = 'available'
                 AND source_task_id IN (SELECT task_id FROM assignment_tasks
                                        WHERE assignment_id = $2 AND state <> 'released')
                 AND source_task_id NOT IN (SELECT id FROM done)
           )
           INSERT INTO tasks
               (workflow_id, origin, image_key, size_bytes, source_task_id, source_annotation_id, iteration, not_for)
           SELECT $1, 'upstream', image_key, size_bytes, id, annotation_id, iteration,
                  CASE WHEN $4 THEN annotator_id END
           FROM done WHERE is_complete ORDER BY id
           ON CONFLICT (source_task_id, workflow_id) WHERE origin = 'upstream' DO UPDATE
           SET status = 'available', source_annotation_id = excluded.source_annotation_id,
               iteration = excluded.iteration, not_for = excluded.not_for, updated_at = now()
           WHERE tasks.status IN ('available', 'withdrawn')
             AND (tasks.status, tasks.source_annotation_id, tasks.not_for)
                 IS DISTINCT FROM ('available', excluded.source_annotation_id, excluded.not_for)"#,
        workflow.0,
        batch.0,
        rule.only_accepted,
        rule.is_review
    )
    .execute(db)
    .await?;
    Ok(made.rows_affected())
}

/// Withdraws what a workflow had from the one that came before it, as far as nobody got it yet; rework that comes
/// back to it stays.
pub async fn withdraw_all(db: &mut PgConnection, lock: &Held, workflow: WorkflowId) -> sqlx::Result<()> {
    debug_assert_eq!(lock.key(), Key::Workflow(workflow.0));
    sqlx::query!(
        "UPDATE tasks SET status = 'withdrawn', updated_at = now()
         WHERE workflow_id = $1 AND origin = 'upstream' AND status = 'available'
           AND NOT EXISTS (SELECT FROM tasks AS source JOIN rejections ON rejections.id = source.rejection_id
                           WHERE source.id = tasks.source_task_id AND rejections.workflow_id = $1)",
        workflow.0
    )
    .execute(db)
    .await?;
    Ok(())
}
