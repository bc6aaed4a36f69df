//! `--unmapped`: the paths of the samples that no column reads, and how many messages have them.

use std::collections::{BTreeMap, BTreeSet};

use mapping::internals::Reads;
use mapping::{Compiled, Message, Pipeline};
use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::output::{self, Table, counted, escaped, line};
use crate::cli::samples::Sample;
use crate::commands::infer::FieldNames;

pub(crate) struct Unmapped {
    reads: Reads,
    /// The number of messages with a value at each path.
    pub(crate) paths: BTreeMap<String, usize>,
    /// Which keys of the messages may be shown.
    pub(crate) names: FieldNames,
}

impl Unmapped {
    /// All samples together show which keys are names of fields.
    pub(crate) fn new(pipeline: &Pipeline, compiled: &Compiled, samples: &[Sample]) -> Self {
        let mut names = FieldNames::default();
        for sample in samples {
            if let Ok(message) = compiled.extract(&sample.record) {
                names.see(message.body());
            }
        }
        Self {
            reads: Reads::of(pipeline),
            paths: BTreeMap::new(),
            names,
        }
    }

    pub(super) fn see(&mut self, message: &Message<'_>) {
        let Ok(body) = serde_json::from_str(message.body()) else {
            return;
        };
        let paths = self.reads.unread(&body);
        let paths = paths.iter().map(|steps| self.names.path(steps));
        let paths: BTreeSet<String> = paths.collect();
        for path in paths {
            *self.paths.entry(path).or_default() += 1;
        }
    }

    pub(super) fn print(&self, messages: usize) -> Result<(), CliError> {
        let of_all = counted(messages, "message");
        let mut table = Table::default();
        for (path, count) in &self.paths {
            table.row([escaped(path), format!("{count} of {of_all}")]);
        }
        if !self.paths.is_empty() {
            line(&format!("paths that no column reads\n{table}"))?;
        }
        let unmapped = counted(self.paths.len(), "path");
        line(&format!("{of_all}: {unmapped} that no column reads"))
    }

    pub(super) fn json(&self, messages: usize) -> Result<(), CliError> {
        let paths = self.paths.iter();
        let paths = paths.map(|(path, count)| json!({"path": path, "messages": count}));
        output::json(&json!({"messages": messages, "unmapped": paths.collect::<Vec<_>>()}))
    }
}
