//! Paths that no column reads: a producer that adds a field is noticed. One message of a batch is looked at, so that it
//! costs nothing.

use std::collections::BTreeSet;
use std::fmt;

use mapping::internals::Reads;
use mapping::{Message, Pipeline, Record, Wrapping};
use serde::Deserialize as _;
use serde_json::Value;

use crate::commands::infer::FieldNames;

/// More paths than this are counted as this many.
const MAX_PATHS: usize = 1_000;

/// So many are named.
const MAX_NAMED: usize = 5;

/// What is not read of the messages that were looked at.
pub(super) struct Unread {
    reads: Reads,
    wrapping: Wrapping,
    /// Whether the mapping makes other messages of the ones that come.
    is_shaped: bool,
    /// The steps of each path.
    paths: BTreeSet<Vec<Option<String>>>,
    names: FieldNames,
}

/// The keys of messages may be data.
impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unread").finish_non_exhaustive()
    }
}

impl Unread {
    pub(super) fn new(pipeline: &Pipeline) -> Self {
        Self {
            reads: Reads::of(pipeline),
            wrapping: pipeline.wrapping.clone(),
            is_shaped: pipeline.jq.is_some(),
            paths: BTreeSet::new(),
            names: FieldNames::default(),
        }
    }

    /// Looks at a message, as Lambda would pass it.
    pub(super) fn see(&mut self, record: Value) {
        let Ok(record) = Record::deserialize(record) else {
            return;
        };
        let Ok(message) = Message::extract(&record, &self.wrapping) else {
            return;
        };
        if self.is_shaped || self.paths.len() >= MAX_PATHS {
            return;
        }
        if let Ok(body) = serde_json::from_str(message.body()) {
            let unread = self.reads.unread(&body);
            // What is known already takes no more memory.
            if !unread.is_subset(&self.paths) {
                self.names.see(message.body());
                self.paths.extend(unread);
            }
        }
    }

    /// The paths, with `*` for keys that look like data.
    fn shown(&self) -> BTreeSet<String> {
        let paths = self.paths.iter().map(|path| self.names.path(path));
        paths.collect()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.shown().len()
    }

    /// The first of them.
    pub(super) fn first(&self) -> (Vec<String>, usize) {
        let shown = self.shown();
        let more = shown.len().saturating_sub(MAX_NAMED);
        (shown.into_iter().take(MAX_NAMED).collect(), more)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
impl Unread {
    /// Of a mapping that reads `k`.
    pub(super) fn of_test() -> Self {
        let mapping = "table = \"t\"\nkey = [\"k\"]\ncolumn = [{ name = \"k\", type = \"text\", required = true }]";
        Self::new(&Pipeline::parse("p", mapping).unwrap())
    }
}
