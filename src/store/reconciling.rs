//! What reconciliation compares with the real world.

use sqlx::PgConnection;

use crate::domain::{AnnotatorId, AssignmentId};

use super::publishing::Instance;

/// Every Label Studio that should answer.
pub async fn instances(db: &mut PgConnection) -> sqlx::Result<Vec<Instance>> {
    sqlx::query_as!(
        Instance,
        r#"SELECT id AS "annotator_id: AnnotatorId", COALESCE(container_ip, '127.0.0.1') AS "host!",
                  container_port AS "port!", api_token AS "token!"
           FROM annotators WHERE status = 'active' ORDER BY id"#
    )
    .fetch_all(db)
    .await
}

/// A batch in someone's hands, and what we believe of it.
#[derive(Debug)]
pub struct InProgress {
    pub id: AssignmentId,
    pub project: i64,
    pub done: i64,
    /// Standing annotations that we hold, skips not counted.
    pub annotations: i64,
    pub skips: i64,
}

pub async fn in_progress(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<Vec<InProgress>> {
    sqlx::query_as!(
        InProgress,
        r#"SELECT assignments.id AS "id: AssignmentId", ls_project_id AS "project!",
                  done_count::bigint AS "done!",
                  count(annotations.id) FILTER (WHERE NOT was_cancelled) AS "annotations!",
                  count(annotations.id) FILTER (WHERE was_cancelled) AS "skips!"
           FROM assignments
           JOIN assignment_tasks ON assignment_id = assignments.id
           LEFT JOIN annotations ON assignment_task_id = assignment_tasks.id AND deleted_at IS NULL
           WHERE assignments.annotator_id = $1 AND status = 'in_progress'
           GROUP BY assignments.id ORDER BY assignments.id"#,
        annotator.0
    )
    .fetch_all(db)
    .await
}

/// Batches that were completed some time ago and never exported.
pub async fn unexported(db: &mut PgConnection) -> sqlx::Result<Vec<AssignmentId>> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: AssignmentId" FROM assignments
           WHERE status = 'completed' AND exported_at IS NULL ORDER BY id"#
    )
    .fetch_all(db)
    .await
}

/// Active annotators without a batch in Label Studio: theirs is pending, or they have none.
pub async fn without_work(db: &mut PgConnection) -> sqlx::Result<Vec<AnnotatorId>> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: AnnotatorId" FROM annotators
           WHERE status = 'active' AND NOT EXISTS
               (SELECT FROM assignments WHERE annotator_id = annotators.id AND status = 'in_progress')
           ORDER BY id"#
    )
    .fetch_all(db)
    .await
}

/// active -> starting, for an instance that was found gone.
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
