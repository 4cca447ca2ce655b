//! `/api/schedules`

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    error::{ApiResult, NotFound},
    extract::{Json, PathText},
};
use crate::{
    ops::Error,
    queue::admin::schedules::{self, Order, ScheduleView},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_schedules))
        .routes(routes!(run_schedule))
        .routes(routes!(pause_schedule))
        .routes(routes!(resume_schedule))
}

/// All schedules.
#[derive(Debug, Serialize, ToSchema)]
struct Schedules {
    /// By name.
    data: Vec<ScheduleView>,
}

/// List schedules.
#[utoipa::path(get, path = "/api/schedules", tag = "jobs", responses((status = 200, body = Schedules)))]
async fn list_schedules(State(state): State<AppState>) -> ApiResult<Json<Schedules>> {
    Ok(Json(Schedules { data: schedules::list(&state.pool).await? }))
}

/// Run a schedule.
///
/// It fires once now, whatever its clock says; `runRequestedAt` stands until it has.
#[utoipa::path(post, path = "/api/schedules/{name}/run", tag = "jobs", params(("name" = String, Path)),
    responses((status = 200, body = ScheduleView), NotFound))]
async fn run_schedule(
    State(state): State<AppState>,
    PathText(name): PathText,
) -> ApiResult<Json<ScheduleView>> {
    tell(&state, &name, Order::Run).await
}

/// Pause a schedule.
///
/// It does not fire until it is resumed. Doing it again is no error.
#[utoipa::path(post, path = "/api/schedules/{name}/pause", tag = "jobs", params(("name" = String, Path)),
    responses((status = 200, body = ScheduleView), NotFound))]
async fn pause_schedule(
    State(state): State<AppState>,
    PathText(name): PathText,
) -> ApiResult<Json<ScheduleView>> {
    tell(&state, &name, Order::Pause).await
}

/// Resume a schedule.
///
/// Doing it again is no error.
#[utoipa::path(post, path = "/api/schedules/{name}/resume", tag = "jobs", params(("name" = String, Path)),
    responses((status = 200, body = ScheduleView), NotFound))]
async fn resume_schedule(
    State(state): State<AppState>,
    PathText(name): PathText,
) -> ApiResult<Json<ScheduleView>> {
    tell(&state, &name, Order::Resume).await
}

async fn tell(state: &AppState, name: &str, order: Order) -> ApiResult<Json<ScheduleView>> {
    const NOT_FOUND: Error = Error::NotFound("Schedule");
    // Postgres can't hold it in a text, so none is named so.
    if name.contains('\0') {
        return Err(NOT_FOUND.into());
    }
    Ok(Json(schedules::tell(&state.pool, name, order).await?.ok_or(NOT_FOUND)?))
}
