//! `/api/monitoring`

use axum::extract::State;
use chrono::{TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    error::{ApiResult, BadRequest, NotFound},
    extract::{Id, Json},
};
use crate::{
    domain::{
        AnnotatorId, AnnotatorStatus,
        monitoring::{day_start, hour_start, ratio, uptime},
    },
    ops::Error,
    store::monitoring::{self, HourCount, RecentEvent},
};

const RECENT: i64 = 20;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_monitoring)).routes(routes!(get_annotator_monitoring))
}

/// "Today" is the day in UTC. An annotation counts once, when it was first submitted; a skip does not, and neither
/// an update nor a deletion changes what was counted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Monitoring {
    /// Those whose Label Studio runs.
    active_annotators: i64,
    today_annotations: i64,
    in_progress_assignments: i64,
    /// The last 24 hours, the running one last; hours without any have 0.
    annotations_per_hour: Vec<HourCount>,
    /// Everybody who is not deleted, the busiest of today first.
    annotator_summaries: Vec<AnnotatorSummary>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AnnotatorSummary {
    #[schema(value_type = i64)]
    id: AnnotatorId,
    name: String,
    today_count: i64,
    /// Mean lead time of today's annotations in milliseconds; null when none told one.
    avg_time_ms: Option<i64>,
    /// Completed assignments among all but the cancelled ones, 0 to 1; null before the first.
    completion_rate: Option<f64>,
}

/// Show the fleet's throughput.
#[utoipa::path(get, path = "/api/monitoring", tag = "monitoring", responses((status = 200, body = Monitoring)))]
async fn get_monitoring(State(state): State<AppState>) -> ApiResult<Json<Monitoring>> {
    let now = Utc::now();
    let (today, hour) = (day_start(now), hour_start(now));
    let mut db = state.db().await?;
    let counts = monitoring::counts(&mut db).await?;
    let hours = monitoring::hours(&mut db, hour - TimeDelta::hours(23), hour).await?;
    let summaries = monitoring::summaries(&mut db, today).await?;
    Ok(Json(Monitoring {
        active_annotators: counts.active_annotators,
        today_annotations: hours.iter().filter(|hour| hour.hour >= today).map(|hour| hour.count).sum(),
        in_progress_assignments: counts.in_progress_assignments,
        annotations_per_hour: hours,
        annotator_summaries: summaries
            .into_iter()
            .map(|summary| AnnotatorSummary {
                id: summary.id,
                name: summary.name,
                today_count: summary.today_count,
                avg_time_ms: summary.avg_time_ms,
                completion_rate: ratio(summary.completed as f64, summary.assigned as f64),
            })
            .collect(),
    }))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AnnotatorMonitoring {
    annotator: MonitoredAnnotator,
    /// How long the Label Studio has been active, as `4h 32m`; null when it is not.
    #[schema(example = "4h 32m")]
    container_uptime: Option<String>,
    today_annotations: i64,
    /// Today's annotations by those of its hours that have any; 0 of none.
    annotations_per_hour: f64,
    /// Today's annotations by lead time; those without one are in none.
    time_distribution: [TimeBucket; 4],
    assignment_stats: AssignmentStats,
    /// The newest 20, the newest first.
    recent_events: Vec<RecentEvent>,
}

#[derive(Debug, Serialize, ToSchema)]
struct MonitoredAnnotator {
    #[schema(value_type = i64)]
    id: AnnotatorId,
    name: String,
    #[schema(inline)]
    status: AnnotatorStatus,
}

#[derive(Debug, Serialize, ToSchema)]
struct TimeBucket {
    /// `0-10s`, `10-30s`, `30-60s` or `60s+`; the lower bound belongs to it.
    #[schema(value_type = String, example = "0-10s")]
    bucket: &'static str,
    count: i64,
}

/// Of all time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AssignmentStats {
    /// In whatever status.
    total: i64,
    completed: i64,
    in_progress: i64,
}

/// Show an annotator's throughput.
#[utoipa::path(get, path = "/api/monitoring/annotator/{id}", tag = "monitoring", params(("id" = i64, Path)),
    responses((status = 200, body = AnnotatorMonitoring), BadRequest, NotFound))]
async fn get_annotator_monitoring(
    State(state): State<AppState>,
    Id(id): Id<AnnotatorId>,
) -> ApiResult<Json<AnnotatorMonitoring>> {
    let now = Utc::now();
    let mut db = state.db().await?;
    let detail =
        monitoring::detail(&mut db, id, day_start(now)).await?.ok_or(Error::NotFound("Annotator"))?;
    let recent_events = monitoring::recent_events(&mut db, id, RECENT).await?;
    let is_active = detail.status == AnnotatorStatus::Active;
    Ok(Json(AnnotatorMonitoring {
        annotator: MonitoredAnnotator { id, name: detail.name, status: detail.status },
        container_uptime: is_active.then(|| uptime(now - detail.status_at)),
        today_annotations: detail.annotations,
        annotations_per_hour: ratio(detail.annotations as f64, detail.hours as f64).unwrap_or_default(),
        time_distribution: [
            TimeBucket { bucket: "0-10s", count: detail.under_10s },
            TimeBucket { bucket: "10-30s", count: detail.under_30s },
            TimeBucket { bucket: "30-60s", count: detail.under_60s },
            TimeBucket { bucket: "60s+", count: detail.from_60s },
        ],
        assignment_stats: AssignmentStats {
            total: detail.assigned,
            completed: detail.completed,
            in_progress: detail.in_progress,
        },
        recent_events,
    }))
}
