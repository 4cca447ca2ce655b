//! What a worker serves: its metrics for Prometheus, and a sign of life for whoever runs it. There is no authentication, so
//! it listens only where it is told to.

use std::{future::IntoFuture, net::SocketAddr};

use anyhow::Context;
use axum::{Router, routing::get};
use tokio::net::TcpListener;

use super::metrics;

/// A worker's endpoint, bound and not yet served.
#[derive(Debug)]
pub struct WorkerEndpoint(TcpListener);

impl WorkerEndpoint {
    /// From here on what is counted is kept for `/metrics`, so bind before the worker starts.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        metrics::recorder();
        let listener = TcpListener::bind(address).await;
        Ok(Self(listener.with_context(|| format!("WORKER_METRICS_ADDR: listen on {address}"))?))
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Until it is dropped.
    pub async fn serve(self) -> std::io::Result<()> {
        let router =
            Router::new().route("/metrics", get(metrics::metrics_text)).route("/health", get(async || "ok"));
        tokio::select! {
            served = axum::serve(self.0, router).into_future() => served,
            () = metrics::upkeep() => Ok(()),
        }
    }
}
