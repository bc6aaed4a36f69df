//! Retrying: how long to wait before the next attempt, and until when.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::telemetry::messages::RETRYING;

/// Exponential with full jitter.
/// Source: <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
const BASE: Duration = Duration::from_millis(50);
const CAP: Duration = Duration::from_secs(5);

/// How long to wait after this attempt; the first has the number 0.
pub fn backoff(attempt: u32) -> Duration {
    ceiling(attempt).mul_f64(fastrand::f64())
}

fn ceiling(attempt: u32) -> Duration {
    BASE.saturating_mul(2_u32.saturating_pow(attempt)).min(CAP)
}

/// Retries while the error is transient and there is time for another attempt.
///
/// # Errors
/// The error of the last attempt. An attempt must end by itself when time is up.
pub async fn retry<T, E: Display>(
    until: Instant,
    is_transient: impl Fn(&E) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut number = 0;
    loop {
        let error = match attempt().await {
            Err(error) if is_transient(&error) => error,
            ended => return ended,
        };
        let wait = backoff(number);
        if Instant::now() + wait >= until {
            return Err(error);
        }
        tracing::warn!(reason = %error, attempt = number, wait_millis = wait.as_millis() as u64, "{RETRYING}");
        sleep(wait).await;
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_cap_with_full_jitter() {
        for attempt in [0, 3, 30, u32::MAX] {
            assert!((0..100).all(|_| backoff(attempt) <= ceiling(attempt)));
        }
        assert!((0..100).any(|_| backoff(30) > CAP / 2));
    }
}
