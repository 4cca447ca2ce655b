//! The pool of work: one row a unit of labeling.

use sqlx::PgConnection;

use crate::{
    domain::{AnnotatorId, TaskId, WorkflowId},
    lock::{Held, Key},
};

/// Adds listed images that are not in the pool yet; returns how many were new.
pub async fn insert_listed(
    db: &mut PgConnection,
    workflow: WorkflowId,
    keys: &[String],
    sizes: &[i64],
) -> sqlx::Result<u64> {
    let inserted = sqlx::query!(
        "INSERT INTO tasks (workflow_id, origin, image_key, size_bytes)
         SELECT $1, 's3', key, size FROM unnest($2::text[], $3::bigint[]) AS listed (key, size)
         ON CONFLICT (workflow_id, image_key) WHERE origin = 's3' DO NOTHING",
        workflow.0,
        keys,
        sizes
    )
    .execute(db)
    .await?;
    Ok(inserted.rows_affected())
}

/// How much of the pool, and in which order.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub limit: i64,
    /// In the order of the tasks' draw, or of their keys.
    pub shuffle: bool,
    pub only_reserved: bool,
}

/// Takes available tasks out of the pool for an annotator: first what is reserved for them, then what is reserved
/// for nobody; their own work, to be reviewed, only when no other active annotator of the workflow's role is there.
/// Needs the workflow's lock: two at once would wait for each other's rows and then find them taken.
pub async fn take_available(
    db: &mut PgConnection,
    lock: &Held,
    workflow: WorkflowId,
    annotator: AnnotatorId,
    wanted: Wanted,
) -> sqlx::Result<Vec<TaskId>> {
    debug_assert_eq!(lock.key(), Key::Workflow(workflow.0));
    let mut ids = sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM waiting_tasks
           WHERE workflow_id = $1 AND wanted_for = $2 AND reserved_for = $2 ORDER BY id LIMIT $3"#,
        workflow.0,
        annotator.0,
        wanted.limit
    )
    .fetch_all(&mut *db)
    .await?;
    let rest = wanted.limit.saturating_sub(i64::try_from(ids.len()).unwrap_or(i64::MAX));
    if rest > 0 && !wanted.only_reserved {
        let others_can = others_can(db, workflow, annotator).await?;
        ids.extend(if wanted.shuffle {
            sqlx::query_scalar!(
                r#"SELECT id AS "id!" FROM waiting_tasks
                   WHERE workflow_id = $1 AND reserved_for IS NULL AND (NOT $3 OR not_for IS DISTINCT FROM $2)
                   ORDER BY draw LIMIT $4"#,
                workflow.0,
                annotator.0,
                others_can,
                rest
            )
            .fetch_all(&mut *db)
            .await?
        } else {
            sqlx::query_scalar!(
                r#"SELECT id AS "id!" FROM waiting_tasks
                   WHERE workflow_id = $1 AND reserved_for IS NULL AND (NOT $3 OR not_for IS DISTINCT FROM $2)
                   ORDER BY image_key LIMIT $4"#,
                workflow.0,
                annotator.0,
                others_can,
                rest
            )
            .fetch_all(&mut *db)
            .await?
        });
    }
    let taken: std::collections::HashSet<i64> = sqlx::query_scalar!(
        "UPDATE tasks SET status = 'assigned', updated_at = now()
         WHERE id = ANY($1) AND status = 'available' RETURNING id",
        &ids
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .collect();
    Ok(ids.into_iter().filter(|id| taken.contains(id)).map(TaskId).collect())
}

/// Whether another active annotator may get tasks of this workflow.
async fn others_can(
    db: &mut PgConnection,
    workflow: WorkflowId,
    annotator: AnnotatorId,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM annotators JOIN workflows
                              ON workflows.role_id IS NULL OR workflows.role_id = annotators.role_id
                          WHERE workflows.id = $1 AND annotators.status = 'active' AND annotators.id <> $2)
               AS "others!""#,
        workflow.0,
        annotator.0
    )
    .fetch_one(db)
    .await
}

/// Takes images of a former source out of the pool, as far as nobody ever got them: those outside of the prefix, or
/// all where there is none any more. Needs the workflow's lock: nobody reserves them meanwhile.
pub async fn forget_unassigned_outside(
    db: &mut PgConnection,
    lock: &Held,
    workflow: WorkflowId,
    prefix: Option<&str>,
) -> sqlx::Result<u64> {
    debug_assert_eq!(lock.key(), Key::Workflow(workflow.0));
    let forgotten = sqlx::query!(
        "DELETE FROM tasks
         WHERE workflow_id = $1 AND status = 'available' AND origin = 's3'
           AND ($2::text IS NULL OR NOT starts_with(image_key, $2))
           AND NOT EXISTS (SELECT FROM assignment_tasks WHERE task_id = tasks.id)",
        workflow.0,
        prefix
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}
