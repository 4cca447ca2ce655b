//! `/api/users`

use axum::{extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, Conflict, NotFound},
    extract::{Id, Json},
    page::{PageParams, Paginated},
};
use crate::{
    domain::{UserId, fields::UserFields},
    ops::{self, Error, input::UserChanges},
    store::{self, Page, users::User},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_users, create_user)).routes(routes!(
        get_user,
        update_user,
        delete_user
    ))
}

/// List users.
#[utoipa::path(get, path = "/api/users", tag = "users", params(PageParams),
    responses((status = 200, body = Paginated<User>), BadRequest))]
async fn list_users(State(state): State<AppState>, page: Page) -> ApiResult<Json<Paginated<User>>> {
    let users = store::users::list(&mut *state.db().await?, page).await?;
    Ok(Json(Paginated::new(page, users)))
}

/// Create a user.
#[utoipa::path(post, path = "/api/users", tag = "users", request_body = UserFields,
    responses((status = 201, body = User), BadRequest, Conflict))]
async fn create_user(
    State(state): State<AppState>,
    Json(fields): Json<UserFields>,
) -> ApiResult<(StatusCode, Json<User>)> {
    Ok((StatusCode::CREATED, Json(ops::users::create(&state.queue, fields).await?)))
}

/// Get a user.
#[utoipa::path(get, path = "/api/users/{id}", tag = "users", params(("id" = i64, Path)),
    responses((status = 200, body = User), BadRequest, NotFound))]
async fn get_user(State(state): State<AppState>, Id(id): Id<UserId>) -> ApiResult<Json<User>> {
    let user = store::users::get(&mut *state.db().await?, id).await?;
    Ok(Json(user.ok_or(Error::NotFound("User"))?))
}

/// Change a user.
///
/// A new password ends all sessions of theirs. 409 if nobody else is an administrator and this one would stop
/// being one.
#[utoipa::path(put, path = "/api/users/{id}", tag = "users", params(("id" = i64, Path)),
    request_body = UserChanges, responses((status = 200, body = User), BadRequest, NotFound, Conflict))]
async fn update_user(
    State(state): State<AppState>,
    Id(id): Id<UserId>,
    Json(changes): Json<UserChanges>,
) -> ApiResult<Json<User>> {
    Ok(Json(ops::users::update(&state.queue, id, changes).await?))
}

/// Delete a user.
///
/// Their sessions end; keys that they made stay. 409 for the last administrator.
#[utoipa::path(delete, path = "/api/users/{id}", tag = "users", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound, Conflict))]
async fn delete_user(State(state): State<AppState>, Id(id): Id<UserId>) -> ApiResult<Json<Done>> {
    ops::users::delete(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}
