//! Pages over HTTP.

use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Answers requests. Each connection is for one request, and is closed after a timeout, so a client that does not finish
/// its request does not keep the connection.
pub(crate) async fn serve_connections(
    mut listener: TcpListener,
    routes: Router,
    longest: Duration,
) -> ! {
    let mut connections = JoinSet::new();
    loop {
        // After an error, for example when there are no file descriptors left, this accepts again.
        let (stream, _) = Listener::accept(&mut listener).await;
        while connections.try_join_next().is_some() {}
        let answering = http1::Builder::new().keep_alive(false).serve_connection(
            TokioIo::new(stream),
            TowerToHyperService::new(routes.clone()),
        );
        // An error only affects a client that has disconnected.
        connections.spawn(async move { timeout(longest, answering).await.map(drop) });
    }
}
