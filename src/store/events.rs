//! The audit log: what happened to instances and what was annotated, as one list over both tables.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{Page, Slice};
use crate::domain::{AnnotatorId, AssignmentId, EventKind, EventSource, time};

/// An event; `id` is unique among those of its type.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    #[serde(rename_all = "camelCase")]
    Container {
        id: i64,
        #[schema(value_type = i64)]
        annotator_id: AnnotatorId,
        #[schema(example = "started")]
        event_type: String,
        #[schema(value_type = Object)]
        details: Value,
        #[serde(serialize_with = "time::millis")]
        created_at: DateTime<Utc>,
    },
    #[serde(rename_all = "camelCase")]
    Annotation {
        id: i64,
        #[schema(value_type = i64)]
        annotator_id: AnnotatorId,
        /// `annotation_created`, `annotation_updated` or `annotation_deleted`.
        #[schema(example = "annotation_created")]
        event_type: String,
        /// Null for a task that belongs to no assignment.
        #[schema(value_type = Option<i64>)]
        assignment_id: Option<AssignmentId>,
        ls_annotation_id: i64,
        ls_task_id: Option<i64>,
        ls_project_id: Option<i64>,
        time_spent_ms: Option<i64>,
        // How we came to know of it. (A doc comment here would become a schema beside the enum that no text fits.)
        #[schema(inline)]
        source: EventSource,
        /// When we came to know of it.
        #[serde(serialize_with = "time::millis")]
        created_at: DateTime<Utc>,
    },
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    pub kind: Option<EventKind>,
    pub annotator: Option<AnnotatorId>,
}

/// The newest first; of one instant annotations before containers, then by id. The page is found among times and
/// ids in the order of the indexes, and only its own rows are read. An arm of its own for each source, with an
/// annotator and without, so that each has its index whatever the plan was made for.
pub async fn list(db: &mut PgConnection, filter: Filter, page: Page) -> sqlx::Result<Slice<Event>> {
    let total = count(&mut *db, filter).await?;
    let rows = sqlx::query!(
        r#"WITH page AS (
               SELECT kind, id, created_at FROM (
                   (SELECT 'annotation' AS kind, id, received_at AS created_at FROM annotation_events
                    WHERE $1 AND $3::bigint IS NULL ORDER BY received_at DESC, id DESC LIMIT $6)
                   UNION ALL
                   (SELECT 'annotation', id, received_at FROM annotation_events
                    WHERE $1 AND annotator_id = $3 ORDER BY received_at DESC, id DESC LIMIT $6)
                   UNION ALL
                   (SELECT 'container', id, created_at FROM container_events
                    WHERE $2 AND $3::bigint IS NULL ORDER BY created_at DESC, id DESC LIMIT $6)
                   UNION ALL
                   (SELECT 'container', id, created_at FROM container_events
                    WHERE $2 AND annotator_id = $3 ORDER BY created_at DESC, id DESC LIMIT $6)
               ) AS merged
               ORDER BY created_at DESC, kind, id DESC LIMIT $4 OFFSET $5
           )
           SELECT page.id AS "id!", page.created_at AS "created_at!",
                  COALESCE(a.annotator_id, c.annotator_id) AS "annotator_id!: AnnotatorId",
                  c.event_type AS "container_event?", c.details AS "details?",
                  a.action AS "action?", a.ls_annotation_id AS "ls_annotation_id?", a.ls_task_id, a.ls_project_id,
                  a.lead_time_ms, a.source AS "source?: EventSource",
                  t.assignment_id AS "assignment_id?: AssignmentId"
           FROM page
           LEFT JOIN container_events AS c ON page.kind = 'container' AND c.id = page.id
           LEFT JOIN annotation_events AS a ON page.kind = 'annotation' AND a.id = page.id
           LEFT JOIN assignment_tasks AS t ON t.id = a.assignment_task_id
           ORDER BY page.created_at DESC, page.kind, page.id DESC"#,
        filter.kind != Some(EventKind::Container),
        filter.kind != Some(EventKind::Annotation),
        filter.annotator.map(|id| id.0),
        page.limit,
        page.offset,
        page.offset.saturating_add(page.limit),
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter().filter_map(|row| {
        let (id, annotator_id, created_at) = (row.id, row.annotator_id, row.created_at);
        if let (Some(event_type), Some(details)) = (row.container_event, row.details) {
            return Some(Event::Container { id, annotator_id, event_type, details, created_at });
        }
        Some(Event::Annotation {
            id,
            annotator_id,
            event_type: format!("annotation_{}", row.action?),
            assignment_id: row.assignment_id,
            ls_annotation_id: row.ls_annotation_id?,
            ls_task_id: row.ls_task_id,
            ls_project_id: row.ls_project_id,
            time_spent_ms: row.lead_time_ms,
            source: row.source?,
            created_at,
        })
    });
    Ok(Slice { rows: rows.collect(), total })
}

/// From totals that the tables keep (migration 0037), however many events there are.
async fn count(db: &mut PgConnection, filter: Filter) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT COALESCE(sum(events), 0)::bigint AS "total!" FROM event_totals
           WHERE ($1::text IS NULL OR kind = $1) AND ($2::bigint IS NULL OR annotator_id = $2)"#,
        filter.kind.map(EventKind::as_str),
        filter.annotator.map(|id| id.0),
    )
    .fetch_one(db)
    .await
}
