//! How much time a batch has, and how it is divided.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Time reserved at the end of an invocation.
struct Margin {
    at_most: Duration,
    /// At most this fraction of a short time is reserved.
    one_in: u32,
}

/// To back messages off after the last retry.
const BACKOFF_MARGIN: Margin = Margin {
    at_most: Duration::from_secs(3),
    one_in: 3,
};

/// To answer after a statement that was cancelled.
const STATEMENT_MARGIN: Margin = Margin {
    at_most: Duration::from_secs(2),
    one_in: 5,
};

/// To write the log.
const LOG_MARGIN: Margin = Margin {
    at_most: Duration::from_millis(300),
    one_in: 10,
};

/// Smaller values are not Unix timestamps but the time remaining; cargo-lambda sends those.
const EARLIEST_TIMESTAMP_MILLIS: u64 = 1_000_000_000_000;

/// An attempt that is shorter says nothing about a lock: Postgres stores hundreds of rows in this time, also where it
/// is busy. At the same time short enough for the seven attempts that it takes to find one of 100 rows in 5 seconds.
const SHORTEST_TRY: Duration = Duration::from_millis(200);

/// When to stop what, so that the answer is out before Lambda kills the function.
#[derive(Debug, Clone, Copy)]
pub struct TimeBudget {
    /// While the database is unavailable, retries end then.
    pub retry_until: Instant,
    /// A running statement is cancelled then.
    pub stop_at: Instant,
    /// Cleaning up after that ends then.
    pub answer_by: Instant,
}

impl TimeBudget {
    /// The budget until the deadline of an invocation, in milliseconds since 1970.
    pub fn until(deadline_millis: u64) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let deadline = Duration::from_millis(deadline_millis);
        let left = if deadline_millis < EARLIEST_TIMESTAMP_MILLIS {
            deadline
        } else {
            deadline.saturating_sub(now)
        };
        let before = |margin: Margin| {
            Instant::now() + left.saturating_sub(margin.at_most.min(left / margin.one_in))
        };
        Self {
            retry_until: before(BACKOFF_MARGIN),
            stop_at: before(STATEMENT_MARGIN),
            answer_by: before(LOG_MARGIN),
        }
    }

    /// When to stop waiting for the bodies of messages in S3: while S3 does not answer, the other messages can be stored.
    pub(crate) fn of_objects(&self) -> Instant {
        let now = Instant::now();
        now + self.retry_until.saturating_duration_since(now) / 2
    }

    /// When to cancel one attempt of a statement, which may take one of so many shares of the time left.
    pub(crate) fn of_one_try(&self, shares: u32) -> Instant {
        let now = Instant::now();
        let left = self.stop_at.saturating_duration_since(now);
        self.stop_at.min(now + share(left, shares))
    }
}

/// One of so many shares of the time left, but not too short.
pub(crate) fn share(left: Duration, shares: u32) -> Duration {
    (left / shares.max(1)).max(SHORTEST_TRY).min(left)
}
