//! Events and annotations as Label Studio tells them, and what follows for the task they belong to.
//!
//! A task's state is derived from the annotations that stand, not from the last event, so that duplicates and
//! events out of order come to the same.
//!
//! Label Studio makes the annotator wait for our answer, so what it tells at once, be it one event or thousands, costs
//! two statements: [`keep`] stores what was told, and [`settle`] draws the conclusion. An annotator's events are taken in one after the other (the caller
//! shows the lock), and whoever changes a batch and its tasks locks the batch first.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

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

/// Keeps events, each once, and with them the newest version of their annotations; locks the batches that they belong
/// to. Tells what became of each, in their order. No two of them may be of the same annotation.
///
/// A task is found among this annotator's own: by the token in its data, by Label Studio's ids, or by an annotation
/// that we hold. A deletion stays the last word, also when it came before its annotation: Label Studio never gives an
/// id out twice.
pub async fn keep(
    db: &mut PgConnection,
    lock: &Held,
    annotator: AnnotatorId,
    source: EventSource,
    events: &[AnnotationEvent],
) -> sqlx::Result<Vec<Kept>> {
    debug_assert_eq!(lock.key(), Key::Events(annotator.0));
    let annotations = || events.iter().map(|event| event.annotation.as_ref());
    let ids: Vec<i64> = events.iter().map(|event| event.annotation_id).collect();
    let actions: Vec<String> = events.iter().map(|event| event.action.as_str().to_owned()).collect();
    let tokens: Vec<Option<Uuid>> = events.iter().map(|event| event.token).collect();
    let tasks: Vec<Option<i64>> = events.iter().map(|event| event.ls_task_id).collect();
    let projects: Vec<Option<i64>> = events.iter().map(|event| event.ls_project_id).collect();
    let times: Vec<Option<DateTime<Utc>>> = events.iter().map(AnnotationEvent::occurred_at).collect();
    let leads: Vec<Option<i64>> = annotations().map(|annotation| annotation?.lead_time_ms).collect();
    let skips: Vec<bool> = annotations().map(|told| told.is_some_and(|told| told.was_cancelled)).collect();
    let payloads: Vec<Option<Json<&Value>>> =
        annotations().map(|annotation| Some(Json(&annotation?.payload))).collect();
    sqlx::query_as!(
        Kept,
        r#"WITH told AS (
               SELECT * FROM unnest($3::bigint[], $4::text[], $5::uuid[], $6::bigint[], $7::bigint[], $8::timestamptz[],
                                    $9::bigint[], $10::boolean[], $11::jsonb[]) WITH ORDINALITY
                   AS told (annotation_id, action, token, ls_task_id, project_id, at, lead, is_skip, payload, nth)
           ), place AS (
               SELECT nth, assignment_tasks.id, assignment_id
               FROM told JOIN assignment_tasks ON assignment_tasks.id = COALESCE(
                   (SELECT id FROM assignment_tasks WHERE token = told.token),
                   (SELECT assignment_tasks.id
                    FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id
                    WHERE annotator_id = $1 AND ls_project_id = project_id
                      AND assignment_tasks.ls_task_id = told.ls_task_id),
                   (SELECT assignment_task_id FROM annotations
                    WHERE annotator_id = $1 AND ls_annotation_id = annotation_id))
           ), batch AS (
               SELECT id FROM assignments
               WHERE id IN (SELECT assignment_id FROM place) AND annotator_id = $1
               ORDER BY id FOR NO KEY UPDATE
           ), task AS (
               SELECT nth, place.id FROM place JOIN batch ON batch.id = assignment_id
           ), event AS (
               INSERT INTO annotation_events
                   (annotator_id, action, ls_annotation_id, ls_task_id, ls_project_id, assignment_task_id, source,
                    lead_time_ms, was_cancelled, occurred_at)
               SELECT $1, action, annotation_id, ls_task_id, project_id, task.id, $2, lead, is_skip, at
               FROM told LEFT JOIN task USING (nth) ORDER BY nth
               ON CONFLICT ON CONSTRAINT annotation_events_once DO NOTHING
               RETURNING ls_annotation_id AS annotation_id
           ), annotation AS (
               INSERT INTO annotations
                   (annotator_id, ls_annotation_id, assignment_task_id, was_cancelled, lead_time_ms, payload,
                    ls_updated_at, deleted_at)
               SELECT $1, annotation_id, task.id, is_skip, lead, payload, at,
                      (SELECT min(received_at) FROM annotation_events
                       WHERE annotator_id = $1 AND ls_annotation_id = annotation_id AND action = 'deleted')
               FROM told JOIN task USING (nth) JOIN event USING (annotation_id)
               WHERE payload IS NOT NULL ORDER BY nth
               ON CONFLICT ON CONSTRAINT annotations_ls_key DO UPDATE
               SET was_cancelled = excluded.was_cancelled, lead_time_ms = excluded.lead_time_ms,
                   payload = excluded.payload, ls_updated_at = excluded.ls_updated_at, received_at = now()
               WHERE annotations.ls_updated_at < excluded.ls_updated_at
           )
           SELECT event.annotation_id IS NOT NULL AS "is_new!", task.id AS "task?: AssignmentTaskId",
                  EXISTS (SELECT FROM annotators WHERE id = $1
                            AND (last_active_at IS NULL OR last_active_at < now() - interval '1 minute'))
                      AS "was_away!"
           FROM told LEFT JOIN task USING (nth) LEFT JOIN event USING (annotation_id)
           ORDER BY nth"#,
        annotator.0,
        source.as_str(),
        &ids,
        &actions,
        &tokens as &[Option<Uuid>],
        &tasks as &[Option<i64>],
        &projects as &[Option<i64>],
        &times as &[Option<DateTime<Utc>>],
        &leads as &[Option<i64>],
        &skips,
        &payloads as &[Option<Json<&Value>>]
    )
    .fetch_all(db)
    .await
}

pub async fn mark_deleted(
    db: &mut PgConnection,
    annotator: AnnotatorId,
    ls_annotation_ids: &[i64],
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE annotations SET deleted_at = now()
         WHERE annotator_id = $1 AND ls_annotation_id = ANY($2) AND deleted_at IS NULL",
        annotator.0,
        ls_annotation_ids
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
    pub place: AssignmentTaskId,
    pub assignment_id: AssignmentId,
    pub is_gold: bool,
    /// A reviewer's decision is kept for it.
    pub is_reviewed: bool,
    pub before: AssignmentTaskState,
    pub after: AssignmentTaskState,
    /// Nothing in its batch is open, or was when the batch was completed.
    pub is_batch_over: bool,
}

/// Brings tasks, their pool rows and their batches' counters to what the standing annotations say. What is taken back in
/// a batch that was cancelled goes to the pool. The caller holds the batches' row locks (see [`keep`]).
pub async fn settle(db: &mut PgConnection, tasks: &[AssignmentTaskId]) -> sqlx::Result<Vec<Settled>> {
    let tasks: Vec<i64> = tasks.iter().map(|task| task.0).collect();
    sqlx::query_as!(
        Settled,
        r#"WITH task AS (
               SELECT assignment_tasks.id, assignment_id, task_id, gold_task_id, review_decision,
                      state AS before, lead, at,
                      CASE WHEN state = 'released' THEN state
                           WHEN was_cancelled THEN 'skipped'
                           WHEN NOT was_cancelled THEN 'done'
                           WHEN status IN ('cancelled', 'failed') THEN 'released'
                           ELSE 'open' END AS after
               FROM assignment_tasks
               JOIN assignments ON assignments.id = assignment_id
               LEFT JOIN LATERAL
                   (SELECT was_cancelled, lead_time_ms AS lead, ls_updated_at AS at FROM annotations
                    WHERE assignment_task_id = assignment_tasks.id AND deleted_at IS NULL
                    ORDER BY was_cancelled, ls_updated_at DESC, ls_annotation_id DESC LIMIT 1) AS standing ON true
               WHERE assignment_tasks.id = ANY($1)
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
                   updated_at = CASE WHEN is_changed THEN now() ELSE updated_at END,
                   done_count = done_count + more_done
               FROM (SELECT assignment_id, bool_or(before <> after) AS is_changed,
                            sum((after IN ('done', 'skipped'))::integer
                                - (before IN ('done', 'skipped'))::integer)::integer AS more_done
                     FROM task GROUP BY assignment_id) AS change
               WHERE assignments.id = assignment_id
               RETURNING assignments.id, done_count
           )
           SELECT task.id AS "place: AssignmentTaskId", assignment_id AS "assignment_id: AssignmentId",
                  gold_task_id IS NOT NULL AS "is_gold!", review_decision IS NOT NULL AS "is_reviewed!",
                  before AS "before: AssignmentTaskState", after AS "after!: AssignmentTaskState",
                  status = 'completed' OR counted.done_count = task_count + gold_task_count AS "is_batch_over!"
           FROM task
           JOIN assignments ON assignments.id = assignment_id
           JOIN counted ON counted.id = assignment_id"#,
        &tasks
    )
    .fetch_all(db)
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
