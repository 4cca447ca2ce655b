//! `/api/annotators`

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, Conflict, NotFound, Unauthorized},
    extract::{Id, Json},
    page::{PageParams, Paginated},
};
use crate::{
    domain::{AnnotatorId, AnnotatorStatus, Caller, Scope, fields::AnnotatorFields},
    ops::{self, Error, input::AnnotatorChanges},
    store::{
        self, Page,
        annotators::Annotator,
        assignment_views::{Assignment, Filter},
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_annotators, create_annotator))
        .routes(routes!(get_annotator, update_annotator, delete_annotator))
        .routes(routes!(create_annotators, delete_annotators))
        .routes(routes!(start_annotator))
        .routes(routes!(stop_annotator))
        .routes(routes!(annotator_status))
}

/// A detail shows so many assignments, the newest; `/api/assignments?annotatorId=` has all.
const NESTED: Page = Page { limit: 500, offset: 0 };

/// An annotator and what they have in hand or had.
#[derive(Debug, Serialize, ToSchema)]
struct AnnotatorDetail {
    #[serde(flatten)]
    annotator: Annotator,
    /// The newest first, 500 at most.
    assignments: Vec<Assignment>,
}

/// List annotators.
#[utoipa::path(get, path = "/api/annotators", tag = "annotators", params(PageParams),
    responses((status = 200, body = Paginated<Annotator>), BadRequest))]
async fn list_annotators(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    page: Page,
) -> ApiResult<Json<Paginated<Annotator>>> {
    let mut annotators = store::annotators::list(&mut *state.db().await?, page).await?;
    annotators.rows.iter_mut().for_each(|annotator| hide_token(annotator, &caller));
    Ok(Json(Paginated::new(page, annotators)))
}

/// The token opens all of the annotator's Label Studio, so who may only read is not told it.
fn hide_token(annotator: &mut Annotator, caller: &Caller) {
    if !caller.scope.opens(Scope::Write) {
        annotator.api_token = None;
    }
}

/// Create an annotator.
#[utoipa::path(post, path = "/api/annotators", tag = "annotators", request_body = AnnotatorFields,
    responses((status = 201, body = Annotator), BadRequest, Conflict))]
async fn create_annotator(
    State(state): State<AppState>,
    Json(fields): Json<AnnotatorFields>,
) -> ApiResult<(StatusCode, Json<Annotator>)> {
    Ok((StatusCode::CREATED, Json(ops::annotators::create(&state.queue, &fields).await?)))
}

/// Get an annotator.
#[utoipa::path(get, path = "/api/annotators/{id}", tag = "annotators", params(("id" = i64, Path)),
    responses((status = 200, body = AnnotatorDetail), BadRequest, NotFound))]
async fn get_annotator(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<AnnotatorId>,
) -> ApiResult<Json<AnnotatorDetail>> {
    let mut db = state.db().await?;
    let mut annotator = store::annotators::get(&mut db, id).await?.ok_or(Error::NotFound("Annotator"))?;
    hide_token(&mut annotator, &caller);
    let theirs = Filter { annotator: Some(id), ..Filter::default() };
    let assignments = store::assignment_views::list(&mut db, theirs, NESTED).await?.rows;
    Ok(Json(AnnotatorDetail { annotator, assignments }))
}

/// Change an annotator.
#[utoipa::path(put, path = "/api/annotators/{id}", tag = "annotators", params(("id" = i64, Path)),
    request_body = AnnotatorChanges,
    responses((status = 200, body = Annotator), BadRequest, NotFound, Conflict))]
async fn update_annotator(
    State(state): State<AppState>,
    Id(id): Id<AnnotatorId>,
    Json(changes): Json<AnnotatorChanges>,
) -> ApiResult<Json<Annotator>> {
    Ok(Json(ops::annotators::update(&state.queue, id, changes).await?))
}

/// Delete an annotator.
///
/// Open assignments go back to the pool; container and database are removed by job.
#[utoipa::path(delete, path = "/api/annotators/{id}", tag = "annotators", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound))]
async fn delete_annotator(State(state): State<AppState>, Id(id): Id<AnnotatorId>) -> ApiResult<Json<Done>> {
    ops::annotators::delete(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}

/// Annotators to create.
#[derive(Deserialize, ToSchema)]
struct AnnotatorsInput {
    #[schema(value_type = Vec<AnnotatorFields>, min_items = 1, max_items = 100)]
    annotators: Vec<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AnnotatorsCreated {
    created: usize,
    annotators: Vec<Annotator>,
}

/// Create many annotators.
///
/// 100 at most, all or nothing; `details` names each bad field as `annotators[3].email`.
#[utoipa::path(post, path = "/api/annotators/bulk", tag = "annotators", request_body = AnnotatorsInput,
    responses((status = 201, body = AnnotatorsCreated), BadRequest, Conflict))]
async fn create_annotators(
    State(state): State<AppState>,
    Json(input): Json<AnnotatorsInput>,
) -> ApiResult<(StatusCode, Json<AnnotatorsCreated>)> {
    let annotators = ops::annotators_bulk::create(&state.queue, input.annotators).await?;
    Ok((StatusCode::CREATED, Json(AnnotatorsCreated { created: annotators.len(), annotators })))
}

#[derive(Deserialize, ToSchema)]
struct AnnotatorIds {
    #[schema(value_type = Vec<i64>, min_items = 1, max_items = 100)]
    ids: Vec<AnnotatorId>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AnnotatorsDeleted {
    deleted: usize,
}

/// Delete many annotators.
///
/// 100 at most, all or nothing. Open assignments go back to the pool; containers and databases are removed by
/// jobs.
#[utoipa::path(delete, path = "/api/annotators/bulk", tag = "annotators", request_body = AnnotatorIds,
    responses((status = 200, body = AnnotatorsDeleted), BadRequest, NotFound))]
async fn delete_annotators(
    State(state): State<AppState>,
    Json(input): Json<AnnotatorIds>,
) -> ApiResult<Json<AnnotatorsDeleted>> {
    let deleted = ops::annotators_bulk::delete(&state.queue, &input.ids).await?;
    Ok(Json(AnnotatorsDeleted { deleted }))
}

#[derive(Debug, Serialize, ToSchema)]
struct Started {
    #[schema(example = true)]
    success: bool,
    #[schema(inline)]
    status: AnnotatorStatus,
}

/// Start an annotator's container.
///
/// Asynchronous: `/api/annotators/{id}/status` tells how far it is. 400 while there is an active container.
#[utoipa::path(post, path = "/api/annotators/{id}/start", tag = "annotators", params(("id" = i64, Path)),
    responses((status = 200, body = Started), BadRequest, NotFound))]
async fn start_annotator(State(state): State<AppState>, Id(id): Id<AnnotatorId>) -> ApiResult<Json<Started>> {
    let status = ops::annotators::start(&state.queue, id).await?;
    Ok(Json(Started { success: true, status }))
}

/// Stop an annotator's container.
///
/// Keeps the container's data. Stopping what is stopped is no error.
#[utoipa::path(post, path = "/api/annotators/{id}/stop", tag = "annotators", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound))]
async fn stop_annotator(State(state): State<AppState>, Id(id): Id<AnnotatorId>) -> ApiResult<Json<Done>> {
    ops::annotators::stop(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InstanceStatus {
    #[schema(inline)]
    status: AnnotatorStatus,
    container_id: Option<String>,
    container_ip: Option<String>,
    subdomain: Option<String>,
    /// Where the annotator labels; null while nothing runs.
    url: Option<String>,
    /// Only with status `error`: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
}

/// Get a container's state.
///
/// The container's current state.
#[utoipa::path(get, path = "/api/annotators/{id}/status", tag = "annotators", params(("id" = i64, Path)),
    responses((status = 200, body = InstanceStatus), BadRequest, NotFound))]
async fn annotator_status(
    State(state): State<AppState>,
    Id(id): Id<AnnotatorId>,
) -> ApiResult<Json<InstanceStatus>> {
    let annotator = store::annotators::get(&mut *state.db().await?, id).await?;
    let annotator = annotator.ok_or(Error::NotFound("Annotator"))?;
    let at = annotator.container_ip.as_deref().zip(annotator.container_port);
    let url = match (&state.config.instances.domain, &annotator.subdomain) {
        (Some(domain), Some(subdomain)) => Some(format!("http://{subdomain}.{domain}")),
        _ => at.map(|(host, port)| format!("http://{host}:{port}")),
    };
    Ok(Json(InstanceStatus {
        url: url.filter(|_| at.is_some()),
        status: annotator.status,
        container_id: annotator.container_id,
        container_ip: annotator.container_ip,
        subdomain: annotator.subdomain,
        status_reason: annotator.status_reason,
    }))
}

#[derive(Deserialize, ToSchema)]
pub struct TokenInput {
    /// Label Studio's API token.
    #[schema(min_length = 1, max_length = 1000)]
    token: String,
}

/// Report a container's API token.
///
/// Called by an instance to report its API token; shows the annotator's webhook secret instead of a session.
#[utoipa::path(post, path = "/api/annotators/{id}/token", tag = "annotators", security(()),
    params(("id" = i64, Path), ("X-Webhook-Secret" = String, Header, description = "The annotator's secret")),
    request_body = TokenInput,
    responses((status = 200, body = Done), BadRequest, Unauthorized))]
pub async fn report_token(
    State(state): State<AppState>,
    Id(id): Id<AnnotatorId>,
    headers: HeaderMap,
    input: ApiResult<Json<TokenInput>>,
) -> ApiResult<Json<Done>> {
    let secret = headers.get("x-webhook-secret").and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Before anything is said of the body.
    ops::annotator_secret::check(&mut *state.db().await?, &state.secrets, id, secret).await?;
    ops::annotators::report_token(&state.queue, id, &input?.0.token).await?;
    Ok(Json(Done::SUCCESS))
}
