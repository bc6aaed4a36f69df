//! The pages of a drain: metrics for Prometheus, and its health for a probe.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::{self, TEXT_FORMAT};
use super::status::Status;
use crate::cli::error::CliError;
use crate::cli::http::serve_connections;

/// How long a connection may take. A scrape takes milliseconds.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// `PORT` on loopback, or `ADDRESS:PORT`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse();
    let on_loopback = port.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    on_loopback.or_else(|_| text.parse()).map_err(|_| {
        "give a port, or an address and a port: 9187, 0.0.0.0:9187, [::]:9187".to_owned()
    })
}

/// Binds the address at startup, so an unusable one is reported at once.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, CliError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| {
        CliError::invalid(format!(
            "cannot listen on {address} ({error}): name a free port and an address of this machine"
        ))
    })
}

/// Answers requests while this future is polled.
pub(super) async fn serve(listener: Option<TcpListener>, status: &Status) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let routes = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(healthz))
        .with_state(status.clone());
    serve_connections(listener, routes, CONNECTION_TIMEOUT).await
}

async fn scrape(
    State(status): State<Status>,
) -> ([(axum::http::HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, TEXT_FORMAT)], metrics::text(&status))
}

/// Healthy while messages can be received and batches stored. The cause of a failure is only in the log: it names hosts
/// and secrets, which any client could read here.
async fn healthz(State(status): State<Status>) -> (StatusCode, &'static str) {
    let counts = status.counts();
    match counts.is_queue_down || counts.is_database_down {
        true => (StatusCode::SERVICE_UNAVAILABLE, "unavailable\n"),
        false => (StatusCode::OK, "ok\n"),
    }
}
