//! `/api/rejections`

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    error::{ApiResult, BadRequest, NotFound},
    extract::{Id, Json},
    page::{Listing, PageParams, Paginated},
};
use crate::{
    domain::{AnnotatorId, RejectionId, RejectionMode, WorkflowId},
    ops::Error,
    store::{
        assignment_views::{self, Assignment},
        rejection_views::{self, Filter, Rejection},
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_rejections)).routes(routes!(get_rejection))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct RejectionFilter {
    /// The reviewer's workflow.
    #[param(value_type = Option<i64>)]
    workflow_id: Option<WorkflowId>,
    /// The annotator whose work was rejected.
    #[param(value_type = Option<i64>)]
    annotator_id: Option<AnnotatorId>,
    #[param(inline)]
    action_taken: Option<RejectionMode>,
}

/// List rejections.
///
/// The newest first; those that were taken back have the status `withdrawn`.
#[utoipa::path(get, path = "/api/rejections", tag = "rejections", params(RejectionFilter, PageParams),
    responses((status = 200, body = Paginated<Rejection>), BadRequest))]
async fn list_rejections(
    State(state): State<AppState>,
    Listing { filter, page }: Listing<RejectionFilter>,
) -> ApiResult<Json<Paginated<Rejection>>> {
    let filter = Filter {
        id: None,
        workflow: filter.workflow_id,
        original_annotator: filter.annotator_id,
        action: filter.action_taken,
    };
    let rejections = rejection_views::list(&mut *state.db().await?, filter, page).await?;
    Ok(Json(Paginated::new(page, rejections)))
}

/// A rejection with all that belongs to it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RejectionDetail {
    #[serde(flatten)]
    rejection: Rejection,
    reviewer_assignment: Assignment,
    original_assignment: Assignment,
    /// Where the work is done again, once that was handed out.
    routed_to_assignment: Option<Assignment>,
}

/// Get a rejection.
#[utoipa::path(get, path = "/api/rejections/{id}", tag = "rejections", params(("id" = i64, Path)),
    responses((status = 200, body = RejectionDetail), BadRequest, NotFound))]
async fn get_rejection(
    State(state): State<AppState>,
    Id(id): Id<RejectionId>,
) -> ApiResult<Json<RejectionDetail>> {
    const NOT_FOUND: Error = Error::NotFound("Rejection");
    let mut db = state.db().await?;
    let rejection = rejection_views::get(&mut db, id).await?.ok_or(NOT_FOUND)?;
    let reviewer_assignment =
        assignment_views::get(&mut db, rejection.reviewer_assignment_id).await?.ok_or(NOT_FOUND)?;
    let original_assignment =
        assignment_views::get(&mut db, rejection.original_assignment_id).await?.ok_or(NOT_FOUND)?;
    let routed_to_assignment = match rejection.routed_to_assignment_id {
        Some(id) => assignment_views::get(&mut db, id).await?,
        None => None,
    };
    Ok(Json(RejectionDetail { rejection, reviewer_assignment, original_assignment, routed_to_assignment }))
}
