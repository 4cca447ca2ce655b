//! `/api/workers`

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{AppState, error::ApiResult, extract::Json};
use crate::queue::admin::workers::{self, WorkerView};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_workers))
}

/// All workers.
#[derive(Debug, Serialize, ToSchema)]
struct Workers {
    /// The oldest first.
    data: Vec<WorkerView>,
}

/// List workers.
///
/// Those that run, and those whose lease ran out and whose jobs nobody has taken over yet.
#[utoipa::path(get, path = "/api/workers", tag = "jobs", responses((status = 200, body = Workers)))]
async fn list_workers(State(state): State<AppState>) -> ApiResult<Json<Workers>> {
    Ok(Json(Workers { data: workers::list(&state.pool).await? }))
}
