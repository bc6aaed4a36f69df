//! Retrying: how long to wait before the next attempt, and until when.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

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
        if !pause(until, number, &error).await {
            return Err(error);
        }
        number += 1;
    }
}

/// As [`retry`], for attempts that do not end by themselves: the last one is dropped when time is up. Having been
/// dropped it says nothing about the cause, so the error is that of the attempt before it.
///
/// # Errors
/// The error of the last attempt that ended; `no_answer` if none did.
pub(crate) async fn retry_in_time<T, E: Display>(
    until: Instant,
    is_transient: impl Fn(&E) -> bool,
    no_answer: E,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut number = 0;
    let mut last = no_answer;
    while let Ok(ended) = timeout_at(until, attempt()).await {
        last = match ended {
            Err(error) if is_transient(&error) => error,
            ended => return ended,
        };
        if !pause(until, number, &last).await {
            break;
        }
        number += 1;
    }
    Err(last)
}

/// Waits after the attempt of this number, which failed so; `false` if there is no time for another.
async fn pause(until: Instant, number: u32, error: &impl Display) -> bool {
    let wait = backoff(number);
    let has_time = Instant::now() + wait < until;
    if has_time {
        tracing::warn!(reason = %error, attempt = number, wait_millis = wait.as_millis() as u64, "{RETRYING}");
        sleep(wait).await;
    }
    has_time
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
