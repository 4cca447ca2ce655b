//! Tasks as operators see them: lists, and what became of one from its making to its export.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Page, Slice};
use crate::domain::{AnnotatorId, AssignmentId, TaskId, TaskStatus, WorkflowId, time};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    #[schema(value_type = i64)]
    pub id: TaskId,
    pub uid: Uuid,
    #[schema(value_type = i64)]
    pub workflow_id: WorkflowId,
    /// `s3`: an image of the workflow's source; `upstream`: work that was done elsewhere; `rework`: work that was
    /// rejected.
    #[schema(example = "s3")]
    pub origin: String,
    pub image_key: String,
    #[schema(inline)]
    pub status: TaskStatus,
    /// How often this piece of work was rejected before.
    pub iteration: i32,
    /// The task whose work this one goes on with.
    #[schema(value_type = Option<i64>)]
    pub source_task_id: Option<TaskId>,
    /// The assignment that holds it, and whose that is.
    #[schema(value_type = Option<i64>)]
    pub assignment_id: Option<AssignmentId>,
    #[schema(value_type = Option<i64>)]
    pub annotator_id: Option<AnnotatorId>,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time::millis")]
    pub updated_at: DateTime<Utc>,
}

/// Something that happened to a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskEvent {
    /// `created`, `assigned`, `published`, `labeled`, `skipped`, `unlabeled` (its annotation was deleted), `scored`
    /// (the gold beside it in its batch), `accepted`, `rejected`, `routed`, `reworked`, `exported`, `released`.
    #[schema(example = "labeled")]
    pub event: String,
    #[serde(serialize_with = "time::millis")]
    pub at: DateTime<Utc>,
    #[schema(value_type = Option<i64>)]
    pub annotator_id: Option<AnnotatorId>,
    pub annotator_name: Option<String>,
    #[schema(value_type = Option<i64>)]
    pub assignment_id: Option<AssignmentId>,
    /// The job that did it; null where a person or Label Studio did.
    pub job_id: Option<i64>,
    #[schema(example = "export_assignment")]
    pub job_kind: Option<String>,
    #[schema(value_type = Object)]
    pub details: Value,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    pub workflow: Option<WorkflowId>,
    pub status: Option<TaskStatus>,
    /// Who holds it.
    pub annotator: Option<AnnotatorId>,
    /// What holds it.
    pub assignment: Option<AssignmentId>,
}

/// The newest first.
pub async fn list(db: &mut PgConnection, filter: Filter, page: Page) -> sqlx::Result<Slice<Task>> {
    let (workflow, status) = (filter.workflow.map(|id| id.0), filter.status.map(TaskStatus::as_str));
    let (annotator, assignment) = (filter.annotator.map(|id| id.0), filter.assignment.map(|id| id.0));
    let total = sqlx::query_scalar!(
        // Tasks that nobody is asked about are counted in an index, without looking for who holds them.
        r#"SELECT CASE WHEN $3::bigint IS NULL AND $4::bigint IS NULL THEN
               (SELECT count(*) FROM tasks
                WHERE ($1::bigint IS NULL OR workflow_id = $1) AND ($2::text IS NULL OR status = $2))
           ELSE
               (SELECT count(*)
                FROM assignments
                JOIN assignment_tasks ON assignment_id = assignments.id AND state <> 'released'
                JOIN tasks ON tasks.id = task_id
                WHERE ($1::bigint IS NULL OR tasks.workflow_id = $1) AND ($2::text IS NULL OR tasks.status = $2)
                  AND ($3::bigint IS NULL OR annotator_id = $3) AND ($4::bigint IS NULL OR assignments.id = $4))
           END AS "total!""#,
        workflow,
        status,
        annotator,
        assignment
    )
    .fetch_one(&mut *db)
    .await?;
    let ids = sqlx::query_scalar!(
        r#"SELECT tasks.id FROM tasks
           LEFT JOIN assignment_tasks ON task_id = tasks.id AND state <> 'released'
           LEFT JOIN assignments ON assignments.id = assignment_id
           WHERE ($1::bigint IS NULL OR tasks.workflow_id = $1) AND ($2::text IS NULL OR tasks.status = $2)
             AND ($3::bigint IS NULL OR annotator_id = $3) AND ($4::bigint IS NULL OR assignments.id = $4)
           ORDER BY tasks.id DESC LIMIT $5 OFFSET $6"#,
        workflow,
        status,
        annotator,
        assignment,
        page.limit,
        page.offset
    )
    .fetch_all(&mut *db)
    .await?;
    Ok(Slice { rows: select(db, &ids).await?, total })
}

/// The task, the one it goes on with, and those that go on with it: the task first, the others by id.
pub async fn family(db: &mut PgConnection, id: TaskId) -> sqlx::Result<Vec<Task>> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM tasks
         WHERE id IN (SELECT $1 UNION SELECT source_task_id FROM tasks WHERE id = $1
                      UNION SELECT id FROM tasks WHERE source_task_id = $1)
         ORDER BY id <> $1, id",
        id.0
    )
    .fetch_all(&mut *db)
    .await?;
    select(db, &ids).await
}

/// These tasks, in this order.
async fn select(db: &mut PgConnection, ids: &[i64]) -> sqlx::Result<Vec<Task>> {
    sqlx::query_as!(
        Task,
        r#"SELECT tasks.id AS "id: TaskId", uid, tasks.workflow_id AS "workflow_id: WorkflowId", origin, image_key,
                  tasks.status AS "status: TaskStatus", iteration, source_task_id AS "source_task_id: TaskId",
                  assignments.id AS "assignment_id?: AssignmentId", annotator_id AS "annotator_id?: AnnotatorId",
                  tasks.created_at, tasks.updated_at
           FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (id, place)
           JOIN tasks ON tasks.id = wanted.id
           LEFT JOIN assignment_tasks ON task_id = tasks.id AND state <> 'released'
           LEFT JOIN assignments ON assignments.id = assignment_id
           ORDER BY place"#,
        ids
    )
    .fetch_all(db)
    .await
}

/// All that happened to a task, the oldest first. An event's own time counts, which for annotations is that of Label
/// Studio's clock.
pub async fn history(db: &mut PgConnection, id: TaskId) -> sqlx::Result<Vec<TaskEvent>> {
    sqlx::query_as!(
        TaskEvent,
        r#"WITH places AS (
               SELECT assignment_tasks.id AS place_id, assignment_id, state, released_at, released_by_job, annotator_id,
                      assignments.created_at, assigned_by_job, published_at, published_by_job, export_key,
                      exported_at, exported_by_job, reclaimed_at, assignments.updated_at
               FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id
               WHERE task_id = $1
           ), follow_ups AS (
               SELECT tasks.id AS task_id, origin, state, done_at, review_decision, annotator_id, assignment_id
               FROM tasks
               JOIN assignment_tasks ON task_id = tasks.id
               JOIN assignments ON assignments.id = assignment_id
               WHERE source_task_id = $1
           ), history (rank, event, at, annotator_id, assignment_id, job_id, job_kind, details) AS (
               SELECT 0, 'created', created_at, NULL::bigint, NULL::bigint, NULL::bigint, NULL::text,
                      jsonb_build_object('origin', origin, 'sourceTaskId', source_task_id)
               FROM tasks WHERE id = $1
               UNION ALL
               SELECT 1, 'assigned', created_at, annotator_id, assignment_id, assigned_by_job, 'assign_batch', '{}'
               FROM places
               UNION ALL
               SELECT 2, 'published', published_at, annotator_id, assignment_id, published_by_job,
                      'publish_assignment', '{}'
               FROM places WHERE published_at IS NOT NULL AND state <> 'released'
               UNION ALL
               SELECT 3, CASE WHEN events.action = 'deleted' THEN 'unlabeled'
                              WHEN events.was_cancelled THEN 'skipped' ELSE 'labeled' END,
                      COALESCE(occurred_at, events.received_at), places.annotator_id, assignment_id, NULL, NULL,
                      jsonb_build_object('action', events.action, 'source', source, 'annotationId', annotations.id,
                                         'leadTimeMs', events.lead_time_ms)
               FROM places
               JOIN annotations ON assignment_task_id = place_id
               JOIN annotation_events AS events ON events.annotator_id = annotations.annotator_id
                                               AND events.ls_annotation_id = annotations.ls_annotation_id
               UNION ALL
               SELECT 4, 'scored', max(evaluated_at), places.annotator_id, places.assignment_id,
                      (array_agg(job_id ORDER BY evaluated_at DESC))[1], 'score_gold',
                      jsonb_build_object('goldScore', avg(score), 'goldTasks', count(score),
                                         'goldSkipped', count(*) FILTER (WHERE skipped))
               FROM places JOIN gold_results ON gold_results.assignment_id = places.assignment_id
               WHERE state <> 'released'
               GROUP BY places.annotator_id, places.assignment_id
               UNION ALL
               SELECT 5, 'accepted', done_at, annotator_id, assignment_id, NULL, NULL,
                      jsonb_build_object('taskId', task_id)
               FROM follow_ups WHERE review_decision = 'accept' AND done_at IS NOT NULL
               UNION ALL
               SELECT 5, 'rejected', created_at, reviewer_annotator_id, reviewer_assignment_id, NULL, NULL,
                      jsonb_build_object('rejectionId', id, 'reason', reason, 'iteration', iteration,
                                         'status', status)
               FROM rejections WHERE task_id = $1
               UNION ALL
               SELECT 6, 'routed', routed_at, original_annotator_id, original_assignment_id, job_id,
                      'route_rejection',
                      jsonb_build_object('rejectionId', id, 'actionTaken', action_taken, 'status', status,
                                         'archiveKey', archive_key)
               FROM rejections WHERE task_id = $1 AND routed_at IS NOT NULL
               UNION ALL
               SELECT 7, 'reworked', done_at, annotator_id, assignment_id, NULL, NULL,
                      jsonb_build_object('taskId', task_id)
               FROM follow_ups WHERE origin = 'rework' AND state = 'done'
               UNION ALL
               SELECT 8, 'exported', exported_at, annotator_id, assignment_id, exported_by_job, 'export_assignment',
                      jsonb_build_object('exportKey', export_key)
               FROM places WHERE exported_at IS NOT NULL AND state <> 'released'
               UNION ALL
               SELECT 9, 'released', COALESCE(released_at, updated_at), annotator_id, assignment_id,
                      -- A batch that is reclaimed is marked with its tasks; whatever else is released, reconciliation found.
                      released_by_job, CASE WHEN released_at = reclaimed_at THEN 'reclaim_idle' ELSE 'reconcile' END, '{}'
               FROM places WHERE state = 'released'
           )
           SELECT event AS "event!", at AS "at!", annotator_id AS "annotator_id: AnnotatorId",
                  name AS "annotator_name?", assignment_id AS "assignment_id: AssignmentId", job_id,
                  CASE WHEN job_id IS NOT NULL THEN job_kind END AS job_kind, details AS "details!"
           FROM history LEFT JOIN annotators ON annotators.id = annotator_id
           ORDER BY at, rank, assignment_id"#,
        id.0
    )
    .fetch_all(db)
    .await
}
