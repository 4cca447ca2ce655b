//! Figures of throughput. They are read from the totals of [`super::rollups`], so an answer costs the same however
//! many events there are; only the newest events of one annotator are read from the events, by index.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::domain::{AnnotatorId, AnnotatorStatus, time};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HourCount {
    /// When the hour began.
    #[serde(serialize_with = "time::millis")]
    pub hour: DateTime<Utc>,
    /// Annotations submitted in it.
    pub count: i64,
}

/// The hours from `from` to `to`, both among them, and those in which nothing happened too.
pub async fn hours(
    db: &mut PgConnection,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> sqlx::Result<Vec<HourCount>> {
    sqlx::query_as!(
        HourCount,
        r#"SELECT hour AS "hour!", COALESCE(counted.count, 0) AS "count!"
           FROM generate_series($1::timestamptz, $2, interval '1 hour') AS hour
           LEFT JOIN (SELECT hour, sum(annotations)::bigint AS count FROM annotation_hours
                      WHERE hour BETWEEN $1 AND $2 GROUP BY hour) AS counted USING (hour)
           ORDER BY hour"#,
        from,
        to
    )
    .fetch_all(db)
    .await
}

#[derive(Debug)]
pub struct Counts {
    pub active_annotators: i64,
    pub in_progress_assignments: i64,
}

pub async fn counts(db: &mut PgConnection) -> sqlx::Result<Counts> {
    sqlx::query_as!(
        Counts,
        r#"SELECT (SELECT count(*) FROM annotators WHERE status = 'active') AS "active_annotators!",
                  (SELECT COALESCE(sum(in_progress), 0)::bigint FROM annotator_assignments)
                      AS "in_progress_assignments!""#
    )
    .fetch_one(db)
    .await
}

/// An annotator's day.
#[derive(Debug)]
pub struct Summary {
    pub id: AnnotatorId,
    pub name: String,
    pub today_count: i64,
    /// Over those of today's annotations that told a lead time; none where none did.
    pub avg_time_ms: Option<i64>,
    /// Of all time.
    pub completed: i64,
    /// Assignments of all time but cancelled ones.
    pub assigned: i64,
}

/// Of every annotator that is not deleted, the busiest first.
pub async fn summaries(db: &mut PgConnection, today: DateTime<Utc>) -> sqlx::Result<Vec<Summary>> {
    sqlx::query_as!(
        Summary,
        r#"SELECT id AS "id: AnnotatorId", name, COALESCE(annotations, 0)::bigint AS "today_count!",
                  round(lead_time_ms / NULLIF(timed, 0))::bigint AS avg_time_ms,
                  COALESCE(completed, 0) AS "completed!", COALESCE(total - cancelled, 0) AS "assigned!"
           FROM annotators
           LEFT JOIN (SELECT annotator_id, sum(annotations) AS annotations, sum(lead_time_ms) AS lead_time_ms,
                             sum(under_10s + under_30s + under_60s + from_60s) AS timed
                      FROM annotation_hours WHERE hour >= $1 GROUP BY annotator_id) AS today
               ON today.annotator_id = id
           LEFT JOIN annotator_assignments ON annotator_assignments.annotator_id = id
           WHERE status <> 'deleted'
           ORDER BY COALESCE(annotations, 0) DESC, name, id"#,
        today
    )
    .fetch_all(db)
    .await
}

/// What the page of one annotator is made of.
#[derive(Debug)]
pub struct Detail {
    pub name: String,
    pub status: AnnotatorStatus,
    /// Since when.
    pub status_at: DateTime<Utc>,
    pub annotations: i64,
    /// Of today, those with an annotation.
    pub hours: i64,
    pub under_10s: i64,
    pub under_30s: i64,
    pub under_60s: i64,
    pub from_60s: i64,
    pub assigned: i64,
    pub completed: i64,
    pub in_progress: i64,
}

/// None for a deleted one, too.
pub async fn detail(
    db: &mut PgConnection,
    id: AnnotatorId,
    today: DateTime<Utc>,
) -> sqlx::Result<Option<Detail>> {
    sqlx::query_as!(
        Detail,
        r#"SELECT name, status AS "status: AnnotatorStatus", status_at, annotations AS "annotations!",
                  hours AS "hours!", day.under_10s AS "under_10s!", day.under_30s AS "under_30s!",
                  day.under_60s AS "under_60s!", day.from_60s AS "from_60s!", COALESCE(total, 0) AS "assigned!",
                  COALESCE(completed, 0) AS "completed!", COALESCE(in_progress, 0) AS "in_progress!"
           FROM annotators
           CROSS JOIN (SELECT COALESCE(sum(annotations), 0)::bigint AS annotations,
                              count(*) FILTER (WHERE annotations > 0) AS hours,
                              COALESCE(sum(under_10s), 0)::bigint AS under_10s,
                              COALESCE(sum(under_30s), 0)::bigint AS under_30s,
                              COALESCE(sum(under_60s), 0)::bigint AS under_60s,
                              COALESCE(sum(from_60s), 0)::bigint AS from_60s
                       FROM annotation_hours WHERE annotator_id = $1 AND hour >= $2) AS day
           LEFT JOIN annotator_assignments ON annotator_assignments.annotator_id = id
           WHERE id = $1 AND status <> 'deleted'"#,
        id.0,
        today
    )
    .fetch_optional(db)
    .await
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentEvent {
    /// `annotation_created`, `annotation_updated` or `annotation_deleted`.
    pub event_type: String,
    /// Null where Label Studio named no task, as in a deletion.
    pub ls_task_id: Option<i64>,
    /// The lead time that Label Studio told.
    pub time_spent_ms: Option<i64>,
    /// When it reached us.
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
}

/// The newest first.
pub async fn recent_events(
    db: &mut PgConnection,
    id: AnnotatorId,
    most: i64,
) -> sqlx::Result<Vec<RecentEvent>> {
    sqlx::query_as!(
        RecentEvent,
        r#"SELECT 'annotation_' || action AS "event_type!", ls_task_id, lead_time_ms AS time_spent_ms,
                  received_at AS created_at
           FROM annotation_events WHERE annotator_id = $1 ORDER BY received_at DESC, id DESC LIMIT $2"#,
        id.0,
        most
    )
    .fetch_all(db)
    .await
}
