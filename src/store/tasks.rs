//! The pool of work: one row a unit of labeling.

use sqlx::PgConnection;

use crate::{
    domain::{TaskId, WorkflowId},
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

pub async fn any_available(db: &mut PgConnection, workflow: WorkflowId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM tasks WHERE workflow_id = $1 AND status = 'available') AS "any!""#,
        workflow.0
    )
    .fetch_one(db)
    .await
}

/// Takes up to `limit` available tasks out of the pool, in the order of `shuffle`'s draw or of their keys.
/// Needs the workflow's lock: two at once would wait for each other's rows and then find them taken.
pub async fn take_available(
    db: &mut PgConnection,
    lock: &Held,
    workflow: WorkflowId,
    limit: i64,
    shuffle: bool,
) -> sqlx::Result<Vec<TaskId>> {
    debug_assert_eq!(lock.key(), Key::Workflow(workflow.0));
    let ids = if shuffle {
        sqlx::query_scalar!(
            "SELECT id FROM tasks WHERE workflow_id = $1 AND status = 'available' ORDER BY draw LIMIT $2",
            workflow.0,
            limit
        )
        .fetch_all(&mut *db)
        .await?
    } else {
        sqlx::query_scalar!(
            "SELECT id FROM tasks WHERE workflow_id = $1 AND status = 'available' ORDER BY image_key LIMIT $2",
            workflow.0,
            limit
        )
        .fetch_all(&mut *db)
        .await?
    };
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

/// Takes images of a former source out of the pool, as far as nobody ever got them. Needs the workflow's lock:
/// nobody reserves them meanwhile.
pub async fn forget_unassigned_outside(
    db: &mut PgConnection,
    lock: &Held,
    workflow: WorkflowId,
    prefix: &str,
) -> sqlx::Result<u64> {
    debug_assert_eq!(lock.key(), Key::Workflow(workflow.0));
    let forgotten = sqlx::query!(
        "DELETE FROM tasks
         WHERE workflow_id = $1 AND status = 'available' AND origin = 's3' AND NOT starts_with(image_key, $2)
           AND NOT EXISTS (SELECT FROM assignment_tasks WHERE task_id = tasks.id)",
        workflow.0,
        prefix
    )
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}
