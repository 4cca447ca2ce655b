//! The HTTP surface: one file a resource. Handlers read the request, call a use case of `ops` (or a plain read
//! of `store`) and shape the answer; nothing is decided here.
//!
//! - [`error`]: the one envelope of failures; [`extract`], [`page`]: what comes in, checked
//! - [`observe`], [`metrics`]: what happens around every request
//! - [`openapi`]: the document, generated from the handlers; [`reference`](mod@reference): its table for people
//! - [`worker`]: what a worker serves
//! - [`door`]: who is asking and what they may; [`auth`]: the login; the rest: a resource each
//!
//! Routes are closed unless they are listed in [`open_routes`], and for administrators only if they are listed
//! in [`admin_routes`].

use std::{future::IntoFuture, sync::Arc, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, http::StatusCode, middleware, serve::ListenerExt};
use serde::Serialize;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::{net::TcpListener, sync::Notify};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::ToSchema;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    config::Config,
    domain::{Scope, Secrets},
    queue,
    s3::S3,
};

mod annotators;
mod assignments;
mod auth;
mod door;
mod error;
mod events;
mod extract;
mod gold_tasks;
mod images;
mod job_filter;
mod job_stream;
mod jobs;
mod keys;
mod labeling_configs;
mod metrics;
mod monitoring;
mod observe;
mod openapi;
mod page;
mod quality;
mod queues;
mod reconcile;
mod reference;
mod rejections;
mod roles;
mod schedules;
mod settings;
mod system;
mod tasks;
mod users;
mod webhook;
mod worker;
mod workers;
mod workflow_graph;
mod workflows;

use error::{ApiError, ApiResult};
use extract::Json;
pub use webhook::BODY_LIMIT as WEBHOOK_BODY_LIMIT;
pub use worker::WorkerEndpoint;

pub use reference::reference;

/// Larger bodies are answered with 413 where a route says nothing else.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// How long requests under way may take to end once the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// What handlers reach. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub config: Arc<Config>,
    pub pool: PgPool,
    pub queue: queue::Client,
    pub s3: S3,
    pub secrets: Secrets,
    streams: job_stream::Streams,
}

impl AppState {
    pub fn new(config: Config, queue: queue::Client) -> Self {
        Self {
            pool: queue.pool().clone(),
            queue,
            s3: S3::new(&config.s3),
            secrets: Secrets::new(config.secret_key.expose()),
            config: Arc::new(config),
            streams: job_stream::Streams::default(),
        }
    }

    /// A connection for a plain read.
    async fn db(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        self.pool.acquire().await
    }
}

/// That something was done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    #[schema(example = true)]
    success: bool,
}

impl Done {
    pub const SUCCESS: Self = Self { success: true };
}

/// Without a session: each of these has a credential of its own, or needs none.
fn open_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(system::health))
        .routes(routes!(system::version))
        .routes(routes!(metrics::metrics_text))
        .routes(routes!(images::image))
        .routes(routes!(webhook::webhook).layer(DefaultBodyLimit::max(webhook::BODY_LIMIT)))
        .routes(routes!(auth::get_csrf))
        .routes(routes!(auth::log_in))
        .routes(routes!(auth::log_out))
        .routes(routes!(auth::get_session))
        .routes(routes!(annotators::report_token))
}

/// For whoever may read or, for all methods but `GET`, write.
fn closed_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(roles::routes())
        .merge(labeling_configs::routes())
        .merge(gold_tasks::routes())
        .merge(workflows::routes())
        .merge(annotators::routes())
        .merge(assignments::routes())
        .merge(tasks::routes())
        .merge(rejections::routes())
        .merge(settings::routes())
        .merge(events::routes())
        .merge(monitoring::routes())
        .merge(quality::routes())
        .merge(jobs::routes())
        .merge(job_stream::routes())
        .merge(queues::routes())
        .merge(workers::routes())
        .merge(schedules::routes())
        .routes(routes!(reconcile::run_reconcile))
}

/// For administrators.
fn admin_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(users::routes())
        .merge(keys::routes())
        .merge(settings::admin_routes())
        .merge(jobs::admin_routes())
}

/// The OpenAPI document of [`router`].
pub fn document() -> utoipa::openapi::OpenApi {
    let mut closed = closed_routes().into_openapi();
    openapi::guard(&mut closed, door::needed);
    let mut admin = admin_routes().into_openapi();
    openapi::guard(&mut admin, |_| Scope::Admin);
    let mut document = open_routes().into_openapi().merge_from(closed).merge_from(admin);
    openapi::complete(&mut document);
    document
}

pub fn router(state: AppState) -> Router {
    metrics::recorder();
    let document = Json(Arc::new(document()));
    let closed = Router::from(closed_routes())
        .route_layer(middleware::from_fn_with_state(state.clone(), door::operators));
    let admin = Router::from(admin_routes())
        .route_layer(middleware::from_fn_with_state(state.clone(), door::administrators));
    Router::from(open_routes())
        .merge(closed)
        .merge(admin)
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

/// Answers requests until `shutdown` is done, then lets the running ones end, for [`DRAIN`] at most.
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
    let draining = Arc::new(Notify::new());
    let begun = Arc::clone(&draining);
    let streams = state.streams.stopping.clone();
    let server = axum::serve(listener, router(state)).with_graceful_shutdown(async move {
        shutdown.await;
        // They end only so.
        streams.cancel();
        begun.notify_one();
    });
    let deadline = async {
        draining.notified().await;
        tokio::time::sleep(DRAIN).await;
    };
    let served = tokio::select! {
        served = server.into_future() => served,
        () = deadline => {
            tracing::warn!("requests under way were cut off: they did not end within {DRAIN:?}");
            Ok(())
        }
    };
    upkeep.abort();
    served
}
