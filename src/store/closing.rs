//! Batches that end before all of their tasks are done: reclaimed when nothing happens in them, and closed, which is
//! the end of their project in Label Studio.

use std::time::Duration;

use sqlx::PgConnection;

use crate::domain::{AnnotatorId, AssignmentId, AssignmentStatus, JobRef};

/// Open batches of which nothing was heard for `idle`, the quietest first.
pub async fn idle(db: &mut PgConnection, idle: Duration) -> sqlx::Result<Vec<AssignmentId>> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: AssignmentId" FROM assignments
           WHERE status IN ('pending', 'in_progress') AND active_at < now() - make_interval(secs => $1)
           ORDER BY active_at"#,
        idle.as_secs_f64()
    )
    .fetch_all(db)
    .await
}

/// pending | in_progress -> completed | cancelled, if the batch is idle still: what is open goes back to the pool, and
/// the batch shrinks to what is done; with nothing done, gold aside, it is cancelled. None: it is over, or something has just happened in it (whoever answers holds
/// the batch's row, and their answer is seen here).
pub async fn reclaim(
    db: &mut PgConnection,
    id: AssignmentId,
    idle: Duration,
    job: JobRef,
) -> sqlx::Result<Option<AssignmentStatus>> {
    let locked = sqlx::query!(
        "SELECT FROM assignments
         WHERE id = $1 AND status IN ('pending', 'in_progress') AND active_at < now() - make_interval(secs => $2)
         FOR NO KEY UPDATE",
        id.0,
        idle.as_secs_f64()
    )
    .fetch_optional(&mut *db)
    .await?;
    if locked.is_none() {
        return Ok(None);
    }
    release(db, &[id.0], Some(job)).await?;
    sqlx::query_scalar!(
        r#"UPDATE assignments
           SET status = CASE WHEN is_work THEN 'completed' ELSE 'cancelled' END,
               completed_at = CASE WHEN is_work THEN now() END,
               task_count = CASE WHEN is_work THEN done.tasks ELSE task_count END,
               gold_task_count = CASE WHEN is_work THEN done.gold ELSE gold_task_count END,
               status_reason = 'reclaimed: nothing happened in it since '
                               || to_char(active_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
               reclaimed_at = now(), updated_at = clock_timestamp()
           FROM (SELECT count(task_id)::integer AS tasks, count(gold_task_id)::integer AS gold,
                        count(task_id) > 0 AS is_work
                 FROM assignment_tasks WHERE assignment_id = $1 AND state IN ('done', 'skipped')) AS done
           WHERE id = $1 AND status IN ('pending', 'in_progress')
           RETURNING status AS "status: AssignmentStatus""#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// pending | in_progress -> cancelled: what nobody has labeled goes back to the pool, what is done stays done.
/// None if it was in another state.
pub async fn cancel(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Option<AnnotatorId>> {
    let annotator = sqlx::query_scalar!(
        r#"UPDATE assignments SET status = 'cancelled', updated_at = now()
           WHERE id = $1 AND status IN ('pending', 'in_progress')
           RETURNING annotator_id AS "id: AnnotatorId""#,
        id.0
    )
    .fetch_optional(&mut *db)
    .await?;
    if annotator.is_some() {
        release(db, &[id.0], None).await?;
    }
    Ok(annotator)
}

/// [`cancel`]s whatever these annotators have in hand.
pub async fn cancel_open_of(db: &mut PgConnection, annotators: &[AnnotatorId]) -> sqlx::Result<()> {
    let annotators: Vec<i64> = annotators.iter().map(|id| id.0).collect();
    let cancelled = sqlx::query_scalar!(
        "UPDATE assignments SET status = 'cancelled', updated_at = now()
         WHERE annotator_id = ANY($1) AND status IN ('pending', 'in_progress') RETURNING id",
        &annotators
    )
    .fetch_all(&mut *db)
    .await?;
    release(db, &cancelled, None).await?;
    Ok(())
}

/// Gives the open tasks of a batch that is over back to the pool; returns how many those are.
pub async fn release_stranded(db: &mut PgConnection, id: AssignmentId, job: JobRef) -> sqlx::Result<usize> {
    let locked = sqlx::query!(
        "SELECT FROM assignments WHERE id = $1 AND status IN ('completed', 'failed', 'cancelled')
         FOR NO KEY UPDATE",
        id.0
    )
    .fetch_optional(&mut *db)
    .await?;
    if locked.is_some() { release(db, &[id.0], Some(job)).await } else { Ok(0) }
}

/// Gives the open tasks of batches back to the pool; returns how many places were open. Whoever calls holds the
/// batches' rows.
async fn release(db: &mut PgConnection, ids: &[i64], job: Option<JobRef>) -> sqlx::Result<usize> {
    let freed = sqlx::query_scalar!(
        "UPDATE assignment_tasks SET state = 'released', released_at = now(), released_by_job = $2
         WHERE assignment_id = ANY($1) AND state = 'open' RETURNING task_id",
        ids,
        job.map(|job| job.0)
    )
    .fetch_all(&mut *db)
    .await?;
    let places = freed.len();
    let freed: Vec<i64> = freed.into_iter().flatten().collect();
    sqlx::query!(
        "UPDATE tasks SET status = 'available', updated_at = now() WHERE id = ANY($1) AND status = 'assigned'",
        &freed
    )
    .execute(db)
    .await?;
    Ok(places)
}

/// Batches of an active annotator that are over and whose projects may still be there.
pub async fn to_close(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<Vec<AssignmentId>> {
    sqlx::query_scalar!(
        r#"SELECT assignments.id AS "id: AssignmentId" FROM assignments
           JOIN annotators ON annotators.id = annotator_id
           WHERE annotator_id = $1 AND annotators.status = 'active' AND closed_at IS NULL
             AND (assignments.status IN ('cancelled', 'failed') OR reclaimed_at IS NOT NULL)
           ORDER BY assignments.id"#,
        annotator.0
    )
    .fetch_all(db)
    .await
}

/// A batch that is to be closed.
#[derive(Debug)]
pub struct Closing {
    pub annotator_id: AnnotatorId,
    pub ls_project_id: Option<i64>,
}

/// None: it goes on, or is closed.
pub async fn closing(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<Option<Closing>> {
    sqlx::query_as!(
        Closing,
        r#"SELECT annotator_id AS "annotator_id: AnnotatorId", ls_project_id FROM assignments
           WHERE id = $1 AND closed_at IS NULL
             AND (status IN ('cancelled', 'failed') OR reclaimed_at IS NOT NULL)"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// Its project is gone.
pub async fn set_closed(db: &mut PgConnection, id: AssignmentId) -> sqlx::Result<()> {
    sqlx::query!("UPDATE assignments SET closed_at = now() WHERE id = $1 AND closed_at IS NULL", id.0)
        .execute(db)
        .await?;
    Ok(())
}
