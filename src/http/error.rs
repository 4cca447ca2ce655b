//! How every failure looks from outside: a status and `{"error", "details"?}`.
//!
//! [`ops::Error`] says what happened, [`ApiError`] how it is told. What is our fault is logged here, with the
//! whole chain of causes, and told without it.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::ops::{self, Issue};

pub type ApiResult<T> = Result<T, ApiError>;

#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    details: Vec<Issue>,
    retry_after_secs: Option<u64>,
}

/// The body of every error.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// What is wrong, for people.
    pub error: String,
    /// The bad fields, where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub details: Vec<Issue>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), details: Vec::new(), retry_after_secs: None }
    }

    /// 503 that says when to come back.
    pub fn unavailable(message: impl Into<String>, retry_after_secs: u64) -> Self {
        Self {
            retry_after_secs: Some(retry_after_secs),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }

    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than this endpoint takes")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: self.message, details: self.details };
        let mut response = (self.status, axum::Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 wants a scheme named; `Basic` would have browsers ask for a password.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_secs {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Lets `?` carry whatever a use case may fail with.
impl<E: Into<ops::Error>> From<E> for ApiError {
    fn from(error: E) -> Self {
        let error = error.into();
        let status = match &error {
            ops::Error::Invalid(_) | ops::Error::Refused(_) => StatusCode::BAD_REQUEST,
            ops::Error::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            ops::Error::Forbidden(_) => StatusCode::FORBIDDEN,
            ops::Error::NotFound(_) | ops::Error::Absent(_) => StatusCode::NOT_FOUND,
            ops::Error::Conflict(_) | ops::Error::Taken(_) => StatusCode::CONFLICT,
            ops::Error::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            ops::Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            ops::Error::Database(cause) if is_away(cause) => {
                tracing::error!(error = chain(&error), "the database is away");
                return Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the database can't be reached; nothing was changed, try again shortly",
                );
            }
            ops::Error::Database(_) | ops::Error::Internal(_) => {
                tracing::error!(error = chain(&error), "request failed");
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error; the log has the cause");
            }
        };
        let mut told = Self::new(status, error.to_string());
        match error {
            ops::Error::Invalid(issues) | ops::Error::Absent(issues) | ops::Error::Taken(issues) => {
                told.details = issues;
            }
            ops::Error::TooMany { retry_after_secs, .. } => told.retry_after_secs = Some(retry_after_secs),
            _ => {}
        }
        told
    }
}

/// Whether the server is gone, going or full, as opposed to a statement that failed.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Connection exceptions, too many connections, and the server's shutdown and start.
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| {
            code.starts_with("08") || matches!(&*code, "53300" | "57P01" | "57P02" | "57P03")
        }),
        _ => false,
    }
}

/// An error with all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The errors that endpoints document, each with the envelope.
macro_rules! documented {
    ($($name:ident = $status:literal $description:literal),* $(,)?) => {$(
        #[derive(utoipa::IntoResponses)]
        #[response(status = $status, description = $description)]
        #[expect(dead_code, reason = "a schema; the answer itself is made by ApiError")]
        pub(crate) struct $name(ErrorBody);
    )*};
}

documented! {
    BadRequest = 400 "Malformed, or not allowed in this state; `details` names the fields",
    Unauthorized = 401 "Not who they say",
    NotFound = 404 "No such thing",
    Conflict = 409 "Another thing stands in the way",
    TooManyStreams = 503 "As many are served already as one process serves, or the database can't be reached; \
                          `Retry-After` may say when to come back",
    TooMany = 429 "Too many attempts; `Retry-After` says when to come back",
}
