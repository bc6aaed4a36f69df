//! The progress and the health of a drain.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::sqs::Depth;
use sqs_to_postgres::telemetry::Totals;
use tokio::time::Instant;

use super::pace::Pace;
use super::unread::Unread;
use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{counted, escaped, listed, set};
use crate::cli::progress::{Progress, rate};

/// Shared by all parts of a drain.
#[derive(Debug, Clone)]
pub(super) struct Status {
    totals: Arc<Mutex<Totals>>,
    words: Words,
    counts: Arc<Mutex<DrainCounts>>,
    unread: Arc<Mutex<Unread>>,
}

/// What the summary calls what it counts, which depends on the mapping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// What is stored: "message" if each is always one row.
    pub(super) stored: &'static str,
    /// Rows whose key the table had.
    pub(super) duplicates: &'static str,
}

/// The depth of the queue, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) enum LastDepth {
    #[default]
    NotRead,
    Read(Depth),
    /// The last attempt to read it failed.
    Unknown(AwsError),
}

#[derive(Debug, Default)]
pub(super) struct DrainCounts {
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
    /// Not stored, and invisible until their visibility timeout expires.
    pub(super) unreleased: usize,
    /// Still in the queue, because their batch as a whole could not be stored.
    pub(super) left: usize,
    /// Different messages whose last attempt failed; with `--follow`, failed attempts.
    pub(super) failed: usize,
    pub(super) in_flight: usize,
    pub(super) depth: LastDepth,
    pub(super) is_queue_down: bool,
    pub(super) is_database_down: bool,
}

impl Status {
    pub(super) fn new(totals: Arc<Mutex<Totals>>, words: Words, unread: Unread) -> Self {
        Self {
            totals,
            words,
            counts: Arc::default(),
            unread: Arc::new(Mutex::new(unread)),
        }
    }

    pub(super) fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The paths that no column reads, in a line.
    pub(super) fn unread_line(&self) -> Option<String> {
        let (first, more) = self.unread().first();
        let count = counted(first.len() + more, "path");
        let more = if more > 0 { ", …" } else { "" };
        let named = listed(first.iter().map(|path| escaped(path)));
        (!first.is_empty()).then(|| {
            format!("{count} that no column reads, by one message of each batch: {named}{more}")
        })
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, DrainCounts> {
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

    /// Whether messages remain in the queue.
    pub(super) fn has_failures(&self) -> bool {
        let counts = self.counts();
        counts.failed + counts.left + counts.released + counts.unreleased > 0
    }

    /// Whether messages are invisible for no other reason than that they failed here.
    pub(super) fn is_only_failed_invisible(&self) -> bool {
        let counts = self.counts();
        let depth = counts.depth.known();
        counts.left == 0 && depth.is_some_and(|depth| depth.invisible <= counts.failed as u64)
    }

    /// How a drain ends that follows no queue: done if every message of the queue is stored, as far as SQS says. After an
    /// interrupt it did not look for more.
    pub(super) fn outcome(&self, is_interrupted: bool) -> Outcome {
        if is_interrupted {
            return Outcome::SomeFailed;
        }
        let depth = self.counts().depth.clone();
        match depth {
            LastDepth::Unknown(error) => CliError::from(error).outcome(),
            LastDepth::NotRead => Outcome::SomeFailed,
            LastDepth::Read(depth) => Outcome::done_if(
                depth.invisible == 0 && !self.has_failures() && self.totals().dead_lettered == 0,
            ),
        }
    }

    /// Updates the progress bar. A queue that is followed has no end.
    pub(super) fn show(&self, progress: &mut Progress, is_following: bool) {
        let counts = self.counts();
        let depth = counts.depth.known().filter(|_| !is_following);
        let total = depth.map(|depth| counts.done + (depth.waiting + depth.invisible) as usize);
        let done = match (total, counts.depth.known()) {
            (None, Some(depth)) => format!("stored, {} in the queue", depth.waiting),
            (None, None) => "stored, ? in the queue".to_owned(),
            (Some(_), _) => "stored".to_owned(),
        };
        progress.set(counts.done, total, done);
    }

    /// The summary, in a line.
    pub(super) fn summary(
        &self,
        is_json: bool,
        is_interrupted: bool,
        times: Invisibility,
        pace: &Pace,
    ) -> String {
        let longest = match self.is_only_failed_invisible() {
            true => times.failed,
            false => times.others,
        };
        let (counts, totals) = (self.counts(), self.totals());
        if is_json {
            let mut summary = as_json(&counts, &totals, is_interrupted, longest);
            set(&mut summary, "paths_unread", self.unread().count());
            let (requests, messages) = pace.most();
            set(&mut summary, "concurrency", requests);
            set(&mut summary, "batch_size", messages);
            return summary.to_string();
        }
        let (stored, worked) = (totals.rows.written as usize, counts.worked());
        let mut summary = match counts.received {
            0 => "no messages".to_owned(),
            _ => format!(
                "stored {} {}",
                counted(stored, self.words.stored),
                rate(stored, worked)
            ),
        };
        let in_batch = totals.rows.duplicates_in_batch;
        let in_table = totals.rows.duplicates.saturating_sub(in_batch);
        let waiting = counts.depth.known().map_or(0, |depth| depth.waiting);
        let rest = [
            (in_table as usize, self.words.duplicates),
            (
                in_batch as usize,
                "with the key of another row of their batch",
            ),
            (totals.rows.stale as usize, "older than the stored row"),
            (totals.rows.deleted as usize, "rows deleted"),
            (totals.rows.tombstones as usize, "tombstones written"),
            (totals.skipped as usize, "skipped (they produce no row)"),
            (
                totals.empty_rows as usize,
                "rows without a value from the body",
            ),
            (counts.failed, "failed"),
            (
                totals.dead_lettered as usize,
                "sent to the dead-letter queue",
            ),
            (counts.left, "not stored, because their batch failed"),
            (counts.released, "released to the queue"),
            (
                counts.unreleased,
                "not stored, and invisible until their visibility timeout expires",
            ),
            (counts.undeleted, "stored, but not deleted"),
            (waiting as usize, "waiting in the queue"),
        ];
        for (count, what) in rest.iter().filter(|(count, _)| *count > 0) {
            summary += &format!("; {count} {what}");
        }
        if let Some((requests, messages)) = pace.raised() {
            summary += &format!(
                "; chose up to {requests} receive requests at a time and {messages} messages per batch"
            );
        }
        summary += &counts.invisible(times);
        if is_interrupted {
            summary += "; interrupted";
        }
        summary
    }
}

impl DrainCounts {
    fn worked(&self) -> Duration {
        self.worked + self.working.map_or(Duration::ZERO, |(from, to)| to - from)
    }

    /// How many messages are invisible, why, and for how long at most. Which of them they are SQS does not say: those
    /// that failed in this run are invisible for now.
    fn invisible(&self, times: Invisibility) -> String {
        let depth = match &self.depth {
            LastDepth::Read(depth) => depth,
            LastDepth::NotRead => return String::new(),
            LastDepth::Unknown(error) => {
                return format!("; depth of the queue unknown ({})", error.reason());
            }
        };
        let all = depth.invisible as usize;
        let failed = all.min(self.failed);
        let left = (all - failed).min(self.left);
        let others = all - failed - left;
        let groups = [
            (failed, "failed in this run", times.failed, ""),
            (
                left,
                "backed off because their batch failed",
                times.others,
                "",
            ),
            (
                others,
                "received by another consumer or an earlier run, delayed, or backed off",
                times.others,
                "; --wait-invisible waits for them",
            ),
        ];
        let groups = groups.iter().filter(|(count, ..)| *count > 0);
        let groups = groups.map(|(count, why, at_most, then)| {
            let secs = at_most.as_secs();
            format!("{count} {why} (visible again within {secs} s{then})")
        });
        match all {
            0 => String::new(),
            _ => format!("; {all} invisible in the queue: {}", listed(groups)),
        }
    }
}

/// For how long messages remain invisible at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invisibility {
    /// If they failed in this run.
    pub(super) failed: Duration,
    pub(super) others: Duration,
}

impl LastDepth {
    pub(super) fn known(&self) -> Option<Depth> {
        match self {
            Self::Read(depth) => Some(*depth),
            Self::NotRead | Self::Unknown(_) => None,
        }
    }
}

impl From<Result<Depth, AwsError>> for LastDepth {
    fn from(read: Result<Depth, AwsError>) -> Self {
        match read {
            Ok(depth) => Self::Read(depth),
            Err(error) => Self::Unknown(error),
        }
    }
}

/// The summary for machines.
fn as_json(
    counts: &DrainCounts,
    totals: &Totals,
    is_interrupted: bool,
    max_invisible: Duration,
) -> Value {
    let seconds = counts.worked().as_secs_f64();
    let depth = counts.depth.known();
    let unknown = match &counts.depth {
        LastDepth::Unknown(error) => Some(error.reason()),
        LastDepth::NotRead | LastDepth::Read(_) => None,
    };
    json!({
        "received": counts.received, "stored": totals.rows.written, "duplicates": totals.rows.duplicates,
        "duplicates_in_batch": totals.rows.duplicates_in_batch, "stale": totals.rows.stale,
        "deleted": totals.rows.deleted, "tombstones": totals.rows.tombstones, "skipped": totals.skipped, "empty_rows": totals.empty_rows, "failed": counts.failed,
        "dead_lettered": totals.dead_lettered, "released": counts.released,
        "unreleased": counts.unreleased, "left": counts.left,
        "undeleted": counts.undeleted, "seconds": seconds, "waiting": depth.map(|depth| depth.waiting),
        "invisible": depth.map(|depth| depth.invisible), "depth_unknown": unknown,
        "max_invisible_seconds": max_invisible.as_secs(), "interrupted": is_interrupted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: Depth = Depth {
        waiting: 0,
        invisible: 0,
        delayed: 0,
    };

    fn status(depth: LastDepth) -> Status {
        with_totals(Totals::default(), depth)
    }

    fn with_totals(totals: Totals, depth: LastDepth) -> Status {
        let words = Words {
            stored: "message",
            duplicates: "stored already",
        };
        let status = Status::new(Arc::new(Mutex::new(totals)), words, Unread::of_test());
        status.counts().depth = depth;
        status.settled(3, 0, 0);
        status
    }

    #[test]
    fn a_drain_is_done_only_if_nothing_failed_nothing_is_invisible_and_nobody_interrupted_it() {
        let all_stored = || status(LastDepth::Read(EMPTY));
        assert_eq!(all_stored().outcome(false), Outcome::Done);
        assert_eq!(all_stored().outcome(true), Outcome::SomeFailed);
        let invisible = Depth {
            invisible: 1,
            ..EMPTY
        };
        let invisible = status(LastDepth::Read(invisible));
        assert_eq!(invisible.outcome(false), Outcome::SomeFailed);
        let failed: [fn(&mut DrainCounts) -> &mut usize; 4] = [
            |counts| &mut counts.failed,
            |counts| &mut counts.left,
            |counts| &mut counts.released,
            |counts| &mut counts.unreleased,
        ];
        for count in failed {
            let status = all_stored();
            *count(&mut status.counts()) = 1;
            assert_eq!(status.outcome(false), Outcome::SomeFailed);
        }
        let totals = Totals {
            dead_lettered: 1,
            ..Totals::default()
        };
        let dead_lettered = with_totals(totals, LastDepth::Read(EMPTY));
        assert_eq!(dead_lettered.outcome(false), Outcome::SomeFailed);
    }

    #[test]
    fn a_drain_that_could_not_look_at_the_queue_is_not_done() {
        let unknown = LastDepth::Unknown(AwsError::Unavailable {
            what: "queue \"q\"".to_owned(),
            reason: "ServiceUnavailable".to_owned(),
        });
        assert_eq!(status(unknown).outcome(false), Outcome::Unavailable);
        let not_read = status(LastDepth::NotRead);
        assert_eq!(not_read.outcome(false), Outcome::SomeFailed);
    }
}
