//! `POST /api/webhook`: Label Studio tells of annotations.
//!
//! Label Studio waits one second inside the annotator's own request and never asks again, so the answer is given
//! after one short transaction, and everything slow is a job.

use axum::{body::Bytes, extract::State, http::HeaderMap};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiResult, AppState, extract};
use crate::{
    domain::AnnotatorId,
    ops::{Error, ingest},
};

/// A brush mask of a large image is some megabytes.
pub const BODY_LIMIT: usize = 16 * 1024 * 1024;

#[derive(Debug, Serialize, ToSchema)]
pub struct Taken {
    ok: bool,
}

/// Takes in an event of Label Studio. Idempotent: an event that is known already changes nothing.
#[utoipa::path(post, path = "/api/webhook", tag = "webhook", security(()),
    params(
        ("X-Annotator-Id" = i64, Header, description = "The annotator's id"),
        ("X-Webhook-Secret" = String, Header, description = "The annotator's webhook secret")),
    request_body(content = Object, description = "Label Studio's webhook payload"),
    responses((status = 200, body = Taken),
        (status = 400, description = "Not an event of Label Studio", body = super::error::ErrorBody),
        (status = 401, description = "Unknown annotator or wrong secret", body = super::error::ErrorBody),
        (status = 413, description = "The body is too large", body = super::error::ErrorBody),
        (status = 503, description = "The database is unreachable", body = super::error::ErrorBody)))]
pub async fn webhook(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> ApiResult<extract::Json<Taken>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let annotator = header("x-annotator-id").and_then(|id| id.parse().ok()).map(AnnotatorId);
    let secret = header("x-webhook-secret").unwrap_or_default();
    let annotator = annotator.ok_or(Error::Unauthorized("X-Annotator-Id must name an annotator"))?;
    extract::require_json(&headers)?;
    let body = extract::whole(body)?;
    ingest::webhook(&state.queue, &state.secrets, annotator, secret, &body).await?;
    Ok(extract::Json(Taken { ok: true }))
}
