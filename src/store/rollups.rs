//! Totals that the monitoring reads, so that no answer depends on how many events there are.
//!
//! `annotation_hours` counts what annotators submitted. An annotation counts once, with the earliest version of it
//! that we were told of and that is not a skip: in that version's hour (UTC), with its lead time. So neither an update
//! nor a deletion rewrites history (the work was done, the time was spent), a skip that is labeled later counts then,
//! and what belongs to no assignment of ours never does. Which event came first does not matter: when an earlier
//! version arrives late, the annotation moves.
//!
//! `annotator_gold`, `annotator_assignments` and `annotator_rejections` hold totals of all time by annotator. Triggers keep
//! them (migrations 0008 and 0026), since what they count is written in many places. So do they keep `event_totals`
//! (migration 0037), the total of the audit log.
//!
//! All are sums of what they count, so a correction can tell the difference in one snapshot and add it, while others
//! go on counting.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    domain::{AnnotatorId, event::AnnotationEvent},
    lock::{Held, Key},
};

/// Counts events that were kept just now, each for the first time, for a task of this annotator; deletions and skips
/// among them count nothing. Comes last in its transaction: the hour's row is what all of an annotator's events share.
pub async fn count(
    db: &mut PgConnection,
    annotator: AnnotatorId,
    events: &[&AnnotationEvent],
) -> sqlx::Result<()> {
    let (mut ids, mut actions, mut times, mut leads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for event in events {
        if let Some(annotation) = event.annotation.as_ref().filter(|annotation| !annotation.was_cancelled) {
            ids.push(event.annotation_id);
            actions.push(event.action.as_str().to_owned());
            times.push(annotation.updated_at);
            leads.push(annotation.lead_time_ms);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"WITH told AS (
               SELECT * FROM unnest($2::bigint[], $3::text[], $4::timestamptz[], $5::bigint[])
                   AS told (ls_annotation_id, action, occurred_at, lead_time_ms)
           ), earliest AS (
               SELECT DISTINCT ON (ls_annotation_id) * FROM told ORDER BY ls_annotation_id, occurred_at, action
           ), counted AS (
               SELECT DISTINCT ON (ls_annotation_id) ls_annotation_id, action, occurred_at, lead_time_ms
               FROM annotation_events AS event
               WHERE annotator_id = $1 AND ls_annotation_id = ANY ($2) AND action <> 'deleted'
                 AND NOT was_cancelled AND assignment_task_id IS NOT NULL
                 AND NOT EXISTS (SELECT FROM told WHERE told.ls_annotation_id = event.ls_annotation_id
                                 AND told.action = event.action AND told.occurred_at = event.occurred_at)
               ORDER BY ls_annotation_id, occurred_at, action
           ), moved AS (
               SELECT earliest.occurred_at AS now_at, earliest.lead_time_ms AS now_lead,
                      counted.occurred_at AS before_at, counted.lead_time_ms AS before_lead
               FROM earliest LEFT JOIN counted USING (ls_annotation_id)
               WHERE counted.occurred_at IS NULL
                  OR (earliest.occurred_at, earliest.action) < (counted.occurred_at, counted.action)
           ), change AS (
               SELECT now_at AS occurred_at, now_lead AS lead_time_ms, 1 AS sign FROM moved
               UNION ALL SELECT before_at, before_lead, -1 FROM moved WHERE before_at IS NOT NULL
           )
           INSERT INTO annotation_hours AS kept
           SELECT date_trunc('hour', occurred_at, 'UTC') AS hour, $1, sum(sign), COALESCE(sum(sign * lead_time_ms), 0),
                  COALESCE(sum(sign) FILTER (WHERE lead_time_ms < 10000), 0),
                  COALESCE(sum(sign) FILTER (WHERE lead_time_ms >= 10000 AND lead_time_ms < 30000), 0),
                  COALESCE(sum(sign) FILTER (WHERE lead_time_ms >= 30000 AND lead_time_ms < 60000), 0),
                  COALESCE(sum(sign) FILTER (WHERE lead_time_ms >= 60000), 0)
           FROM change GROUP BY 1 ORDER BY 1
           ON CONFLICT (hour, annotator_id) DO UPDATE
           SET annotations = kept.annotations + excluded.annotations,
               lead_time_ms = kept.lead_time_ms + excluded.lead_time_ms,
               under_10s = kept.under_10s + excluded.under_10s, under_30s = kept.under_30s + excluded.under_30s,
               under_60s = kept.under_60s + excluded.under_60s, from_60s = kept.from_60s + excluded.from_60s"#,
        annotator.0,
        &ids,
        &actions,
        &times as &[DateTime<Utc>],
        &leads as &[Option<i64>]
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Brings an annotator's hours to what the events say; how many hours were wrong. The lock keeps a second correction
/// from adding the same difference again.
pub async fn correct_hours(db: &mut PgConnection, lock: &Held, annotator: AnnotatorId) -> sqlx::Result<u64> {
    debug_assert_eq!(lock.key(), Key::Rollups);
    let corrected = sqlx::query!(
        r#"WITH first_told AS (
               SELECT DISTINCT ON (ls_annotation_id)
                      date_trunc('hour', occurred_at, 'UTC') AS hour, lead_time_ms
               FROM annotation_events
               WHERE annotator_id = $1 AND action <> 'deleted' AND NOT was_cancelled
                 AND assignment_task_id IS NOT NULL
               ORDER BY ls_annotation_id, occurred_at, action
           ), truth AS (
               SELECT hour, count(*) AS annotations, COALESCE(sum(lead_time_ms), 0) AS lead_time_ms,
                      count(*) FILTER (WHERE lead_time_ms < 10000) AS under_10s,
                      count(*) FILTER (WHERE lead_time_ms >= 10000 AND lead_time_ms < 30000) AS under_30s,
                      count(*) FILTER (WHERE lead_time_ms >= 30000 AND lead_time_ms < 60000) AS under_60s,
                      count(*) FILTER (WHERE lead_time_ms >= 60000) AS from_60s
               FROM first_told GROUP BY hour
           ), missing AS (
               SELECT hour, sum(annotations) AS annotations, sum(lead_time_ms) AS lead_time_ms,
                      sum(under_10s) AS under_10s, sum(under_30s) AS under_30s,
                      sum(under_60s) AS under_60s, sum(from_60s) AS from_60s
               FROM (SELECT * FROM truth
                     UNION ALL
                     SELECT hour, -annotations, -lead_time_ms, -under_10s, -under_30s, -under_60s, -from_60s
                     FROM annotation_hours WHERE annotator_id = $1) AS difference
               GROUP BY hour
           )
           INSERT INTO annotation_hours AS kept
           SELECT hour, $1, annotations, lead_time_ms, under_10s, under_30s, under_60s, from_60s FROM missing
           WHERE (annotations, lead_time_ms, under_10s, under_30s, under_60s, from_60s) <> (0, 0, 0, 0, 0, 0)
           ORDER BY hour
           ON CONFLICT (hour, annotator_id) DO UPDATE
           SET annotations = kept.annotations + excluded.annotations,
               lead_time_ms = kept.lead_time_ms + excluded.lead_time_ms,
               under_10s = kept.under_10s + excluded.under_10s, under_30s = kept.under_30s + excluded.under_30s,
               under_60s = kept.under_60s + excluded.under_60s, from_60s = kept.from_60s + excluded.from_60s"#,
        annotator.0
    )
    .execute(db)
    .await?;
    Ok(corrected.rows_affected())
}

/// Brings the totals of gold to what the results say; how many annotators' were wrong.
pub async fn correct_gold(db: &mut PgConnection, lock: &Held) -> sqlx::Result<u64> {
    debug_assert_eq!(lock.key(), Key::Rollups);
    let corrected = sqlx::query!(
        r#"WITH missing AS (
               SELECT annotator_id, sum(evaluations) AS evaluations, sum(skipped) AS skipped,
                      sum(score_sum) AS score_sum
               FROM (SELECT annotator_id, count(score) AS evaluations, count(*) FILTER (WHERE skipped) AS skipped,
                            COALESCE(sum(score::numeric), 0) AS score_sum
                     FROM gold_results GROUP BY annotator_id
                     UNION ALL
                     SELECT annotator_id, -evaluations, -skipped, -score_sum FROM annotator_gold) AS difference
               GROUP BY annotator_id
           )
           INSERT INTO annotator_gold AS kept (annotator_id, evaluations, skipped, score_sum)
           SELECT annotator_id, evaluations, skipped, score_sum FROM missing
           WHERE (evaluations, skipped, score_sum) <> (0, 0, 0)
           ORDER BY annotator_id
           ON CONFLICT (annotator_id) DO UPDATE
           SET evaluations = kept.evaluations + excluded.evaluations, skipped = kept.skipped + excluded.skipped,
               score_sum = kept.score_sum + excluded.score_sum"#
    )
    .execute(db)
    .await?;
    Ok(corrected.rows_affected())
}

/// Brings the totals of assignments to what the assignments say; how many annotators' were wrong.
pub async fn correct_assignments(db: &mut PgConnection, lock: &Held) -> sqlx::Result<u64> {
    debug_assert_eq!(lock.key(), Key::Rollups);
    let corrected = sqlx::query!(
        r#"WITH missing AS (
               SELECT annotator_id, sum(total) AS total, sum(in_progress) AS in_progress,
                      sum(completed) AS completed, sum(cancelled) AS cancelled
               FROM (SELECT annotator_id, count(*) AS total,
                            count(*) FILTER (WHERE status = 'in_progress') AS in_progress,
                            count(*) FILTER (WHERE status = 'completed') AS completed,
                            count(*) FILTER (WHERE status = 'cancelled') AS cancelled
                     FROM assignments GROUP BY annotator_id
                     UNION ALL
                     SELECT annotator_id, -total, -in_progress, -completed, -cancelled
                     FROM annotator_assignments) AS difference
               GROUP BY annotator_id
           )
           INSERT INTO annotator_assignments AS kept (annotator_id, total, in_progress, completed, cancelled)
           SELECT annotator_id, total, in_progress, completed, cancelled FROM missing
           WHERE (total, in_progress, completed, cancelled) <> (0, 0, 0, 0)
           ORDER BY annotator_id
           ON CONFLICT (annotator_id) DO UPDATE
           SET total = kept.total + excluded.total, in_progress = kept.in_progress + excluded.in_progress,
               completed = kept.completed + excluded.completed, cancelled = kept.cancelled + excluded.cancelled"#
    )
    .execute(db)
    .await?;
    Ok(corrected.rows_affected())
}

/// Brings the totals of rejections to what the rejections say; how many annotators' were wrong.
pub async fn correct_rejections(db: &mut PgConnection, lock: &Held) -> sqlx::Result<u64> {
    debug_assert_eq!(lock.key(), Key::Rollups);
    let corrected = sqlx::query!(
        r#"WITH missing AS (
               SELECT annotator_id, sum(rejections) AS rejections, sum(reworks) AS reworks
               FROM (SELECT original_annotator_id AS annotator_id,
                            count(*) FILTER (WHERE status <> 'withdrawn') AS rejections,
                            count(*) FILTER (WHERE is_rework(status, action_taken)) AS reworks
                     FROM rejections GROUP BY original_annotator_id
                     UNION ALL
                     SELECT annotator_id, -rejections, -reworks FROM annotator_rejections) AS difference
               GROUP BY annotator_id
           )
           INSERT INTO annotator_rejections AS kept (annotator_id, rejections, reworks)
           SELECT annotator_id, rejections, reworks FROM missing WHERE (rejections, reworks) <> (0, 0)
           ORDER BY annotator_id
           ON CONFLICT (annotator_id) DO UPDATE
           SET rejections = kept.rejections + excluded.rejections, reworks = kept.reworks + excluded.reworks"#
    )
    .execute(db)
    .await?;
    Ok(corrected.rows_affected())
}

/// Brings the totals of the audit log to what there is of events; how many were wrong, of an annotator's two.
pub async fn correct_events(db: &mut PgConnection, lock: &Held) -> sqlx::Result<u64> {
    debug_assert_eq!(lock.key(), Key::Rollups);
    let corrected = sqlx::query!(
        r#"INSERT INTO event_totals AS kept (annotator_id, kind, events)
           SELECT annotator_id, kind, sum(events)
           FROM (SELECT annotator_id, 'annotation' AS kind, count(*) AS events
                 FROM annotation_events GROUP BY annotator_id
                 UNION ALL
                 SELECT annotator_id, 'container', count(*) FROM container_events GROUP BY annotator_id
                 UNION ALL
                 SELECT annotator_id, kind, -events FROM event_totals) AS difference
           GROUP BY annotator_id, kind HAVING sum(events) <> 0
           ORDER BY annotator_id, kind
           ON CONFLICT (annotator_id, kind) DO UPDATE SET events = kept.events + excluded.events"#
    )
    .execute(db)
    .await?;
    Ok(corrected.rows_affected())
}

/// Every annotator, deleted ones too.
pub async fn annotators(db: &mut PgConnection) -> sqlx::Result<Vec<AnnotatorId>> {
    sqlx::query_scalar!(r#"SELECT id AS "id: AnnotatorId" FROM annotators ORDER BY id"#).fetch_all(db).await
}
