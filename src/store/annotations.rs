//! Events and annotations as Label Studio tells them, and what follows for the task they belong to.
//!
//! A task's state is derived from the annotations that stand, not from the last event, so that duplicates and
//! events out of order come to the same.

use sqlx::PgConnection;

use crate::domain::{
    AnnotatorId, AssignmentId, AssignmentTaskId, AssignmentTaskState, EventSource,
    event::{Annotation, AnnotationEvent},
};

/// The place in a batch that an event speaks of.
#[derive(Debug, Clone, Copy)]
pub struct Located {
    pub id: AssignmentTaskId,
    pub assignment_id: AssignmentId,
    pub is_gold: bool,
    pub state: AssignmentTaskState,
}

/// Finds and locks the task of an event, among this annotator's own: by the token in its data, by Label Studio's
/// ids, or by an annotation that we hold.
pub async fn locate(
    db: &mut PgConnection,
    annotator: AnnotatorId,
    event: &AnnotationEvent,
) -> sqlx::Result<Option<Located>> {
    sqlx::query_as!(
        Located,
        r#"SELECT assignment_tasks.id AS "id: AssignmentTaskId",
                  assignment_id AS "assignment_id: AssignmentId",
                  gold_task_id IS NOT NULL AS "is_gold!",
                  state AS "state: AssignmentTaskState"
           FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id
           WHERE annotator_id = $1 AND assignment_tasks.id = COALESCE(
               (SELECT id FROM assignment_tasks WHERE token = $2),
               (SELECT assignment_tasks.id
                FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id
                WHERE annotator_id = $1 AND ls_project_id = $3 AND ls_task_id = $4),
               (SELECT assignment_task_id FROM annotations WHERE annotator_id = $1 AND ls_annotation_id = $5))
           FOR UPDATE OF assignment_tasks"#,
        annotator.0,
        event.token,
        event.ls_project_id,
        event.ls_task_id,
        event.annotation_id
    )
    .fetch_optional(db)
    .await
}

/// Keeps an event; false if it was there already.
pub async fn record_event(
    db: &mut PgConnection,
    annotator: AnnotatorId,
    source: EventSource,
    event: &AnnotationEvent,
    task: Option<AssignmentTaskId>,
) -> sqlx::Result<bool> {
    let recorded = sqlx::query!(
        "INSERT INTO annotation_events
             (annotator_id, action, ls_annotation_id, ls_task_id, ls_project_id, assignment_task_id, source,
              lead_time_ms, occurred_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT ON CONSTRAINT annotation_events_once DO NOTHING",
        annotator.0,
        event.action.as_str(),
        event.annotation_id,
        event.ls_task_id,
        event.ls_project_id,
        task.map(|task| task.0),
        source.as_str(),
        event.annotation.as_ref().and_then(|annotation| annotation.lead_time_ms),
        event.occurred_at()
    )
    .execute(db)
    .await?;
    Ok(recorded.rows_affected() == 1)
}

/// Keeps the newest version of an annotation. A deletion that came first stays the last word: Label Studio never
/// gives an id out twice.
pub async fn upsert(
    db: &mut PgConnection,
    annotator: AnnotatorId,
    task: AssignmentTaskId,
    ls_annotation_id: i64,
    annotation: &Annotation,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO annotations
             (annotator_id, ls_annotation_id, assignment_task_id, was_cancelled, lead_time_ms, payload, ls_updated_at,
              deleted_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7,
                 (SELECT min(received_at) FROM annotation_events
                  WHERE annotator_id = $1 AND ls_annotation_id = $2 AND action = 'deleted'))
         ON CONFLICT ON CONSTRAINT annotations_ls_key DO UPDATE
         SET was_cancelled = excluded.was_cancelled, lead_time_ms = excluded.lead_time_ms,
             payload = excluded.payload, ls_updated_at = excluded.ls_updated_at, received_at = now()
         WHERE annotations.ls_updated_at < excluded.ls_updated_at AND annotations.deleted_at IS NULL",
        annotator.0,
        ls_annotation_id,
        task.0,
        annotation.was_cancelled,
        annotation.lead_time_ms,
        annotation.payload,
        annotation.updated_at
    )
    .execute(db)
    .await?;
    Ok(())
}

pub async fn mark_deleted(
    db: &mut PgConnection,
    annotator: AnnotatorId,
    ls_annotation_id: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE annotations SET deleted_at = now()
         WHERE annotator_id = $1 AND ls_annotation_id = $2 AND deleted_at IS NULL",
        annotator.0,
        ls_annotation_id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Brings a task, its pool row and its assignment's counter to what the standing annotations say; returns the
/// task's state. The caller holds the task's row lock (see [`locate`]).
pub async fn settle(db: &mut PgConnection, task: Located) -> sqlx::Result<AssignmentTaskState> {
    let standing = sqlx::query!(
        r#"SELECT was_cancelled, lead_time_ms, ls_updated_at FROM annotations
           WHERE assignment_task_id = $1 AND deleted_at IS NULL
           ORDER BY was_cancelled, ls_updated_at DESC LIMIT 1"#,
        task.id.0
    )
    .fetch_optional(&mut *db)
    .await?;
    let state = match &standing {
        None => AssignmentTaskState::Open,
        Some(annotation) if annotation.was_cancelled => AssignmentTaskState::Skipped,
        Some(_) => AssignmentTaskState::Done,
    };
    let changed = sqlx::query!(
        "UPDATE assignment_tasks SET state = $2, lead_time_ms = $3, done_at = $4
         WHERE id = $1 AND state <> $2 AND state <> 'released'",
        task.id.0,
        state.as_str(),
        standing.as_ref().and_then(|annotation| annotation.lead_time_ms),
        standing.as_ref().map(|annotation| annotation.ls_updated_at)
    )
    .execute(&mut *db)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(task.state);
    }
    sqlx::query!(
        "UPDATE tasks SET updated_at = now(),
             status = CASE $2 WHEN 'done' THEN 'completed' WHEN 'skipped' THEN 'skipped' ELSE 'assigned' END
         WHERE id = (SELECT task_id FROM assignment_tasks WHERE id = $1)",
        task.id.0,
        state.as_str()
    )
    .execute(&mut *db)
    .await?;
    let finished = |state| i32::from(state != AssignmentTaskState::Open);
    sqlx::query!(
        "UPDATE assignments SET done_count = done_count + $2, updated_at = now() WHERE id = $1 AND $2 <> 0",
        task.assignment_id.0,
        finished(state) - finished(task.state)
    )
    .execute(db)
    .await?;
    Ok(state)
}

/// Which annotations of an assignment we hold, in which version: `(id, updated_at)`.
pub async fn held(
    db: &mut PgConnection,
    assignment: AssignmentId,
) -> sqlx::Result<Vec<(i64, chrono::DateTime<chrono::Utc>)>> {
    let rows = sqlx::query!(
        "SELECT ls_annotation_id, ls_updated_at FROM annotations
         JOIN assignment_tasks ON assignment_tasks.id = assignment_task_id
         WHERE assignment_id = $1 AND deleted_at IS NULL",
        assignment.0
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.ls_annotation_id, row.ls_updated_at)).collect())
}

/// Notes that the annotator is at work; at most one write a minute.
pub async fn touch_annotator(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE annotators SET last_active_at = now()
         WHERE id = $1 AND (last_active_at IS NULL OR last_active_at < now() - interval '1 minute')",
        annotator.0
    )
    .execute(db)
    .await?;
    Ok(())
}
