//! Extractors that answer in the error envelope and name the field that is wrong.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};

use super::error::{ApiError, ApiResult};
use crate::ops::{Error, parse};

/// A JSON body, in and out.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        // Also what keeps other sites' forms out: a browser asks before it sends this type across sites.
        require_json(request.headers())?;
        Ok(Self(parse::json(&body(request, state).await?)?))
    }
}

/// An `application/x-www-form-urlencoded` body.
#[derive(Debug, Clone)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        if !has_type(request.headers(), "application/x-www-form-urlencoded") {
            return Err(
                Error::Refused("Content-Type must be application/x-www-form-urlencoded".into()).into()
            );
        }
        Ok(Self(parse::urlencoded(&body(request, state).await?)?))
    }
}

/// The one id in the path.
#[derive(Debug, Clone, Copy)]
pub struct Id<T>(pub T);

impl<T: From<i64>, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let id = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => text.parse::<i64>().ok(),
            Err(_) => None,
        };
        let id = id.ok_or_else(|| Error::invalid("id", "must be a whole number"))?;
        Ok(Self(T::from(id)))
    }
}

/// The one text in the path.
#[derive(Debug, Clone)]
pub struct PathText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Error::Refused("the path must be UTF-8".into()).into()),
        }
    }
}

async fn body<S: Send + Sync>(request: Request, state: &S) -> ApiResult<Bytes> {
    whole(Bytes::from_request(request, state).await)
}

/// A body that arrived whole and within its limit.
pub fn whole(body: Result<Bytes, BytesRejection>) -> ApiResult<Bytes> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(),
        status => ApiError::new(status, rejection.body_text()),
    })
}

pub fn require_json(headers: &HeaderMap) -> ApiResult<()> {
    if has_type(headers, "application/json") {
        return Ok(());
    }
    Err(Error::Refused("Content-Type must be application/json".into()).into())
}

fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(wanted)
}
