//! The HTTP surface: one file a resource. Handlers read the request, call a use case of `ops` (or a plain read
//! of `store`) and shape the answer; nothing is decided here.
//!
//! - [`error`]: the one envelope of failures; [`extract`], [`page`]: what comes in, checked
//! - [`observe`], [`metrics`]: what happens around every request
//! - [`openapi`]: the document, generated from the handlers
//! - [`auth`]: who is asking; the rest: a resource each
//!
//! Routes are closed unless they are listed in [`open_routes`].

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware, serve::ListenerExt};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{config::Config, domain::Secrets, queue, s3::S3};

pub mod auth;
pub mod error;
pub mod extract;
pub mod images;
pub mod metrics;
pub mod observe;
pub mod openapi;
pub mod page;
pub mod system;
pub mod webhook;

pub use error::{ApiError, ApiResult};
pub use extract::{Form, Id, Json, Query};
pub use page::{PageParams, Paginated};

/// Larger bodies are answered with 413 where a route says nothing else.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// What handlers reach. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub config: Arc<Config>,
    pub pool: PgPool,
    pub queue: queue::Client,
    pub s3: S3,
    pub secrets: Secrets,
}

impl AppState {
    pub fn new(config: Config, queue: queue::Client) -> Self {
        Self {
            pool: queue.pool().clone(),
            queue,
            s3: S3::new(&config.s3),
            secrets: Secrets::new(config.secret_key.expose()),
            config: Arc::new(config),
        }
    }
}

/// Without a session: each of these has a credential of its own, or needs none.
fn open_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(system::health))
        .routes(routes!(system::version))
        .routes(routes!(metrics::metrics_text))
        .routes(routes!(images::image))
        .routes(routes!(webhook::webhook).layer(DefaultBodyLimit::max(webhook::BODY_LIMIT)))
}

fn closed_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
}

fn routes() -> (Router<AppState>, utoipa::openapi::OpenApi) {
    let (router, mut document) = open_routes().merge(closed_routes()).split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

/// The OpenAPI document of [`router`].
pub fn document() -> utoipa::openapi::OpenApi {
    routes().1
}

pub fn router(state: AppState) -> Router {
    metrics::recorder();
    let (router, document) = routes();
    let document = Json(Arc::new(document));
    router
        .route("/api/openapi.json", axum::routing::get(async move || document.clone()))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is no such path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path doesn't take this method")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(middleware::from_fn(observe::observe))
        .with_state(state)
}

/// Answers requests until `shutdown` is done, then lets the running ones end.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let upkeep = tokio::spawn(metrics::upkeep());
    // Answers are small and whole: waiting to fill a packet only costs time.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(?error, "TCP_NODELAY was refused");
        }
    });
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(shutdown).await;
    upkeep.abort();
    served
}
