//! `/api/labeling-configs`

use axum::{extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, Conflict, NotFound},
    extract::{Id, Json},
    page::{PageParams, Paginated},
};
use crate::{
    domain::{LabelingConfigId, fields::LabelingConfigFields},
    ops::{self, Error, input::LabelingConfigChanges},
    store::{
        self, Page,
        labeling_configs::{LabelingConfig, LabelingConfigUsage},
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_labeling_configs, create_labeling_config)).routes(routes!(
        get_labeling_config,
        update_labeling_config,
        delete_labeling_config
    ))
}

/// List labeling configs.
#[utoipa::path(get, path = "/api/labeling-configs", tag = "labeling-configs", params(PageParams),
    responses((status = 200, body = Paginated<LabelingConfig>), BadRequest))]
async fn list_labeling_configs(
    State(state): State<AppState>,
    page: Page,
) -> ApiResult<Json<Paginated<LabelingConfig>>> {
    let configs = store::labeling_configs::list(&mut *state.db().await?, page).await?;
    Ok(Json(Paginated::new(page, configs)))
}

/// Create a labeling config.
#[utoipa::path(post, path = "/api/labeling-configs", tag = "labeling-configs",
    request_body = LabelingConfigFields,
    responses((status = 201, body = LabelingConfigUsage), BadRequest))]
async fn create_labeling_config(
    State(state): State<AppState>,
    Json(fields): Json<LabelingConfigFields>,
) -> ApiResult<(StatusCode, Json<LabelingConfigUsage>)> {
    Ok((StatusCode::CREATED, Json(ops::labeling_configs::create(&state.queue, &fields).await?)))
}

/// Get a labeling config.
///
/// With usage counts.
#[utoipa::path(get, path = "/api/labeling-configs/{id}", tag = "labeling-configs", params(("id" = i64, Path)),
    responses((status = 200, body = LabelingConfigUsage), BadRequest, NotFound))]
async fn get_labeling_config(
    State(state): State<AppState>,
    Id(id): Id<LabelingConfigId>,
) -> ApiResult<Json<LabelingConfigUsage>> {
    let config = store::labeling_configs::get(&mut *state.db().await?, id).await?;
    Ok(Json(config.ok_or(Error::NotFound("Labeling config"))?))
}

/// Change a labeling config.
///
/// 409 when `configXml` changes while gold tasks reference the config.
#[utoipa::path(put, path = "/api/labeling-configs/{id}", tag = "labeling-configs", params(("id" = i64, Path)),
    request_body = LabelingConfigChanges,
    responses((status = 200, body = LabelingConfigUsage), BadRequest, NotFound, Conflict))]
async fn update_labeling_config(
    State(state): State<AppState>,
    Id(id): Id<LabelingConfigId>,
    Json(changes): Json<LabelingConfigChanges>,
) -> ApiResult<Json<LabelingConfigUsage>> {
    Ok(Json(ops::labeling_configs::update(&state.queue, id, changes).await?))
}

/// Delete a labeling config.
///
/// 409 while workflows or gold tasks reference the config.
#[utoipa::path(delete, path = "/api/labeling-configs/{id}", tag = "labeling-configs",
    params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound, Conflict))]
async fn delete_labeling_config(
    State(state): State<AppState>,
    Id(id): Id<LabelingConfigId>,
) -> ApiResult<Json<Done>> {
    ops::labeling_configs::delete(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}
