//! `GET /api/health` and `GET /api/version`.

use std::time::Duration;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, extract::Json};
use crate::store;

/// A probe waits no longer for the database.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    #[schema(example = "ok")]
    status: &'static str,
    #[schema(example = "connected")]
    database: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// Whether this process can work.
#[utoipa::path(get, path = "/api/health", tag = "system", security(()), responses(
    (status = 200, body = Health),
    (status = 503, description = "The database is unreachable", body = Health)))]
pub async fn health(State(state): State<AppState>) -> Response {
    match tokio::time::timeout(PATIENCE, store::ping(&state.pool)).await {
        Ok(Ok(())) => Json(Health { status: "ok", database: "connected", error: None }).into_response(),
        _ => {
            let body = Health {
                status: "error",
                database: "disconnected",
                error: Some("the database can't be reached"),
            };
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    version: &'static str,
    api_version: &'static str,
    /// What this build can do.
    features: &'static [&'static str],
    /// The runtime; the name is the contract's.
    node: &'static str,
}

/// What is running.
#[utoipa::path(get, path = "/api/version", tag = "system", security(()), responses((status = 200, body = Version)))]
pub async fn version() -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION"),
        api_version: "v1",
        features: &[
            "container-orchestration",
            "workflow-chaining",
            "gold-standard-quality",
            "rejection-routing",
            "bulk-operations",
            "assignment-tracking",
            "event-audit-log",
            "system-settings",
        ],
        node: concat!("rust-", env!("CARGO_PKG_RUST_VERSION")),
    })
}
