//! A reverse proxy on loopback that does to requests what networks do: refuses, loses answers, stalls.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Answered 500 without reaching the other side.
    Refuse,
    /// Reaches the other side; the answer is replaced by a 500.
    LoseAnswer,
    /// Reaches the other side; no answer ever comes.
    Stall,
}

type Plan = Arc<dyn Fn(&Method, &str) -> Fault + Send + Sync>;

pub struct Proxy {
    pub url: String,
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Passes requests on to `upstream`, and asks `plan` about each (method and path) first.
    pub async fn start(
        upstream: &str,
        plan: impl Fn(&Method, &str) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan: Plan = Arc::new(plan);
        let state = (upstream.to_owned(), plan, reqwest::Client::new());
        let router = axum::Router::new().fallback(pass).with_state(state);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url: format!("http://{address}"), address, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    State((upstream, plan, client)): State<(String, Plan, reqwest::Client)>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let fault = plan(&parts.method, parts.uri.path());
    if fault == Fault::Refuse {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let sent =
        client.request(parts.method, format!("{upstream}{path}")).headers(headers).body(body).send().await;
    let Ok(answer) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
    match fault {
        Fault::LoseAnswer => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Fault::Stall => std::future::pending().await,
        _ => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            if let Some(kind) = answer.headers().get("content-type") {
                response.headers_mut().insert("content-type", kind.clone());
            }
            *response.body_mut() = Body::from(answer.bytes().await.unwrap_or_default());
            response
        }
    }
}
