//! `/api/keys`

use axum::{Extension, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, NotFound},
    extract::{Id, Json},
    page::{PageParams, Paginated},
};
use crate::{
    domain::{ApiKeyId, Caller, fields::ApiKeyFields},
    ops,
    store::{self, Page, api_keys::ApiKeyRow},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_keys, create_key)).routes(routes!(revoke_key))
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
struct NewApiKey {
    /// The key itself: shown now and never again.
    key: String,
    #[serde(flatten)]
    row: ApiKeyRow,
}

/// List API keys.
///
/// The newest first, revoked and expired ones too.
#[utoipa::path(get, path = "/api/keys", tag = "keys", params(PageParams),
    responses((status = 200, body = Paginated<ApiKeyRow>), BadRequest))]
async fn list_keys(State(state): State<AppState>, page: Page) -> ApiResult<Json<Paginated<ApiKeyRow>>> {
    let keys = store::api_keys::list(&mut *state.db().await?, page).await?;
    Ok(Json(Paginated::new(page, keys)))
}

/// Create an API key.
///
/// The answer holds the key itself, which is shown only here.
#[utoipa::path(post, path = "/api/keys", tag = "keys", request_body = ApiKeyFields,
    responses((status = 201, body = NewApiKey), BadRequest))]
async fn create_key(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Json(fields): Json<ApiKeyFields>,
) -> ApiResult<(StatusCode, Json<NewApiKey>)> {
    let (key, row) = ops::api_keys::create(&state.queue, &fields, &caller.name).await?;
    Ok((StatusCode::CREATED, Json(NewApiKey { key: key.expose().to_owned(), row })))
}

/// Revoke an API key.
///
/// It opens nothing from now on and stays listed. Revoking it again is no error.
#[utoipa::path(delete, path = "/api/keys/{id}", tag = "keys", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound))]
async fn revoke_key(State(state): State<AppState>, Id(id): Id<ApiKeyId>) -> ApiResult<Json<Done>> {
    ops::api_keys::revoke(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}
