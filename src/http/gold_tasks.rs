//! `/api/gold-tasks`

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, Conflict, NotFound},
    extract::{Id, Json},
    page::{Listing, PageParams, Paginated},
};
use crate::{
    domain::{GoldTaskId, LabelingConfigId, fields::GoldTaskFields},
    ops::{self, Error, input::GoldTaskChanges},
    store::{self, gold_tasks::GoldTask},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_gold_tasks, create_gold_task)).routes(routes!(
        get_gold_task,
        update_gold_task,
        delete_gold_task
    ))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct GoldTaskFilter {
    #[param(value_type = Option<i64>)]
    labeling_config_id: Option<LabelingConfigId>,
    category: Option<String>,
}

/// List gold tasks.
#[utoipa::path(get, path = "/api/gold-tasks", tag = "gold-tasks", params(GoldTaskFilter, PageParams),
    responses((status = 200, body = Paginated<GoldTask>), BadRequest))]
async fn list_gold_tasks(
    State(state): State<AppState>,
    Listing { filter, page }: Listing<GoldTaskFilter>,
) -> ApiResult<Json<Paginated<GoldTask>>> {
    let mut db = state.db().await?;
    let gold =
        store::gold_tasks::list(&mut db, filter.labeling_config_id, filter.category.as_deref(), page).await?;
    Ok(Json(Paginated::new(page, gold)))
}

/// Create a gold task.
#[utoipa::path(post, path = "/api/gold-tasks", tag = "gold-tasks", request_body = GoldTaskFields,
    responses((status = 201, body = GoldTask), BadRequest))]
async fn create_gold_task(
    State(state): State<AppState>,
    Json(fields): Json<GoldTaskFields>,
) -> ApiResult<(StatusCode, Json<GoldTask>)> {
    Ok((StatusCode::CREATED, Json(ops::gold_tasks::create(&state.queue, &fields).await?)))
}

/// Get a gold task.
#[utoipa::path(get, path = "/api/gold-tasks/{id}", tag = "gold-tasks", params(("id" = i64, Path)),
    responses((status = 200, body = GoldTask), BadRequest, NotFound))]
async fn get_gold_task(State(state): State<AppState>, Id(id): Id<GoldTaskId>) -> ApiResult<Json<GoldTask>> {
    let gold = store::gold_tasks::get(&mut *state.db().await?, id).await?;
    Ok(Json(gold.ok_or(Error::NotFound("Gold task"))?))
}

/// Change a gold task.
#[utoipa::path(put, path = "/api/gold-tasks/{id}", tag = "gold-tasks", params(("id" = i64, Path)),
    request_body = GoldTaskChanges,
    responses((status = 200, body = GoldTask), BadRequest, NotFound))]
async fn update_gold_task(
    State(state): State<AppState>,
    Id(id): Id<GoldTaskId>,
    Json(changes): Json<GoldTaskChanges>,
) -> ApiResult<Json<GoldTask>> {
    Ok(Json(ops::gold_tasks::update(&state.queue, id, changes).await?))
}

/// Delete a gold task.
///
/// 409 once it was given out: its results stay.
#[utoipa::path(delete, path = "/api/gold-tasks/{id}", tag = "gold-tasks", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound, Conflict))]
async fn delete_gold_task(State(state): State<AppState>, Id(id): Id<GoldTaskId>) -> ApiResult<Json<Done>> {
    ops::gold_tasks::delete(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}
