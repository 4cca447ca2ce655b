//! `/api/events`

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState,
    error::{ApiResult, BadRequest},
    extract::Json,
    page::{Listing, PageParams, Paginated},
};
use crate::{
    domain::{AnnotatorId, EventKind},
    store::events::{self, Event, Filter},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_events))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct EventFilter {
    #[param(inline)]
    r#type: Option<EventKind>,
    #[param(value_type = Option<i64>)]
    annotator_id: Option<AnnotatorId>,
}

/// List events.
///
/// What happened to instances and what was annotated, the newest first.
#[utoipa::path(get, path = "/api/events", tag = "events", params(EventFilter, PageParams),
    responses((status = 200, body = Paginated<Event>), BadRequest))]
async fn list_events(
    State(state): State<AppState>,
    Listing { filter, page }: Listing<EventFilter>,
) -> ApiResult<Json<Paginated<Event>>> {
    let filter = Filter { kind: filter.r#type, annotator: filter.annotator_id };
    let events = events::list(&mut *state.db().await?, filter, page).await?;
    Ok(Json(Paginated::new(page, events)))
}
