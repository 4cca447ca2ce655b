//! `/api/settings`

use axum::extract::State;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    error::{ApiResult, BadRequest, NotFound},
    extract::{Json, PathText},
    page::{PageParams, Paginated},
};
use crate::{
    domain::fields::SettingFields,
    ops::{self, Error},
    store::{self, Page, settings::Setting},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_settings)).routes(routes!(get_setting))
}

pub fn admin_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(put_setting))
}

/// List settings.
#[utoipa::path(get, path = "/api/settings", tag = "settings", params(PageParams),
    responses((status = 200, body = Paginated<Setting>), BadRequest))]
async fn list_settings(State(state): State<AppState>, page: Page) -> ApiResult<Json<Paginated<Setting>>> {
    let settings = store::settings::list(&mut *state.db().await?, page).await?;
    Ok(Json(Paginated::new(page, settings)))
}

/// Get a setting.
#[utoipa::path(get, path = "/api/settings/{key}", tag = "settings", params(("key" = String, Path)),
    responses((status = 200, body = Setting), NotFound))]
async fn get_setting(State(state): State<AppState>, PathText(key): PathText) -> ApiResult<Json<Setting>> {
    let setting = store::settings::get(&mut *state.db().await?, &key).await?;
    Ok(Json(setting.ok_or(Error::NotFound("Setting"))?))
}

/// Put a setting.
///
/// Creates the setting or updates it.
#[utoipa::path(put, path = "/api/settings/{key}", tag = "settings", params(("key" = String, Path)),
    request_body = SettingFields, responses((status = 200, body = Setting), BadRequest))]
async fn put_setting(
    State(state): State<AppState>,
    PathText(key): PathText,
    Json(fields): Json<SettingFields>,
) -> ApiResult<Json<Setting>> {
    Ok(Json(ops::settings::put(&state.queue, &key, &fields).await?))
}
