//! Figures for a Prometheus of another machine: `GET /metrics`, and nothing else, without a token.
//!
//! It is off until an owner asks for it. What stands in the figures is meant to be seen by whoever
//! reaches the listener: counts, never names, prompts or addresses. No other path leads anywhere, a
//! request has no body, and connections, heads and answers are bounded like the local API's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use hive_api::Hive;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::control::{METRICS, OPENMETRICS};
use crate::problem::Problem;
use crate::server::{ServeError, accept};

/// Scrapers at once; a usual one comes alone every few seconds.
const CONNECTIONS: usize = 16;
/// Time for a request's head, and for an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Figures that are being served. Dropping it closes it at once.
#[derive(Debug)]
pub struct Scrape {
    address: SocketAddr,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Scrape {
    /// Serves a node's figures. The address may be one that other machines reach.
    pub async fn start(address: SocketAddr, hive: Arc<dyn Hive>) -> Result<Self, ServeError> {
        let failed = |source: io::Error| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // `HEAD` comes with `GET`.
        let router = Router::new()
            .route(METRICS, on(MethodFilter::GET, metrics))
            .layer(DefaultBodyLimit::max(0))
            .with_state(hive);
        let stop = CancellationToken::new();
        let accepting =
            tokio::spawn(accept(listener, router, CONNECTIONS, HEADER_TIMEOUT, stop.clone()));
        tracing::info!(%address, "figures are up");
        Ok(Self { address, stop, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and waits a moment for answers to be read.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // It ends by itself; a panic in it was logged and leaves nothing to do.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Scrape {
    fn drop(&mut self) {
        self.stop.cancel();
        self.accepting.abort();
    }
}

async fn metrics(State(hive): State<Arc<dyn Hive>>) -> Result<Response, Problem> {
    let text = hive.metrics().await?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}
