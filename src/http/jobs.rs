//! `/api/jobs`: background jobs, for operators and whoever is on call.

use axum::{Extension, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, Conflict, NotFound},
    extract::{Id, Json},
    job_filter::{JobQuery, JobSelection},
    page::{Keyset, KeysetParams},
};
use crate::{
    domain::Caller,
    ops::Error,
    queue::{
        BatchId, JobId,
        admin::{
            self, AdminError, Job, JobDetail, Listed,
            batches::{self, BatchView},
            bulk::{self, Bulk},
        },
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_jobs))
        .routes(routes!(get_job))
        .routes(routes!(get_batch))
        .routes(routes!(retry_job))
        .routes(routes!(cancel_job))
        .routes(routes!(retry_jobs))
}

/// What takes a job away for good.
pub fn admin_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(delete_job)).routes(routes!(delete_jobs))
}

impl From<AdminError> for Error {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotFound(_) => Self::NotFound("Job"),
            AdminError::Refused(why) => Self::Conflict(why),
            AdminError::Database(error) => error.into(),
        }
    }
}

/// List jobs.
///
/// The newest first. Pages go by id and not by offset: jobs come and go by the thousand a second, so that an offset
/// would show some twice and others never, and would have to count all that it passes over. Go on with `before` =
/// `nextBefore` until that is null; a search may bring pages that are not full, or empty. A parameter that is none of
/// these is refused: misspelled it would show more than was asked for.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", params(JobQuery, KeysetParams),
    responses((status = 200, body = Listed), BadRequest))]
async fn list_jobs(
    State(state): State<AppState>,
    Keyset { filter, before, limit }: Keyset<JobQuery>,
) -> ApiResult<Json<Listed>> {
    let filter = filter.checked()?;
    Ok(Json(admin::list(&state.queue, &filter, before.map(JobId), limit).await?))
}

/// Get a job.
///
/// With its arguments, every run and the last 1,000 lines of its log.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = JobDetail), BadRequest, NotFound))]
async fn get_job(State(state): State<AppState>, Id(id): Id<JobId>) -> ApiResult<Json<JobDetail>> {
    Ok(Json(admin::detail(&state.queue, id).await?))
}

/// Get a batch.
///
/// How many of its jobs are in each state, and which jobs wait for it. `GET /api/jobs?batch=` lists its jobs.
#[utoipa::path(get, path = "/api/jobs/batches/{id}", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = BatchView), BadRequest, NotFound))]
async fn get_batch(State(state): State<AppState>, Id(id): Id<BatchId>) -> ApiResult<Json<BatchView>> {
    Ok(Json(batches::get(&state.pool, id).await?.ok_or(Error::NotFound("Batch"))?))
}

/// Retry a job.
///
/// Makes a discarded, cancelled or waiting job due now. One whose attempts are used up gets one more; one that waits for
/// others waits for them no longer.
#[utoipa::path(post, path = "/api/jobs/{id}/retry", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = Job), BadRequest, NotFound, Conflict))]
async fn retry_job(State(state): State<AppState>, Id(id): Id<JobId>) -> ApiResult<Json<Job>> {
    Ok(Json(admin::retry(&state.queue, id).await?))
}

/// Cancel a job.
///
/// A waiting job is cancelled, and its last error says by whom; a running one is asked to stop: `cancelRequestedAt` says
/// since when. Doing it again is no error.
#[utoipa::path(post, path = "/api/jobs/{id}/cancel", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = Job), BadRequest, NotFound, Conflict))]
async fn cancel_job(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Id(id): Id<JobId>,
) -> ApiResult<Json<Job>> {
    Ok(Json(admin::cancel(&state.queue, id, &caller.name).await?))
}

/// Delete a job.
///
/// Only a final one, with its runs and its log.
#[utoipa::path(delete, path = "/api/jobs/{id}", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound, Conflict))]
async fn delete_job(State(state): State<AppState>, Id(id): Id<JobId>) -> ApiResult<Json<Done>> {
    admin::delete(&state.queue, id).await?;
    Ok(Json(Done::SUCCESS))
}

/// Retry jobs by filter.
///
/// Makes discarded and cancelled jobs due now; without a `state` the discarded ones. A thousand are changed at a time,
/// and what was changed stays so if the caller goes away.
#[utoipa::path(post, path = "/api/jobs/retry", tag = "jobs", request_body = JobSelection,
    responses((status = 200, body = Bulk), BadRequest))]
async fn retry_jobs(
    State(state): State<AppState>,
    Json(selection): Json<JobSelection>,
) -> ApiResult<Json<Bulk>> {
    let filter = selection.among(&bulk::RETRIED)?;
    Ok(Json(bulk::retry(&state.queue, &filter).await?))
}

/// Delete jobs by filter.
///
/// Final ones only; a thousand at a time, and what was deleted stays so if the caller goes away.
#[utoipa::path(post, path = "/api/jobs/delete", tag = "jobs", request_body = JobSelection,
    responses((status = 200, body = Bulk), BadRequest))]
async fn delete_jobs(
    State(state): State<AppState>,
    Json(selection): Json<JobSelection>,
) -> ApiResult<Json<Bulk>> {
    let filter = selection.among(&bulk::DELETED)?;
    Ok(Json(bulk::delete(&state.queue, &filter).await?))
}
