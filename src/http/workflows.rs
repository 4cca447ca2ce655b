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
    workflow_graph::Graph,
};
use crate::{
    domain::{AnnotatorId, WorkflowId, fields::WorkflowFields},
    ops::{self, Error, input::WorkflowChanges, workflow_bulk::BulkWorkflow},
    store::{
        self, Page,
        assignment_views::Assignment,
        workflow_graph::{self, ChainLink},
        workflows::Workflow,
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_workflows, create_workflow))
        .routes(routes!(create_workflows))
        .routes(routes!(get_graph))
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
/// Also has the source listed into the pool or, where `previousWorkflowId` is given, the work that is done there
/// handed on.
#[utoipa::path(post, path = "/api/workflows", tag = "workflows", request_body = WorkflowFields,
    responses((status = 201, body = Workflow), BadRequest))]
async fn create_workflow(
    State(state): State<AppState>,
    Json(fields): Json<WorkflowFields>,
) -> ApiResult<(StatusCode, Json<Workflow>)> {
    Ok((StatusCode::CREATED, Json(ops::workflows::create(&state.queue, &fields).await?)))
}

/// Several workflows to create.
#[derive(Debug, Deserialize, ToSchema)]
struct WorkflowsInput {
    /// 1 to 50 of them.
    #[schema(min_items = 1, max_items = 50)]
    workflows: Vec<BulkWorkflow>,
}

#[derive(Debug, Serialize, ToSchema)]
struct WorkflowsCreated {
    created: usize,
    /// In the order of the list.
    workflows: Vec<Workflow>,
}

/// Create workflows.
///
/// All of them or, if one is refused, none. Workflows of the list name each other by their place in it, from 0:
/// `previousWorkflowIndex` in place of `previousWorkflowId`, `rejectionRouteWorkflowIndex` in place of
/// `rejectionRouteWorkflowId`. The ids name workflows that exist already.
#[utoipa::path(post, path = "/api/workflows/bulk", tag = "workflows", request_body = WorkflowsInput,
    responses((status = 201, body = WorkflowsCreated), BadRequest))]
async fn create_workflows(
    State(state): State<AppState>,
    Json(input): Json<WorkflowsInput>,
) -> ApiResult<(StatusCode, Json<WorkflowsCreated>)> {
    let workflows = ops::workflow_bulk::create(&state.queue, input.workflows).await?;
    Ok((StatusCode::CREATED, Json(WorkflowsCreated { created: workflows.len(), workflows })))
}

/// Show how workflows hang together.
///
/// Every workflow with its figures, where its accepted work goes and where its rejections go.
#[utoipa::path(get, path = "/api/workflows/graph", tag = "workflows", responses((status = 200, body = Graph)))]
async fn get_graph(State(state): State<AppState>) -> ApiResult<Json<Graph>> {
    Ok(Json(Graph::of(workflow_graph::nodes(&mut *state.db().await?).await?)))
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
    let mut chain = workflow_graph::upstream(&mut db, id).await?;
    // Twice in it only where a circle was closed behind the API's back.
    let after = workflow_graph::downstream(&mut db, id).await?;
    let after: Vec<_> = after.into_iter().filter(|link| chain.iter().all(|one| one.id != link.id)).collect();
    chain.extend(after);
    Ok(Json(WorkflowInChain { workflow, chain }))
}

/// Change a workflow.
///
/// A new `s3SourcePath` is listed, work that is done in a new `previousWorkflowId` is handed on; what came from the
/// former one and nobody ever got leaves the pool. `isActive: false` pauses the workflow: nothing is assigned from it
/// and nothing handed on to it, until `true` makes good for what was missed.
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
