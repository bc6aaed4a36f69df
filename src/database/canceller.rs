//! Cancelling a statement: over a connection of its own, as Postgres's protocol demands.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_postgres::CancelToken;

use super::tls::TlsOfMode;
use crate::causes::causes;

/// A request to cancel a statement must not delay the answer.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(250);

/// Cancels what runs on a connection, while somebody waits for its answer.
pub struct Canceller {
    pub(super) token: CancelToken,
    pub(super) tls: TlsOfMode,
}

impl Canceller {
    /// Asks the server to cancel the statement in progress. Best effort, and short.
    pub async fn cancel(&self, until: Instant) {
        let until = until.min(Instant::now() + CANCEL_TIMEOUT);
        let cancelled = self.token.cancel_query(self.tls.clone());
        if let Ok(Err(error)) = timeout_at(until, cancelled).await {
            tracing::debug!(
                reason = causes(&error),
                "the statement could not be cancelled"
            );
        }
    }
}
