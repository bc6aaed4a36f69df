//! Counts paths that no column reads, so that a field that a producer adds is noticed.
//!
//! This takes about as long as turning the message into rows. So only one message is looked at, the first of a batch,
//! and only every ten seconds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mapping::internals::Reads;
use mapping::{Compiled, Pipeline, Record};
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(10);

/// A larger body is not looked at: as a tree of values it takes several times its size.
const MAX_BODY_BYTES: usize = 256 << 10;

/// The paths that a mapping reads, and when a message was last compared with them.
pub(crate) struct Unread {
    /// `None` if a program makes the body: what it reads is not known.
    reads: Option<Reads>,
    looked_at: Option<Instant>,
}

impl Unread {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        Self {
            reads: pipeline.jq.is_none().then(|| Reads::of(pipeline)),
            looked_at: None,
        }
    }

    /// How many paths of the first message no column reads; `None` if it was not looked at, or is not JSON.
    pub(crate) fn count(
        &mut self,
        records: &[Record<'_>],
        compiled: &Compiled,
        now: Instant,
    ) -> Option<usize> {
        let reads = self.reads.as_ref()?;
        let record = records.first()?;
        if self.looked_at.is_some_and(|at| now - at < INTERVAL) {
            return None;
        }
        self.looked_at = Some(now);
        let count = || {
            let message = compiled.extract(record).ok()?;
            let body = message.body();
            if body.len() > MAX_BODY_BYTES {
                return None;
            }
            let body = serde_json::from_str(body).ok()?;
            Some(reads.unread(&body).len())
        };
        // A panic would cost the whole batch.
        catch_unwind(AssertUnwindSafe(count)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use mapping::read_event;
    use serde_json::json;

    use super::*;

    const COLUMN: &str =
        "key = [\"k\"]\ncolumn = [{ name = \"k\", type = \"text\", required = true }]";

    /// What is counted of messages with these bodies, when they come so long after each other.
    fn counted(mapping: &str, bodies: &[&str], pause: Duration) -> Vec<Option<usize>> {
        let pipeline = Pipeline::parse("p", mapping).unwrap();
        let compiled = Compiled::new("p", &pipeline, None).unwrap();
        let mut unread = Unread::new(&pipeline);
        let (mut counts, mut now) = (Vec::new(), Instant::now());
        for body in bodies {
            let event = json!({"Records": [{"messageId": "m", "body": body}]}).to_string();
            counts.push(unread.count(&read_event(event.as_bytes()).unwrap(), &compiled, now));
            now += pause;
        }
        counts
    }

    #[test]
    fn one_message_is_looked_at_every_ten_seconds() {
        let mapping = format!("table = \"t\"\n{COLUMN}");
        let bodies = [r#"{"k": 1, "a": 1, "b": {"c": 1}}"#; 4];
        let counts = counted(&mapping, &bodies, Duration::from_secs(5));
        assert_eq!(counts, [Some(2), None, Some(2), None]);
    }

    #[test]
    fn what_is_no_json_is_large_or_made_by_a_program_is_not_counted() {
        let mapping = format!("table = \"t\"\n{COLUMN}");
        let large = format!(r#"{{"k": 1, "a": "{}"}}"#, "x".repeat(MAX_BODY_BYTES));
        let bodies = ["no JSON", &large, r#"{"k": 1, "a": 1}"#];
        let counts = counted(&mapping, &bodies, INTERVAL);
        assert_eq!(counts, [None, None, Some(1)]);
        let shaped = format!("jq = \".a\"\n[[table]]\nname = \"t\"\n{COLUMN}");
        let counts = counted(&shaped, &[r#"{"a": {"k": 1, "b": 1}}"#], INTERVAL);
        assert_eq!(counts, [None]);
    }
}
