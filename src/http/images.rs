//! `GET /i/{token}`: the image of a task, for the annotator's browser.
//!
//! The token is all that Label Studio holds: no key name, no expiry in the middle of a batch, and gold looks like
//! the rest. For the same reason the bytes are passed through instead of redirecting to a presigned URL, which
//! would show the key to whoever opens the browser's network panel.

use aws_sdk_s3::error::DisplayErrorContext;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, Response, header},
};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::{ApiResult, AppState, extract::PathText};
use crate::{ops::Error, store};

/// The image of a task.
#[utoipa::path(get, path = "/i/{token}", tag = "images", security(()), params(("token" = String, Path)),
    responses(
        (status = 200, description = "The image", content_type = "image/*"),
        (status = 404, description = "No task has this token", body = super::error::ErrorBody),
        (status = 503, description = "The storage does not answer", body = super::error::ErrorBody)))]
pub async fn image(State(state): State<AppState>, PathText(token): PathText) -> ApiResult<Response<Body>> {
    let token: Uuid = token.parse().map_err(|_| Error::NotFound("Image"))?;
    let mut db = state.pool.acquire().await?;
    let key = store::images::key(&mut db, token).await?.ok_or(Error::NotFound("Image"))?;
    drop(db);
    let object = state.s3.client.get_object().bucket(&state.s3.bucket).key(&key).send().await;
    let object = object.map_err(|error| {
        if error.as_service_error().is_some_and(|cause| cause.is_no_such_key()) {
            return Error::NotFound("Image");
        }
        tracing::error!(%token, key, error = %DisplayErrorContext(&error), "an image was not read");
        Error::Unavailable("the image storage does not answer: try again shortly".into())
    })?;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let kind = object.content_type().filter(|kind| kind.starts_with("image/"));
    let kind = kind.and_then(|kind| HeaderValue::from_str(kind).ok());
    headers.insert(header::CONTENT_TYPE, kind.unwrap_or_else(|| HeaderValue::from_static(guess(&key))));
    if let Some(length) = object.content_length().and_then(|length| u64::try_from(length).ok()) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    // Label Studio draws the image into a canvas that it reads back.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    // An SVG from the bucket must not run scripts with the API's origin.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    *response.body_mut() = Body::from_stream(ReaderStream::new(object.body.into_async_read()));
    Ok(response)
}

/// By extension, for objects that were stored without a type.
fn guess(key: &str) -> &'static str {
    match key.rsplit('.').next().map(str::to_ascii_lowercase).as_deref() {
        Some("png") => "image/png",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("svg") => "image/svg+xml",
        Some("bmp") => "image/bmp",
        Some("avif") => "image/avif",
        Some("tif" | "tiff") => "image/tiff",
        _ => "image/jpeg",
    }
}
