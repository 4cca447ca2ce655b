//! `/api/assignments`

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, Conflict, NotFound},
    extract::{Id, Json},
    page::{Listing, PageParams, Paginated},
};
use crate::{
    domain::{AnnotatorId, AssignmentId, AssignmentStatus, WorkflowId},
    ops::{self, Error},
    store::{
        self,
        annotators::Annotator,
        assignment_views::{Assignment, AssignmentTask, Filter, GoldResult},
        workflows::Workflow,
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_assignments)).routes(routes!(get_assignment, cancel_assignment))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct AssignmentFilter {
    #[param(value_type = Option<i64>)]
    workflow_id: Option<WorkflowId>,
    #[param(value_type = Option<i64>)]
    annotator_id: Option<AnnotatorId>,
    #[param(inline)]
    status: Option<AssignmentStatus>,
}

/// List assignments.
///
/// The newest first.
#[utoipa::path(get, path = "/api/assignments", tag = "assignments", params(AssignmentFilter, PageParams),
    responses((status = 200, body = Paginated<Assignment>), BadRequest))]
async fn list_assignments(
    State(state): State<AppState>,
    Listing { filter, page }: Listing<AssignmentFilter>,
) -> ApiResult<Json<Paginated<Assignment>>> {
    let filter = Filter {
        id: None,
        workflow: filter.workflow_id,
        annotator: filter.annotator_id,
        status: filter.status,
    };
    let assignments = store::assignment_views::list(&mut *state.db().await?, filter, page).await?;
    Ok(Json(Paginated::new(page, assignments)))
}

/// An assignment with all that belongs to it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AssignmentDetail {
    #[serde(flatten)]
    assignment: Assignment,
    annotator: Annotator,
    workflow: Workflow,
    tasks: Vec<AssignmentTask>,
    gold_results: Vec<GoldResult>,
}

/// Get an assignment.
#[utoipa::path(get, path = "/api/assignments/{id}", tag = "assignments", params(("id" = i64, Path)),
    responses((status = 200, body = AssignmentDetail), BadRequest, NotFound))]
async fn get_assignment(
    State(state): State<AppState>,
    Id(id): Id<AssignmentId>,
) -> ApiResult<Json<AssignmentDetail>> {
    const NOT_FOUND: Error = Error::NotFound("Assignment");
    let mut db = state.db().await?;
    let mut assignment = store::assignment_views::get(&mut db, id).await?.ok_or(NOT_FOUND)?;
    // The whole of each stands below instead.
    (assignment.annotator, assignment.workflow) = (None, None);
    let annotator = store::annotators::get_any(&mut db, assignment.annotator_id).await?.ok_or(NOT_FOUND)?;
    let workflow = store::workflows::get(&mut db, assignment.workflow_id).await?.ok_or(NOT_FOUND)?;
    let tasks = store::assignment_views::tasks(&mut db, id).await?;
    let gold_results = store::assignment_views::gold_results(&mut db, id).await?;
    Ok(Json(AssignmentDetail { assignment, annotator, workflow, tasks, gold_results }))
}

/// Cancel an assignment.
///
/// Cancels a pending or in-progress assignment; images that nobody labeled go back to the pool.
#[utoipa::path(delete, path = "/api/assignments/{id}", tag = "assignments", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound, Conflict))]
async fn cancel_assignment(State(state): State<AppState>, Id(id): Id<AssignmentId>) -> ApiResult<Json<Done>> {
    ops::assignments::cancel(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}
