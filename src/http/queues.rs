//! `/api/queues`

use axum::{Extension, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    error::{ApiResult, NotFound},
    extract::{Json, PathText},
};
use crate::{
    domain::Caller,
    ops::Error,
    queue::{
        admin::queues::{self, Queue},
        queues as control,
    },
};

const NOT_FOUND: Error = Error::NotFound("Queue");

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_queues))
        .routes(routes!(pause_queue))
        .routes(routes!(resume_queue))
}

/// All queues.
#[derive(Debug, Serialize, ToSchema)]
struct Queues {
    /// By name.
    data: Vec<Queue>,
}

/// List queues.
///
/// How much each holds, for how long jobs have been due, and how fast they go.
#[utoipa::path(get, path = "/api/queues", tag = "jobs", responses((status = 200, body = Queues)))]
async fn list_queues(State(state): State<AppState>) -> ApiResult<Json<Queues>> {
    Ok(Json(Queues { data: queues::list(&state.pool).await? }))
}

/// Pause a queue.
///
/// Workers take nothing from it, a second from now on. What runs goes on, what is enqueued waits. Doing it again is no
/// error.
#[utoipa::path(post, path = "/api/queues/{name}/pause", tag = "jobs", params(("name" = String, Path)),
    responses((status = 200, body = Queue), NotFound))]
async fn pause_queue(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    PathText(name): PathText,
) -> ApiResult<Json<Queue>> {
    queues::get(&state.pool, &name).await?.ok_or(NOT_FOUND)?;
    control::pause(&state.pool, &name, &caller.name).await?;
    Ok(Json(queues::get(&state.pool, &name).await?.ok_or(NOT_FOUND)?))
}

/// Resume a queue.
///
/// Doing it again is no error.
#[utoipa::path(post, path = "/api/queues/{name}/resume", tag = "jobs", params(("name" = String, Path)),
    responses((status = 200, body = Queue), NotFound))]
async fn resume_queue(State(state): State<AppState>, PathText(name): PathText) -> ApiResult<Json<Queue>> {
    queues::get(&state.pool, &name).await?.ok_or(NOT_FOUND)?;
    control::resume(&state.pool, &name).await?;
    Ok(Json(queues::get(&state.pool, &name).await?.ok_or(NOT_FOUND)?))
}
