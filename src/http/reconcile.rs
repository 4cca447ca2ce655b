//! `POST /api/reconcile`

use std::time::Duration;

use axum::extract::State;

use super::{AppState, error::ApiResult, extract::Json};
use crate::ops::{self, reconcile::Report};

/// Below the deadline of every request, so that the answer can say what goes on.
const PATIENCE: Duration = Duration::from_secs(50);

/// Compares assignments with what Label Studio holds and repairs what differs. Waits for the run; 503 says that
/// it goes on, or why it failed.
#[utoipa::path(post, path = "/api/reconcile", tag = "system", responses((status = 200, body = Report)))]
pub async fn run_reconcile(State(state): State<AppState>) -> ApiResult<Json<Report>> {
    Ok(Json(ops::reconcile::run(&state.queue, PATIENCE).await?))
}
