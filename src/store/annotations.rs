//! Events and annotations as Label Studio tells them, and what follows for the task they belong to.
//!
//! A task's state is derived from the annotations that stand, not from the last event, so that duplicates and
//! events out of order come to the same.
//!
//! Label Studio makes the annotator wait for our answer, so an event costs two statements: [`keep`] stores what
//! was told, and [`settle`] draws the conclusion. An annotator's events are taken in one after the other (the caller
//! shows the lock), and whoever changes a batch and its tasks locks the batch first.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    domain::{
        AnnotatorId, AssignmentId, AssignmentTaskId, AssignmentTaskState, EventSource, event::AnnotationEvent,
    },
    lock::{Held, Key},
};

/// What keeping an event came to.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// False: the event was there already, and nothing was changed.
    pub is_new: bool,
    /// The place in a batch that the event speaks of; none if it is in no batch of this annotator.
    pub task: Option<AssignmentTaskId>,
    /// The annotator was last seen at work a while ago: see [`note_at_work`].
    pub was_away: bool,
}

/// Keeps an event, once, and with it the newest version of its annotation; locks the batch that it belongs to.
///
/// The task is found among this annotator's own: by the token in its data, by Label Studio's ids, or by an
/// annotation that we hold. A deletion stays the last word, also when it came before its annotation: Label Studio
/// never gives an id out twice.
pub async fn keep(
    db: &mut PgConnection,
    lock: &Held,
    annotator: AnnotatorId,
    source: EventSource,
    event: &AnnotationEvent,
) -> sqlx::Result<Kept> {
    debug_assert_eq!(lock.key(), Key::Events(annotator.0));
    let annotation = event.annotation.as_ref();
    sqlx::query_as!(
        Kept,
        r#"WITH place AS (
               SELECT id, assignment_id FROM assignment_tasks WHERE id = COALESCE(
                   (SELECT id FROM assignment_tasks WHERE token = $2),
                   (SELECT assignment_tasks.id
                    FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id
                    WHERE annotator_id = $1 AND ls_project_id = $3 AND ls_task_id = $4),
                   (SELECT assignment_task_id FROM annotations WHERE annotator_id = $1 AND ls_annotation_id = $5))
           ), batch AS (
               SELECT id FROM assignments
               WHERE id = (SELECT assignment_id FROM place) AND annotator_id = $1
               FOR NO KEY UPDATE
           ), task AS (
               SELECT place.id FROM place JOIN batch ON batch.id = assignment_id
           ), event AS (
               INSERT INTO annotation_events
                   (annotator_id, action, ls_annotation_id, ls_task_id, ls_project_id, assignment_task_id, source,
                    lead_time_ms, was_cancelled, occurred_at)
               VALUES ($1, $6, $5, $4, $3, (SELECT id FROM task), $7, $8, COALESCE($10, false), $9)
               ON CONFLICT ON CONSTRAINT annotation_events_once DO NOTHING
               RETURNING id
           ), annotation AS (
               INSERT INTO annotations
                   (annotator_id, ls_annotation_id, assignment_task_id, was_cancelled, lead_time_ms, payload,
                    ls_updated_at, deleted_at)
               SELECT $1, $5, task.id, $10, $8, $11, $9,
                      (SELECT min(received_at) FROM annotation_events
                       WHERE annotator_id = $1 AND ls_annotation_id = $5 AND action = 'deleted')
               FROM task, event WHERE $11::jsonb IS NOT NULL
               ON CONFLICT ON CONSTRAINT annotations_ls_key DO UPDATE
               SET was_cancelled = excluded.was_cancelled, lead_time_ms = excluded.lead_time_ms,
                   payload = excluded.payload, ls_updated_at = excluded.ls_updated_at, received_at = now()
               WHERE annotations.ls_updated_at < excluded.ls_updated_at
           )
           SELECT EXISTS (SELECT FROM event) AS "is_new!", (SELECT id FROM task) AS "task: AssignmentTaskId",
                  EXISTS (SELECT FROM annotators WHERE id = $1
                            AND (last_active_at IS NULL OR last_active_at < now() - interval '1 minute'))
                      AS "was_away!""#,
        annotator.0,
        event.token,
        event.ls_project_id,
        event.ls_task_id,
        event.annotation_id,
        event.action.as_str(),
        source.as_str(),
        annotation.and_then(|annotation| annotation.lead_time_ms),
        event.occurred_at(),
        annotation.map(|annotation| annotation.was_cancelled),
        annotation.map(|annotation| &annotation.payload) as Option<&serde_json::Value>
    )
    .fetch_one(db)
    .await
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

/// Notes that the annotator is at work: last in a transaction, as other work waits for the row.
pub async fn note_at_work(db: &mut PgConnection, annotator: AnnotatorId) -> sqlx::Result<()> {
    sqlx::query!("UPDATE annotators SET last_active_at = now() WHERE id = $1", annotator.0)
        .execute(db)
        .await?;
    Ok(())
}

/// What became of a task.
#[derive(Debug, Clone, Copy)]
pub struct Settled {
    pub assignment_id: AssignmentId,
    pub is_gold: bool,
    /// A reviewer's decision is kept for it.
    pub is_reviewed: bool,
    pub before: AssignmentTaskState,
    pub after: AssignmentTaskState,
    /// Nothing in its batch is open, or was when the batch was completed.
    pub is_batch_over: bool,
}

/// Brings a task, its pool row and its batch's counter to what the standing annotations say. What is taken back in a
/// batch that was cancelled goes to the pool. The caller holds the batch's row lock (see [`keep`]).
pub async fn settle(db: &mut PgConnection, task: AssignmentTaskId) -> sqlx::Result<Settled> {
    sqlx::query_as!(
        Settled,
        r#"WITH standing AS (
               SELECT was_cancelled, lead_time_ms AS lead, ls_updated_at AS at FROM annotations
               WHERE assignment_task_id = $1 AND deleted_at IS NULL
               ORDER BY was_cancelled, ls_updated_at DESC, ls_annotation_id DESC LIMIT 1
           ), task AS (
               SELECT assignment_tasks.id, assignment_id, task_id, gold_task_id, review_decision,
                      state AS before, lead, at,
                      CASE WHEN state = 'released' THEN state
                           WHEN was_cancelled THEN 'skipped'
                           WHEN NOT was_cancelled THEN 'done'
                           WHEN status IN ('cancelled', 'failed') THEN 'released'
                           ELSE 'open' END AS after
               FROM assignment_tasks
               JOIN assignments ON assignments.id = assignment_id
               LEFT JOIN standing ON true
               WHERE assignment_tasks.id = $1
           ), changed AS (
               UPDATE assignment_tasks
               SET state = after, lead_time_ms = lead, done_at = at,
                   released_at = CASE WHEN after = 'released' THEN now() END
               FROM task
               WHERE assignment_tasks.id = task.id AND before <> 'released'
                 AND (before <> after OR (lead_time_ms, done_at) IS DISTINCT FROM (lead, at))
           ), pool AS (
               UPDATE tasks SET updated_at = now(),
                   status = CASE after WHEN 'done' THEN 'completed' WHEN 'skipped' THEN 'skipped'
                                       WHEN 'released' THEN 'available' ELSE 'assigned' END
               FROM task WHERE tasks.id = task.task_id AND before <> after
           ), counted AS (
               UPDATE assignments SET active_at = now(),
                   updated_at = CASE WHEN before = after THEN updated_at ELSE now() END,
                   done_count = done_count + (after IN ('done', 'skipped'))::integer
                                           - (before IN ('done', 'skipped'))::integer
               FROM task WHERE assignments.id = task.assignment_id
               RETURNING done_count
           )
           SELECT assignment_id AS "assignment_id: AssignmentId", gold_task_id IS NOT NULL AS "is_gold!",
                  review_decision IS NOT NULL AS "is_reviewed!",
                  before AS "before: AssignmentTaskState", after AS "after!: AssignmentTaskState",
                  status = 'completed' OR (SELECT done_count FROM counted) = task_count + gold_task_count
                      AS "is_batch_over!"
           FROM task JOIN assignments ON assignments.id = assignment_id"#,
        task.0
    )
    .fetch_one(db)
    .await
}

/// An annotation that stands, as far as we know.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    pub ls_annotation_id: i64,
    pub ls_task_id: i64,
    pub ls_updated_at: DateTime<Utc>,
}

/// Which annotations of an assignment we hold, as far as their tasks are in Label Studio.
pub async fn standing(db: &mut PgConnection, assignment: AssignmentId) -> sqlx::Result<Vec<Standing>> {
    sqlx::query_as!(
        Standing,
        r#"SELECT ls_annotation_id, ls_task_id AS "ls_task_id!", ls_updated_at FROM annotations
           JOIN assignment_tasks ON assignment_tasks.id = assignment_task_id
           WHERE assignment_id = $1 AND deleted_at IS NULL AND ls_task_id IS NOT NULL"#,
        assignment.0
    )
    .fetch_all(db)
    .await
}
