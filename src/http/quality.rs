//! `/api/quality`

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{AppState, error::ApiResult, extract::Json};
use crate::{
    domain::{AnnotatorId, monitoring::ratio, settings::ACCURACY_THRESHOLD},
    store::{
        self,
        quality::{self, Evaluation, RecentRejection},
    },
};

const RECENT: i64 = 20;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_quality))
}

/// Over all time. What was never evaluated, or never reviewed, has no rate: null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Quality {
    /// Mean score of all evaluated gold, 0 to 1.
    overall_accuracy: Option<f64>,
    /// The setting `quality.accuracyThreshold`, 0.7 by default.
    accuracy_threshold: f64,
    /// Annotators whose accuracy is below it.
    below_threshold_count: i64,
    /// Reviewed annotations that came back as a task of another workflow, 0 to 1.
    rework_rate: Option<f64>,
    /// Everybody who is not deleted, the least accurate first, those without an evaluation last.
    annotator_scores: Vec<AnnotatorScore>,
    /// The newest 20, the newest first.
    recent_evaluations: Vec<Evaluation>,
    /// The newest 20, the newest first.
    recent_rejections: Vec<RecentRejection>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AnnotatorScore {
    #[schema(value_type = i64)]
    annotator_id: AnnotatorId,
    annotator_name: String,
    /// Mean score of their evaluated gold, 0 to 1.
    accuracy: Option<f64>,
    evaluation_count: i64,
    /// Gold that they skipped: it is in no accuracy.
    skipped_count: i64,
    rejection_count: i32,
    reviewed_count: i32,
    /// `rejectionCount` by `reviewedCount`.
    rejection_rate: Option<f64>,
}

/// Show the quality of the work.
#[utoipa::path(get, path = "/api/quality", tag = "monitoring", responses((status = 200, body = Quality)))]
async fn get_quality(State(state): State<AppState>) -> ApiResult<Json<Quality>> {
    let mut db = state.db().await?;
    let threshold = store::settings::effective(&mut db, &ACCURACY_THRESHOLD).await?;
    let overall = quality::overall(&mut db).await?;
    let mut scores: Vec<AnnotatorScore> = quality::scores(&mut db)
        .await?
        .into_iter()
        .map(|score| AnnotatorScore {
            annotator_id: score.id,
            annotator_name: score.name,
            accuracy: ratio(score.score_sum, score.evaluations as f64),
            evaluation_count: score.evaluations,
            skipped_count: score.skipped,
            rejection_count: score.rejections,
            reviewed_count: score.reviewed,
            rejection_rate: ratio(f64::from(score.rejections), f64::from(score.reviewed)),
        })
        .collect();
    scores.sort_by(|a, b| a.accuracy.unwrap_or(2.0).total_cmp(&b.accuracy.unwrap_or(2.0)));
    let below =
        scores.iter().filter(|score| score.accuracy.is_some_and(|accuracy| accuracy < threshold)).count();
    Ok(Json(Quality {
        overall_accuracy: ratio(overall.score_sum, overall.evaluations as f64),
        accuracy_threshold: threshold,
        below_threshold_count: i64::try_from(below).unwrap_or(i64::MAX),
        rework_rate: ratio(overall.reworks as f64, overall.reviewed as f64),
        annotator_scores: scores,
        recent_evaluations: quality::recent_evaluations(&mut db, RECENT).await?,
        recent_rejections: quality::recent_rejections(&mut db, RECENT).await?,
    }))
}
