//! `/api/jobs`: background jobs, for operators and whoever is on call.

use axum::extract::State;
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer, de::Error as _};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, Done,
    error::{ApiResult, BadRequest, Conflict, NotFound},
    extract::{Id, Json},
    page::{Keyset, KeysetParams},
};
use crate::{
    domain::check::Checks,
    ops::{Error, Result},
    queue::{
        JobId,
        admin::{
            self, AdminError, Job, JobDetail, JobFilter, JobState, Listed,
            bulk::{self, Bulk},
        },
    },
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_jobs))
        .routes(routes!(get_job))
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

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct JobQuery {
    #[serde(default, deserialize_with = "name")]
    #[param(min_length = 1, max_length = 100)]
    kind: Option<String>,
    #[serde(default, deserialize_with = "name")]
    #[param(min_length = 1, max_length = 100)]
    queue: Option<String>,
    /// One or several, with commas between them.
    #[serde(default, deserialize_with = "states")]
    #[param(value_type = Option<Vec<JobState>>, style = Form, explode = false, inline)]
    state: Vec<JobState>,
    #[serde(default, deserialize_with = "year")]
    created_from: Option<DateTime<Utc>>,
    /// Exclusive.
    #[serde(default, deserialize_with = "year")]
    created_to: Option<DateTime<Utc>>,
    /// In the arguments or the last error, in any case.
    #[serde(default, deserialize_with = "text")]
    #[param(min_length = 1, max_length = 200)]
    text: Option<String>,
}

/// Which jobs are meant: the filter of the list. At least one of `state`, `kind`, `queue` and `text` is needed, and a
/// field that is none of these is refused, so that a slip of the pen doesn't mean more than was thought.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JobSelection {
    #[serde(default, deserialize_with = "name")]
    #[schema(min_length = 1, max_length = 100)]
    kind: Option<String>,
    #[serde(default, deserialize_with = "name")]
    #[schema(min_length = 1, max_length = 100)]
    queue: Option<String>,
    /// Final ones only.
    #[serde(default)]
    #[schema(inline)]
    state: Vec<JobState>,
    #[serde(default, deserialize_with = "year")]
    created_from: Option<DateTime<Utc>>,
    /// Exclusive.
    #[serde(default, deserialize_with = "year")]
    created_to: Option<DateTime<Utc>>,
    /// In the arguments or the last error, in any case.
    #[serde(default, deserialize_with = "text")]
    #[schema(min_length = 1, max_length = 200)]
    text: Option<String>,
}

impl JobSelection {
    /// If each state is among `states`.
    fn filter(self, states: &[JobState]) -> Result<JobFilter> {
        let mut checks = Checks::default();
        for (place, state) in self.state.iter().enumerate() {
            let wanted = states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
            checks.require(
                &format!("state[{place}]"),
                states.contains(state),
                format!("must be one of: {wanted}"),
            );
        }
        let Self { kind, queue, state: states, created_from, created_to, text } = self;
        let filter = JobFilter { states, kind, queue, created_from, created_to, text };
        checks.require("", filter.is_narrow(), "give at least one of state, kind, queue and text");
        check_times(&mut checks, &filter);
        checks.done().map_err(Error::Invalid)?;
        Ok(filter)
    }
}

fn check_times(checks: &mut Checks, filter: &JobFilter) {
    let in_order = filter.created_from.zip(filter.created_to).is_none_or(|(from, to)| from < to);
    checks.require("createdTo", in_order, "must be later than createdFrom");
}

/// List jobs.
///
/// The newest first. Pages go by id and not by offset: jobs come and go by the thousand a second, so that an offset
/// would show some twice and others never, and would have to count all that it passes over. Go on with `before` =
/// `nextBefore` until that is null; a search may bring pages that are not full, or empty.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", params(JobQuery, KeysetParams),
    responses((status = 200, body = Listed), BadRequest))]
async fn list_jobs(
    State(state): State<AppState>,
    Keyset { filter, before, limit }: Keyset<JobQuery>,
) -> ApiResult<Json<Listed>> {
    let JobQuery { kind, queue, state: states, created_from, created_to, text } = filter;
    let filter = JobFilter { states, kind, queue, created_from, created_to, text };
    let mut checks = Checks::default();
    check_times(&mut checks, &filter);
    checks.done().map_err(Error::Invalid)?;
    let Listed { data, next_before } = admin::list(&state.pool, &filter, before.map(JobId), limit).await?;
    let data = data.into_iter().map(|job| state.queue.show(job)).collect();
    Ok(Json(Listed { data, next_before }))
}

/// Get a job.
///
/// With its arguments, every run and the last 1,000 lines of its log.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = JobDetail), BadRequest, NotFound))]
async fn get_job(State(state): State<AppState>, Id(id): Id<JobId>) -> ApiResult<Json<JobDetail>> {
    let detail = admin::detail(&state.pool, id).await?;
    Ok(Json(JobDetail { job: state.queue.show(detail.job), ..detail }))
}

/// Retry a job.
///
/// Makes a discarded, cancelled or waiting job due now. One whose attempts are used up gets one more.
#[utoipa::path(post, path = "/api/jobs/{id}/retry", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = Job), BadRequest, NotFound, Conflict))]
async fn retry_job(State(state): State<AppState>, Id(id): Id<JobId>) -> ApiResult<Json<Job>> {
    Ok(Json(state.queue.show(admin::retry(&state.queue, id).await?)))
}

/// Cancel a job.
///
/// A waiting job is cancelled, a running one is asked to stop: `cancelRequestedAt` says since when. Doing it again is no
/// error.
#[utoipa::path(post, path = "/api/jobs/{id}/cancel", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = Job), BadRequest, NotFound, Conflict))]
async fn cancel_job(State(state): State<AppState>, Id(id): Id<JobId>) -> ApiResult<Json<Job>> {
    Ok(Json(state.queue.show(admin::cancel(&state.pool, id).await?)))
}

/// Delete a job.
///
/// Only a final one, with its runs and its log.
#[utoipa::path(delete, path = "/api/jobs/{id}", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = Done), BadRequest, NotFound, Conflict))]
async fn delete_job(State(state): State<AppState>, Id(id): Id<JobId>) -> ApiResult<Json<Done>> {
    admin::delete(&state.pool, id).await?;
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
    let filter = selection.filter(&bulk::RETRIED)?;
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
    let filter = selection.filter(&bulk::DELETED)?;
    Ok(Json(bulk::delete(&state.queue, &filter).await?))
}

/// The name of a kind or a queue.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    short(deserializer, 100)
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    short(deserializer, 200)
}

fn short<'de, D: Deserializer<'de>>(deserializer: D, most: usize) -> Result<Option<String>, D::Error> {
    let given = Option::<String>::deserialize(deserializer)?;
    let mut checks = Checks::default();
    checks.optional_text("", given.as_deref(), 1..=most);
    match checks.done() {
        Ok(()) => Ok(given),
        Err(issues) => Err(D::Error::custom(
            issues.into_iter().map(|issue| issue.message).collect::<Vec<_>>().join(", "),
        )),
    }
}

/// A time that Postgres can hold.
fn year<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let given = Option::<DateTime<Utc>>::deserialize(deserializer)?;
    match given {
        Some(at) if !(1..=9999).contains(&at.year()) => {
            Err(D::Error::custom("must be of the years 1 to 9999"))
        }
        _ => Ok(given),
    }
}

fn states<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<JobState>, D::Error> {
    String::deserialize(deserializer)?
        .split(',')
        .map(|state| state.parse().map_err(D::Error::custom))
        .collect()
}
