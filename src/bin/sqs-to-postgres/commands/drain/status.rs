//! The progress and the health of a drain: for the progress bar, the summary, Prometheus and a probe.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use sqs_to_postgres::sqs::Depth;
use sqs_to_postgres::telemetry::Totals;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::metrics::{self, TEXT_FORMAT};
use crate::cli::error::CliError;
use crate::cli::output::counted;
use crate::cli::progress::{Progress, rate};

/// How long a connection may take. A scrape takes milliseconds.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Shared by all parts of a drain.
#[derive(Debug, Clone)]
pub(super) struct Status {
    totals: Arc<Mutex<Totals>>,
    stored: &'static str,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The time at work, without waiting for messages.
    worked: Duration,
    /// The last uninterrupted period of work, which `worked` does not include.
    working: Option<(Instant, Instant)>,
    pub(super) received: usize,
    /// Stored, or sent to the dead-letter queue.
    pub(super) done: usize,
    /// Done, but not deleted from the queue.
    pub(super) undeleted: usize,
    pub(super) released: usize,
    /// Left in the queue, because their batch as a whole could not be stored.
    pub(super) left: usize,
    /// Different messages whose last attempt failed; with `--follow`, failed attempts.
    pub(super) failed: usize,
    pub(super) in_flight: usize,
    pub(super) depth: Depth,
    pub(super) is_queue_down: bool,
    pub(super) is_database_down: bool,
}

impl Status {
    /// `stored` is what a message becomes: "message" if always one row.
    pub(super) fn new(totals: Arc<Mutex<Totals>>, stored: &'static str) -> Self {
        Self {
            totals,
            stored,
            counts: Arc::default(),
        }
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn totals(&self) -> Totals {
        let totals = self.totals.lock();
        totals.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn settled(&self, done: usize, undeleted: usize, failed: usize) {
        let mut counts = self.counts();
        counts.done += done;
        counts.undeleted += undeleted;
        counts.failed = failed;
    }

    /// Records work from then until now. Concurrent work counts once.
    pub(super) fn worked(&self, began: Instant) {
        let (mut counts, now) = (self.counts(), Instant::now());
        let (from, to) = counts.working.unwrap_or((began, began));
        counts.working = Some(if began <= to {
            (from.min(began), now)
        } else {
            counts.worked += to - from;
            (began, now)
        });
    }

    /// Whether messages are left in the queue.
    pub(super) fn has_failures(&self) -> bool {
        let counts = self.counts();
        counts.failed + counts.left + counts.released > 0
    }

    /// Whether messages are invisible for no other reason than that they failed here.
    pub(super) fn is_only_failed_invisible(&self) -> bool {
        let counts = self.counts();
        counts.left == 0 && counts.depth.invisible <= counts.failed as u64
    }

    /// Whether every message of the queue is stored.
    pub(super) fn is_drained(&self) -> bool {
        let is_invisible = self.counts().depth.invisible > 0;
        !is_invisible && !self.has_failures() && self.totals().dead_lettered == 0
    }

    /// Updates the progress bar.
    pub(super) fn show(&self, progress: &Progress) {
        let counts = self.counts();
        progress.set(
            counts.done,
            &format!("stored, {} in the queue", counts.depth.waiting),
        );
    }

    /// The summary, in a line.
    pub(super) fn summary(
        &self,
        is_json: bool,
        is_interrupted: bool,
        max_invisible: Duration,
    ) -> String {
        let (counts, totals) = (self.counts(), self.totals());
        if is_json {
            return as_json(&counts, &totals, is_interrupted, max_invisible).to_string();
        }
        let (stored, worked) = (totals.rows.written as usize, counts.worked());
        let mut summary = match counts.received {
            0 => "no messages".to_owned(),
            _ => format!(
                "stored {} {}",
                counted(stored, self.stored),
                rate(stored, worked)
            ),
        };
        let rest = [
            (totals.rows.duplicates as usize, "stored already"),
            (totals.rows.stale as usize, "older than their row"),
            (totals.rows.deleted as usize, "rows deleted"),
            (totals.skipped as usize, "skipped, as no table takes them"),
            (
                totals.empty_rows as usize,
                "rows without a value of the body",
            ),
            (counts.failed, "failed"),
            (
                totals.dead_lettered as usize,
                "sent to the dead-letter queue",
            ),
            (counts.left, "not stored, because their batch failed"),
            (counts.released, "released to the queue"),
            (counts.undeleted, "stored, but not deleted"),
            (counts.depth.waiting as usize, "waiting in the queue"),
        ];
        for (count, what) in rest.iter().filter(|(count, _)| *count > 0) {
            // Writing to a String cannot fail.
            _ = write!(summary, "; {count} {what}");
        }
        summary += &counts.invisible(max_invisible);
        if is_interrupted {
            summary += "; interrupted";
        }
        summary
    }
}

impl Counts {
    fn worked(&self) -> Duration {
        self.worked + self.working.map_or(Duration::ZERO, |(from, to)| to - from)
    }

    /// How many messages are invisible, for how long at most, and why.
    fn invisible(&self, at_most: Duration) -> String {
        let (count, secs) = (self.depth.invisible, at_most.as_secs());
        let why = match (count as usize).saturating_sub(self.failed + self.left) {
            0 if count == 0 => return String::new(),
            0 if self.left > 0 => "backed off, because their batch failed",
            0 => "because they failed",
            _ => {
                "because others received them, they are delayed, or an outage backed them off; --wait-invisible waits for them"
            }
        };
        format!("; {count} invisible in the queue for up to {secs} s, {why}")
    }
}

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
    serve_connections(listener, routes).await
}

/// Each connection is for one request, and is closed after a timeout, so a client that does not finish its request
/// does not keep the connection.
async fn serve_connections(mut listener: TcpListener, routes: Router) -> ! {
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
        connections.spawn(async { timeout(CONNECTION_TIMEOUT, answering).await.map(drop) });
    }
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

/// The summary for machines.
fn as_json(
    counts: &Counts,
    totals: &Totals,
    is_interrupted: bool,
    max_invisible: Duration,
) -> Value {
    let seconds = counts.worked().as_secs_f64();
    json!({
        "received": counts.received, "stored": totals.rows.written, "duplicates": totals.rows.duplicates, "stale": totals.rows.stale,
        "deleted": totals.rows.deleted, "skipped": totals.skipped, "empty_rows": totals.empty_rows, "failed": counts.failed,
        "dead_lettered": totals.dead_lettered, "released": counts.released, "left": counts.left,
        "undeleted": counts.undeleted, "seconds": seconds, "waiting": counts.depth.waiting,
        "invisible": counts.depth.invisible, "max_invisible_seconds": max_invisible.as_secs(), "interrupted": is_interrupted,
    })
}
