//! `/api/roles`

use axum::{extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, Conflict, NotFound},
    extract::{Id, Json},
    page::{PageParams, Paginated},
};
use crate::{
    domain::{RoleId, fields::RoleFields},
    ops::{self, Error, input::RoleChanges},
    store::{self, Page, roles::Role},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_roles, create_role)).routes(routes!(
        get_role,
        update_role,
        delete_role
    ))
}

/// List roles.
#[utoipa::path(get, path = "/api/roles", tag = "roles", params(PageParams),
    responses((status = 200, body = Paginated<Role>), BadRequest))]
async fn list_roles(State(state): State<AppState>, page: Page) -> ApiResult<Json<Paginated<Role>>> {
    let roles = store::roles::list(&mut *state.db().await?, page).await?;
    Ok(Json(Paginated::new(page, roles)))
}

/// Create a role.
#[utoipa::path(post, path = "/api/roles", tag = "roles", request_body = RoleFields,
    responses((status = 201, body = Role), BadRequest, Conflict))]
async fn create_role(
    State(state): State<AppState>,
    Json(fields): Json<RoleFields>,
) -> ApiResult<(StatusCode, Json<Role>)> {
    Ok((StatusCode::CREATED, Json(ops::roles::create(&state.queue, &fields).await?)))
}

/// Get a role.
#[utoipa::path(get, path = "/api/roles/{id}", tag = "roles", params(("id" = i64, Path)),
    responses((status = 200, body = Role), BadRequest, NotFound))]
async fn get_role(State(state): State<AppState>, Id(id): Id<RoleId>) -> ApiResult<Json<Role>> {
    let role = store::roles::get(&mut *state.db().await?, id).await?;
    Ok(Json(role.ok_or(Error::NotFound("Role"))?))
}

/// Change a role.
#[utoipa::path(put, path = "/api/roles/{id}", tag = "roles", params(("id" = i64, Path)),
    request_body = RoleChanges,
    responses((status = 200, body = Role), BadRequest, NotFound, Conflict))]
async fn update_role(
    State(state): State<AppState>,
    Id(id): Id<RoleId>,
    Json(changes): Json<RoleChanges>,
) -> ApiResult<Json<Role>> {
    Ok(Json(ops::roles::update(&state.queue, id, changes).await?))
}

/// Delete a role.
///
/// 409 while annotators or workflows have the role.
#[utoipa::path(delete, path = "/api/roles/{id}", tag = "roles", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound, Conflict))]
async fn delete_role(State(state): State<AppState>, Id(id): Id<RoleId>) -> ApiResult<Json<Done>> {
    ops::roles::delete(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}
