//! `/api/workflows`

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, Conflict, NotFound},
    extract::{Id, Json},
    page::{PageParams, Paginated},
};
use crate::{
    domain::{AnnotatorId, WorkflowId, fields::WorkflowFields},
    ops::{self, Error, input::WorkflowChanges},
    store::{
        self, Page,
        assignment_views::Assignment,
        workflows::{ChainLink, Workflow},
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_workflows, create_workflow))
        .routes(routes!(get_workflow, update_workflow, delete_workflow))
        .routes(routes!(assign_workflow))
}

/// A workflow and the chain it stands in.
#[derive(Debug, Serialize, ToSchema)]
struct WorkflowInChain {
    #[serde(flatten)]
    workflow: Workflow,
    /// From the origin, through this workflow, to all that follow it.
    chain: Vec<ChainLink>,
}

/// List workflows.
#[utoipa::path(get, path = "/api/workflows", tag = "workflows", params(PageParams),
    responses((status = 200, body = Paginated<Workflow>), BadRequest))]
async fn list_workflows(State(state): State<AppState>, page: Page) -> ApiResult<Json<Paginated<Workflow>>> {
    let workflows = store::workflows::list(&mut *state.db().await?, page).await?;
    Ok(Json(Paginated::new(page, workflows)))
}

/// Create a workflow.
///
/// Also has the source listed into the pool.
#[utoipa::path(post, path = "/api/workflows", tag = "workflows", request_body = WorkflowFields,
    responses((status = 201, body = Workflow), BadRequest))]
async fn create_workflow(
    State(state): State<AppState>,
    Json(fields): Json<WorkflowFields>,
) -> ApiResult<(StatusCode, Json<Workflow>)> {
    Ok((StatusCode::CREATED, Json(ops::workflows::create(&state.queue, &fields).await?)))
}

/// Get a workflow.
#[utoipa::path(get, path = "/api/workflows/{id}", tag = "workflows", params(("id" = i64, Path)),
    responses((status = 200, body = WorkflowInChain), BadRequest, NotFound))]
async fn get_workflow(
    State(state): State<AppState>,
    Id(id): Id<WorkflowId>,
) -> ApiResult<Json<WorkflowInChain>> {
    let mut db = state.db().await?;
    let workflow = store::workflows::get(&mut db, id).await?.ok_or(Error::NotFound("Workflow"))?;
    let chain = store::workflows::chain(&mut db, id).await?;
    Ok(Json(WorkflowInChain { workflow, chain }))
}

/// Change a workflow.
///
/// A new `s3SourcePath` is listed; images of the former one that nobody ever got leave the pool.
#[utoipa::path(put, path = "/api/workflows/{id}", tag = "workflows", params(("id" = i64, Path)),
    request_body = WorkflowChanges,
    responses((status = 200, body = Workflow), BadRequest, NotFound))]
async fn update_workflow(
    State(state): State<AppState>,
    Id(id): Id<WorkflowId>,
    Json(changes): Json<WorkflowChanges>,
) -> ApiResult<Json<Workflow>> {
    Ok(Json(ops::workflows::update(&state.queue, id, changes).await?))
}

/// Delete a workflow.
///
/// 409 while assignments or other workflows reference the workflow.
#[utoipa::path(delete, path = "/api/workflows/{id}", tag = "workflows", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound, Conflict))]
async fn delete_workflow(State(state): State<AppState>, Id(id): Id<WorkflowId>) -> ApiResult<Json<Done>> {
    ops::workflows::delete(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AssignInput {
    #[schema(value_type = i64)]
    annotator_id: AnnotatorId,
}

#[derive(Debug, Serialize, ToSchema)]
struct Assigned {
    #[schema(example = true)]
    success: bool,
    assignment: Assignment,
}

/// Assign a batch.
///
/// Assigns the next batch to an annotator. Gold tasks and the Label Studio project follow by job.
#[utoipa::path(post, path = "/api/workflows/{id}/assign", tag = "workflows", params(("id" = i64, Path)),
    request_body = AssignInput,
    responses((status = 200, body = Assigned), BadRequest, NotFound, Conflict))]
async fn assign_workflow(
    State(state): State<AppState>,
    Id(id): Id<WorkflowId>,
    Json(input): Json<AssignInput>,
) -> ApiResult<Json<Assigned>> {
    let assignment = ops::assign::assign(&state.queue, id, input.annotator_id).await?;
    let assignment = store::assignment_views::get(&mut *state.db().await?, assignment).await?;
    Ok(Json(Assigned { success: true, assignment: assignment.ok_or(Error::NotFound("Assignment"))? }))
}
