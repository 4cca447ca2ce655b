//! Extractors that answer in the error envelope and name the field that is wrong.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};

use super::error::{ApiError, ApiResult};
use crate::ops::Error;

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
        if !has_type(request.headers(), "application/json") {
            return Err(Error::Refused("Content-Type must be application/json".into()).into());
        }
        Ok(Self(parse_json(&body(request, state).await?)?))
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
        Ok(Self(parse_urlencoded(&body(request, state).await?)?))
    }
}

/// The query string. Fields that `T` doesn't know are ignored.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        Ok(Self(parse_urlencoded(parts.uri.query().unwrap_or_default().as_bytes())?))
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

fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(wanted)
}

/// Reads `bytes` as JSON; what does not fit is named by its path.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| if error.inner().is_data() { misfit(error) } else { malformed(error.inner()) })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Reads a JSON value that is at hand already.
pub fn parse_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(misfit)
}

fn parse_urlencoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let pairs = url::form_urlencoded::parse(bytes);
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(misfit)
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::Refused(format!("the body is not well-formed JSON: {error}"))
}

fn misfit<E: std::error::Error>(error: serde_path_to_error::Error<E>) -> Error {
    let message = error.inner().to_string();
    // serde_json's place in the text adds nothing to the path.
    let message = message.split(" at line ").next().unwrap_or_default();
    let path = match error.path().to_string() {
        root if root == "." => String::new(),
        path => path,
    };
    // serde puts a missing field's error on what should contain it.
    match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        Some(field) if path.is_empty() => Error::invalid(field, "is required"),
        Some(field) => Error::invalid(format!("{path}.{field}"), "is required"),
        None => Error::invalid(path, message),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Outer {
        inner: Vec<Inner>,
        limit: Option<i64>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Inner {
        name: String,
    }

    fn issue(json: &str) -> (String, String) {
        match parse_json::<Outer>(json.as_bytes()).unwrap_err() {
            Error::Invalid(issues) => (issues[0].path.clone(), issues[0].message.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_field_is_named_by_its_path() {
        assert_eq!(issue("{}"), ("inner".into(), "is required".into()));
        assert_eq!(issue(r#"{"inner":[{}]}"#), ("inner[0].name".into(), "is required".into()));
        let (path, message) = issue(r#"{"inner":[{"name":"a"},{"name":7}]}"#);
        assert_eq!(path, "inner[1].name");
        assert_eq!(message, "invalid type: integer `7`, expected a string");
    }

    #[test]
    fn malformed_json_is_told_apart() {
        for text in ["{", "", "{\"inner\":[]} x"] {
            assert!(matches!(parse_json::<Outer>(text.as_bytes()), Err(Error::Refused(_))), "{text}");
        }
    }

    #[test]
    fn a_query_names_its_field_too() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only read into")]
        struct Filter {
            limit: Option<i64>,
        }
        let error = parse_urlencoded::<Filter>(b"limit=ten").unwrap_err();
        assert!(matches!(error, Error::Invalid(issues) if issues[0].path == "limit"));
    }
}
