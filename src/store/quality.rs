//! Figures of quality, from the totals by annotator; the newest evaluations and rejections are read by index.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::domain::{AnnotatorId, RejectionMode, time};

/// Of all annotators, deleted ones too.
#[derive(Debug)]
pub struct Overall {
    pub evaluations: i64,
    pub score_sum: f64,
    pub reviewed: i64,
    pub reworks: i64,
}

pub async fn overall(db: &mut PgConnection) -> sqlx::Result<Overall> {
    sqlx::query_as!(
        Overall,
        r#"SELECT COALESCE(sum(evaluations), 0)::bigint AS "evaluations!",
                  COALESCE(sum(score_sum), 0)::double precision AS "score_sum!",
                  COALESCE(sum(reviewed_count), 0)::bigint AS "reviewed!",
                  COALESCE(sum(reworks), 0)::bigint AS "reworks!"
           FROM annotators
           LEFT JOIN annotator_gold ON annotator_gold.annotator_id = id
           LEFT JOIN annotator_rejections ON annotator_rejections.annotator_id = id"#
    )
    .fetch_one(db)
    .await
}

#[derive(Debug)]
pub struct Score {
    pub id: AnnotatorId,
    pub name: String,
    pub evaluations: i64,
    pub skipped: i64,
    pub score_sum: f64,
    pub rejections: i32,
    pub reviewed: i32,
}

/// Of every annotator that is not deleted, by name.
pub async fn scores(db: &mut PgConnection) -> sqlx::Result<Vec<Score>> {
    sqlx::query_as!(
        Score,
        r#"SELECT id AS "id: AnnotatorId", name, COALESCE(evaluations, 0) AS "evaluations!",
                  COALESCE(skipped, 0) AS "skipped!", COALESCE(score_sum, 0)::double precision AS "score_sum!",
                  rejection_count AS rejections, reviewed_count AS reviewed
           FROM annotators LEFT JOIN annotator_gold ON annotator_id = id
           WHERE status <> 'deleted' ORDER BY name, id"#
    )
    .fetch_all(db)
    .await
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    #[schema(value_type = i64)]
    pub annotator_id: AnnotatorId,
    pub annotator_name: String,
    /// Its image's key where it has no name.
    pub gold_task_name: String,
    /// From 0 to 1.
    pub score: f64,
    #[serde(serialize_with = "time::millis")]
    pub evaluated_at: DateTime<Utc>,
}

/// The newest first; skipped gold is none.
pub async fn recent_evaluations(db: &mut PgConnection, most: i64) -> sqlx::Result<Vec<Evaluation>> {
    sqlx::query_as!(
        Evaluation,
        r#"SELECT annotator_id AS "annotator_id: AnnotatorId", annotators.name AS annotator_name,
                  COALESCE(gold_tasks.name, s3_image_key) AS "gold_task_name!", score AS "score!", evaluated_at
           FROM gold_results
           JOIN annotators ON annotators.id = annotator_id
           JOIN gold_tasks ON gold_tasks.id = gold_task_id
           WHERE score IS NOT NULL ORDER BY evaluated_at DESC, gold_results.id DESC LIMIT $1"#,
        most
    )
    .fetch_all(db)
    .await
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentRejection {
    #[schema(value_type = i64)]
    pub original_annotator_id: AnnotatorId,
    pub original_annotator_name: String,
    pub reviewer_annotator_name: String,
    pub image_key: String,
    pub reason: Option<String>,
    #[schema(inline)]
    pub action_taken: RejectionMode,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
}

/// The newest first; those that were taken back are none.
pub async fn recent_rejections(db: &mut PgConnection, most: i64) -> sqlx::Result<Vec<RecentRejection>> {
    sqlx::query_as!(
        RecentRejection,
        r#"SELECT original_annotator_id AS "original_annotator_id: AnnotatorId",
                  original.name AS original_annotator_name, reviewer.name AS reviewer_annotator_name, image_key,
                  reason, action_taken AS "action_taken: RejectionMode", rejections.created_at
           FROM rejections
           JOIN annotators AS original ON original.id = original_annotator_id
           JOIN annotators AS reviewer ON reviewer.id = reviewer_annotator_id
           WHERE rejections.status <> 'withdrawn'
           ORDER BY rejections.created_at DESC, rejections.id DESC LIMIT $1"#,
        most
    )
    .fetch_all(db)
    .await
}
