//! Assignments and their tasks: reserving, publishing, finishing. Each transition is one guarded UPDATE.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{
    AnnotatorId, AssignmentId, AssignmentStatus, AssignmentTaskId, GoldTaskId, JobRef, LabelingConfigId,
    TaskId, WorkflowId,
};

/// What the jobs need to know of an assignment.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub id: AssignmentId,
    pub workflow_id: WorkflowId,
    pub annotator_id: AnnotatorId,
    pub status: AssignmentStatus,
    pub ls_project_id: Option<i64>,
    pub task_count: i32,
    pub gold_task_count: i32,
    pub done_count: i32,
    pub has_gold: bool,
    pub is_published: bool,
    pub is_exported: bool,
}

pub async fn get(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Option<Assignment>> {
    sqlx::query_as!(
        Assignment,
        r#"SELECT id AS "id: AssignmentId", workflow_id AS "workflow_id: WorkflowId",
                  annotator_id AS "annotator_id: AnnotatorId", status AS "status: AssignmentStatus",
                  ls_project_id, task_count, gold_task_count, done_count,
                  gold_at IS NOT NULL AS "has_gold!", published_at IS NOT NULL AS "is_published!",
                  exported_at IS NOT NULL AS "is_exported!"
           FROM assignments WHERE id = $1"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// A new pending assignment that holds these tasks, in this order. `job`: none when a person asked for it.
pub async fn create(
    db: &mut PgConnection,
    workflow: WorkflowId,
    annotator: AnnotatorId,
    tasks: &[TaskId],
    job: Option<JobRef>,
) -> sqlx::Result<AssignmentId> {
    let ids: Vec<i64> = tasks.iter().map(|task| task.0).collect();
    let id = sqlx::query_scalar!(
        r#"INSERT INTO assignments (workflow_id, annotator_id, task_count, assigned_by_job)
           VALUES ($1, $2, cardinality($3::bigint[]), $4) RETURNING id AS "id: AssignmentId""#,
        workflow.0,
        annotator.0,
        &ids,
        job.map(|job| job.0)
    )
    .fetch_one(&mut *db)
    .await?;
    sqlx::query!(
        "INSERT INTO assignment_tasks (assignment_id, task_id, position)
         SELECT $1, task_id, position - 1
         FROM unnest($2::bigint[]) WITH ORDINALITY AS listed (task_id, position)",
        id.0,
        &ids
    )
    .execute(db)
    .await?;
    Ok(id)
}

/// What decides about gold in an assignment.
#[derive(Debug)]
pub struct GoldPlan {
    pub annotator_id: AnnotatorId,
    pub task_count: i32,
    pub rate: f64,
    pub labeling_config_id: Option<LabelingConfigId>,
}

/// The plan of an assignment that has not got its gold yet, its row locked; none if there is nothing to do.
pub async fn gold_plan(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Option<GoldPlan>> {
    sqlx::query_as!(
        GoldPlan,
        r#"SELECT annotator_id AS "annotator_id: AnnotatorId", task_count, gold_standard_rate AS rate,
                  labeling_config_id AS "labeling_config_id: LabelingConfigId"
           FROM assignments JOIN workflows ON workflows.id = workflow_id
           WHERE assignments.id = $1 AND status = 'pending' AND gold_at IS NULL
           FOR UPDATE OF assignments"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// Puts gold tasks at these positions of the final order and moves the others on; false if gold was there.
pub async fn set_gold(
    db: &mut PgConnection,
    id: AssignmentId,
    gold: &[GoldTaskId],
    positions: &[i32],
    task_positions: &[i32],
    job: JobRef,
) -> sqlx::Result<bool> {
    let gold_ids: Vec<i64> = gold.iter().map(|gold| gold.0).collect();
    let marked = sqlx::query!(
        "UPDATE assignments
         SET gold_at = now(), gold_by_job = $3, gold_task_count = cardinality($2::bigint[]), updated_at = now()
         WHERE id = $1 AND status = 'pending' AND gold_at IS NULL",
        id.0,
        &gold_ids,
        job.0
    )
    .execute(&mut *db)
    .await?;
    if marked.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("SET CONSTRAINTS assignment_tasks_position_key DEFERRED").execute(&mut *db).await?;
    sqlx::query!(
        "UPDATE assignment_tasks SET position = moved.new
         FROM unnest($2::integer[]) WITH ORDINALITY AS moved (new, old)
         WHERE assignment_id = $1 AND position = moved.old - 1",
        id.0,
        task_positions
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "INSERT INTO assignment_tasks (assignment_id, gold_task_id, position)
         SELECT $1, gold_task_id, position
         FROM unnest($2::bigint[], $3::integer[]) AS mixed_in (gold_task_id, position)",
        id.0,
        &gold_ids,
        positions
    )
    .execute(db)
    .await?;
    Ok(true)
}

/// Remembers the project, in place of the one that was known when it was looked for; false if the assignment is
/// no longer pending.
pub async fn set_project(
    db: &mut PgConnection,
    id: AssignmentId,
    known: Option<i64>,
    project: i64,
) -> sqlx::Result<bool> {
    let set = sqlx::query!(
        "UPDATE assignments SET ls_project_id = $3, updated_at = now()
         WHERE id = $1 AND status = 'pending' AND ls_project_id IS NOT DISTINCT FROM $2",
        id.0,
        known,
        project
    )
    .execute(db)
    .await?;
    Ok(set.rows_affected() == 1)
}

/// A place in a batch, as Label Studio gets it: nothing in it tells gold from the rest.
#[derive(Debug, Clone)]
pub struct Slot {
    pub id: AssignmentTaskId,
    pub token: Uuid,
    pub ls_task_id: Option<i64>,
    /// Not answered yet.
    pub is_open: bool,
}

pub async fn slots(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Vec<Slot>> {
    sqlx::query_as!(
        Slot,
        r#"SELECT id AS "id: AssignmentTaskId", token, ls_task_id, state = 'open' AS "is_open!"
           FROM assignment_tasks WHERE assignment_id = $1 AND state <> 'released' ORDER BY position"#,
        id.0
    )
    .fetch_all(db)
    .await
}

/// Remembers what Label Studio calls the tasks, by token.
pub async fn set_ls_tasks(
    db: &mut PgConnection,
    id: AssignmentId,
    tokens: &[Uuid],
    ls_task_ids: &[i64],
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE assignment_tasks SET ls_task_id = known.ls_task_id
         FROM unnest($2::uuid[], $3::bigint[]) AS known (token, ls_task_id)
         WHERE assignment_id = $1 AND assignment_tasks.token = known.token
           AND assignment_tasks.ls_task_id IS DISTINCT FROM known.ls_task_id",
        id.0,
        tokens,
        ls_task_ids
    )
    .execute(db)
    .await?;
    Ok(())
}

/// pending -> in_progress: the batch is in Label Studio, whole. False if it was not pending.
pub async fn publish(db: &mut PgConnection, id: AssignmentId, job: JobRef) -> sqlx::Result<bool> {
    let published = sqlx::query!(
        "UPDATE assignments
         SET status = 'in_progress', published_at = now(), published_by_job = $2, active_at = now(), updated_at = now()
         WHERE id = $1 AND status = 'pending' AND gold_at IS NOT NULL AND ls_project_id IS NOT NULL",
        id.0,
        job.0
    )
    .execute(db)
    .await?;
    Ok(published.rows_affected() == 1)
}

/// in_progress -> completed, when every task is done; false otherwise.
pub async fn complete_if_done(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<bool> {
    let completed = sqlx::query!(
        "UPDATE assignments SET status = 'completed', completed_at = now(), updated_at = now()
         WHERE id = $1 AND status = 'in_progress' AND done_count = task_count + gold_task_count",
        id.0
    )
    .execute(db)
    .await?;
    Ok(completed.rows_affected() == 1)
}

/// completed -> in_progress, when an answer was taken back since; false otherwise. What was exported of it is exported
/// again once it is complete.
pub async fn reopen_if_undone(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<bool> {
    let reopened = sqlx::query!(
        "UPDATE assignments
         SET status = 'in_progress', completed_at = NULL, exported_at = NULL, reclaimed_at = NULL,
             updated_at = clock_timestamp()
         WHERE id = $1 AND status = 'completed' AND done_count < task_count + gold_task_count",
        id.0
    )
    .execute(db)
    .await?;
    Ok(reopened.rows_affected() == 1)
}

/// Notes that something in a completed assignment has changed; false if it is not completed.
pub async fn touch_completed(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<bool> {
    let touched = sqlx::query!(
        "UPDATE assignments SET updated_at = clock_timestamp() WHERE id = $1 AND status = 'completed'",
        id.0
    )
    .execute(db)
    .await?;
    Ok(touched.rows_affected() == 1)
}

/// [`touch_completed`] of the assignment that this place belongs to; none if it is not completed.
pub async fn touch_completed_of(
    db: &mut PgConnection,
    place: AssignmentTaskId,
) -> sqlx::Result<Option<AssignmentId>> {
    sqlx::query_scalar!(
        r#"UPDATE assignments SET updated_at = clock_timestamp()
           WHERE id = (SELECT assignment_id FROM assignment_tasks WHERE id = $1) AND status = 'completed'
           RETURNING id AS "id: AssignmentId""#,
        place.0
    )
    .fetch_optional(db)
    .await
}

/// Where the export of a completed assignment lies; false if something changed since `version` was read.
pub async fn set_exported(
    db: &mut PgConnection,
    id: AssignmentId,
    version: DateTime<Utc>,
    key: &str,
    bytes: i64,
    sha256: &str,
    job: JobRef,
) -> sqlx::Result<bool> {
    let set = sqlx::query!(
        "UPDATE assignments
         SET export_key = $3, export_bytes = $4, export_sha256 = $5, exported_at = clock_timestamp(),
             exported_by_job = $6
         WHERE id = $1 AND status = 'completed' AND updated_at = $2",
        id.0,
        version,
        key,
        bytes,
        sha256,
        job.0
    )
    .execute(db)
    .await?;
    Ok(set.rows_affected() == 1)
}

/// Whether it is completed, its row locked.
pub async fn lock_completed(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"SELECT status = 'completed' AS "completed!" FROM assignments WHERE id = $1 FOR NO KEY UPDATE"#,
        id.0
    )
    .fetch_optional(db)
    .await?;
    Ok(found.unwrap_or(false))
}

pub async fn is_completed(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"SELECT status = 'completed' AS "completed!" FROM assignments WHERE id = $1"#,
        id.0
    )
    .fetch_optional(db)
    .await?;
    Ok(found.unwrap_or(false))
}
