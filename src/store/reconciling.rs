//! What reconciliation compares with the real world, and what it changes that nobody else does.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{AnnotatorId, AnnotatorStatus, AssignmentId, RejectionId};

use super::publishing::Instance;

/// Every Label Studio that should answer.
pub async fn instances(db: &mut PgConnection) -> sqlx::Result<Vec<Instance>> {
    sqlx::query_as!(
        Instance,
        r#"SELECT id AS "annotator_id: AnnotatorId", COALESCE(container_ip, '127.0.0.1') AS "host!",
                  container_port AS "port!", api_token AS "token!", secret_version
           FROM annotators WHERE status = 'active' ORDER BY id"#
    )
    .fetch_all(db)
    .await
}

/// A batch in Label Studio, and what we believe its project to hold.
#[derive(Debug)]
pub struct Believed {
    pub id: AssignmentId,
    pub project: i64,
    /// False: completed a while ago; its answers may still be changed.
    pub is_in_progress: bool,
    pub tasks: i64,
    /// Of these, with an annotation that stands, be it a skip.
    pub finished: i64,
    /// Standing annotations, skips not counted.
    pub annotations: i64,
    pub skips: i64,
    /// Up to which change the project was compared, by Label Studio's clock.
    pub compared_until: Option<DateTime<Utc>>,
}

/// An annotator's batches in progress, and those completed less than `recent` ago.
pub async fn believed(
    db: &mut PgConnection,
    annotator: AnnotatorId,
    recent: Duration,
) -> sqlx::Result<Vec<Believed>> {
    sqlx::query_as!(
        Believed,
        r#"SELECT assignments.id AS "id: AssignmentId", ls_project_id AS "project!",
                  status = 'in_progress' AS "is_in_progress!", compared_until,
                  count(DISTINCT places.id) AS "tasks!",
                  count(DISTINCT annotations.assignment_task_id) AS "finished!",
                  count(annotations.id) FILTER (WHERE NOT was_cancelled) AS "annotations!",
                  count(annotations.id) FILTER (WHERE was_cancelled) AS "skips!"
           FROM assignments
           LEFT JOIN assignment_tasks AS places ON assignment_id = assignments.id AND ls_task_id IS NOT NULL
           LEFT JOIN annotations ON assignment_task_id = places.id AND deleted_at IS NULL
           WHERE assignments.annotator_id = $1 AND ls_project_id IS NOT NULL
             AND (status = 'in_progress'
                  OR status = 'completed' AND reclaimed_at IS NULL
                     AND completed_at > now() - make_interval(secs => $2))
           GROUP BY assignments.id ORDER BY assignments.id"#,
        annotator.0,
        recent.as_secs_f64()
    )
    .fetch_all(db)
    .await
}

/// Up to which change a project was compared with what we hold.
pub async fn set_compared(
    db: &mut PgConnection,
    id: AssignmentId,
    until: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!("UPDATE assignments SET compared_until = $2 WHERE id = $1", id.0, until).execute(db).await?;
    Ok(())
}

/// Forgets the tasks of a batch in progress that its project does not show. Those that were answered stay answered;
/// for the open ones the batch goes in_progress -> pending, to be published again. Returns how many those are.
pub async fn forget_tasks(
    db: &mut PgConnection,
    id: AssignmentId,
    project: i64,
    listed: &[i64],
) -> sqlx::Result<usize> {
    let locked = sqlx::query!(
        "SELECT FROM assignments WHERE id = $1 AND status = 'in_progress' AND ls_project_id = $2
         FOR NO KEY UPDATE",
        id.0,
        project
    )
    .fetch_optional(&mut *db)
    .await?;
    if locked.is_none() {
        return Ok(0);
    }
    let forgotten = sqlx::query_scalar!(
        "UPDATE assignment_tasks SET ls_task_id = NULL
         WHERE assignment_id = $1 AND ls_task_id IS NOT NULL AND ls_task_id <> ALL ($2) RETURNING state",
        id.0,
        listed
    )
    .fetch_all(&mut *db)
    .await?;
    let open = forgotten.iter().filter(|state| *state == "open").count();
    if open > 0 {
        sqlx::query!(
            "UPDATE assignments SET status = 'pending', compared_until = NULL, updated_at = now()
             WHERE id = $1 AND status = 'in_progress'",
            id.0
        )
        .execute(db)
        .await?;
    }
    Ok(open)
}

/// Batches that were completed and never exported, or changed since.
pub async fn unexported(db: &mut PgConnection) -> sqlx::Result<Vec<AssignmentId>> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: AssignmentId" FROM assignments
           WHERE status = 'completed' AND (exported_at IS NULL OR exported_at < updated_at) ORDER BY id"#
    )
    .fetch_all(db)
    .await
}

pub async fn is_unexported(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM assignments WHERE id = $1 AND status = 'completed'
                          AND (exported_at IS NULL OR exported_at < updated_at)) AS "is_unexported!""#,
        id.0
    )
    .fetch_one(db)
    .await
}

/// Active annotators without a batch in hand.
pub async fn without_work(db: &mut PgConnection) -> sqlx::Result<Vec<AnnotatorId>> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: AnnotatorId" FROM annotators
           WHERE status = 'active' AND NOT EXISTS
               (SELECT FROM assignments
                WHERE annotator_id = annotators.id AND status IN ('pending', 'in_progress'))
           ORDER BY id"#
    )
    .fetch_all(db)
    .await
}

/// Active annotators with a batch on its way into Label Studio, or with a project on its way out.
pub async fn with_unfinished_steps(db: &mut PgConnection) -> sqlx::Result<Vec<AnnotatorId>> {
    sqlx::query_scalar!(
        r#"SELECT DISTINCT annotator_id AS "id!: AnnotatorId" FROM assignments
           JOIN annotators ON annotators.id = annotator_id
           WHERE annotators.status = 'active'
             AND (assignments.status = 'pending'
                  OR closed_at IS NULL
                     AND (assignments.status IN ('cancelled', 'failed') OR reclaimed_at IS NOT NULL))"#
    )
    .fetch_all(db)
    .await
}

/// Batches that are over and still hold open tasks.
pub async fn over_with_open_tasks(db: &mut PgConnection) -> sqlx::Result<Vec<AssignmentId>> {
    sqlx::query_scalar!(
        r#"SELECT DISTINCT assignment_id AS "id!: AssignmentId" FROM assignment_tasks
           JOIN assignments ON assignments.id = assignment_id
           WHERE state = 'open' AND status IN ('completed', 'failed', 'cancelled')"#
    )
    .fetch_all(db)
    .await
}

/// Rejections that wait to be routed, and the batches that they were made in.
pub async fn unrouted(db: &mut PgConnection) -> sqlx::Result<Vec<(RejectionId, AssignmentId)>> {
    let waiting = sqlx::query!(
        r#"SELECT id AS "id: RejectionId", reviewer_assignment_id AS "batch: AssignmentId"
           FROM rejections WHERE status = 'pending' ORDER BY id"#
    )
    .fetch_all(db)
    .await?;
    Ok(waiting.into_iter().map(|waiting| (waiting.id, waiting.batch)).collect())
}

/// Puts tasks back into the pool that are assigned and in no batch; returns how many.
pub async fn free_tasks_of_no_batch(db: &mut PgConnection) -> sqlx::Result<u64> {
    let freed = sqlx::query!(
        "UPDATE tasks SET status = 'available', updated_at = now()
         WHERE id IN (SELECT id FROM tasks WHERE status = 'assigned' AND NOT EXISTS
                          (SELECT FROM assignment_tasks WHERE task_id = tasks.id AND state <> 'released')
                      ORDER BY id FOR UPDATE SKIP LOCKED)"
    )
    .execute(db)
    .await?;
    Ok(freed.rows_affected())
}

/// An instance that is on its way somewhere, or should be gone.
#[derive(Debug)]
pub struct Unsettled {
    pub id: AnnotatorId,
    pub status: AnnotatorStatus,
    /// For longer than anything takes.
    pub is_overdue: bool,
}

pub async fn unsettled(db: &mut PgConnection, bound: Duration) -> sqlx::Result<Vec<Unsettled>> {
    sqlx::query_as!(
        Unsettled,
        r#"SELECT id AS "id: AnnotatorId", status AS "status: AnnotatorStatus",
                  status_at < now() - make_interval(secs => $1) AS "is_overdue!"
           FROM annotators
           WHERE status IN ('starting', 'stopping') OR (status = 'deleted' AND container_id IS NOT NULL)
           ORDER BY id"#,
        bound.as_secs_f64()
    )
    .fetch_all(db)
    .await
}

/// active -> starting, for an instance that was found gone or silent.
pub async fn active_to_starting(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<bool> {
    let changed = sqlx::query!(
        "UPDATE annotators SET status = 'starting', status_at = now(), updated_at = now()
         WHERE id = $1 AND status = 'active'",
        annotator.0
    )
    .execute(db)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Keeps since when an active annotator's instance does not answer.
pub async fn note_silence(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE annotators SET silent_since = now()
         WHERE id = $1 AND status = 'active' AND silent_since IS NULL",
        annotator.0
    )
    .execute(db)
    .await
    .map(drop)
}

pub async fn note_answer(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE annotators SET silent_since = NULL WHERE id = $1 AND silent_since IS NOT NULL",
        annotator.0
    )
    .execute(db)
    .await
    .map(drop)
}

/// Whether an active annotator's instance has not answered for so long.
pub async fn is_silent(db: &mut PgConnection, annotator: AnnotatorId, bound: Duration) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM annotators
               WHERE id = $1 AND status = 'active' AND silent_since < now() - make_interval(secs => $2)
           ) AS "is!""#,
        annotator.0,
        bound.as_secs_f64()
    )
    .fetch_one(db)
    .await
}
