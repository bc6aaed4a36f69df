//! What a mapping loses or misreads of sample messages: keys that several have, conditions that never hold, arrays that
//! are never there, tables without a row, paths without a value. `explain` and `check` print it.

mod keys;
mod paths;
mod table;
mod tally;

use std::collections::HashSet;
use std::fmt;

use mapping::internals::{Observation, Tested};
use mapping::{Compiled, Message, MessageRows, Pipeline, TableMapping};

use crate::cli::output::{counted, escaped, listed};
use crate::cli::samples::Sample;
use paths::Paths;
use table::TableFindings;
use tally::one_instead;

/// How many reasons are given for one message without a row.
const MAX_REASONS: usize = 20;

/// What the rows of a table are made of.
fn noun(mapping: &TableMapping) -> &'static str {
    match (&mapping.each, mapping.parent) {
        (Some(_), _) => "element",
        (None, Some(_)) => "row of its parent",
        (None, None) => "message",
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// It may well be intended.
    Note,
    /// The samples do not show whether it is a mistake.
    Warning,
    /// Samples are lost.
    Error,
}

/// One thing that a mapping loses or misreads.
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The position of its table, if it is about one.
    pub(crate) table: Option<usize>,
    pub(crate) text: String,
    /// What to do; empty if the text says it.
    pub(crate) fix: String,
}

/// Collects what there is to say about a mapping and its samples.
pub(crate) struct Findings<'p> {
    pipeline: &'p Pipeline,
    shows_values: bool,
    tables: Vec<TableFindings>,
    paths: Paths,
    /// How many messages were elements of a file that is one array.
    elements: usize,
}

/// Why a message has no row in a table, by what is looked for there.
type Reason = (usize, String);

impl<'p> Findings<'p> {
    pub(crate) fn new(pipeline: &'p Pipeline, shows_values: bool) -> Self {
        Self {
            pipeline,
            shows_values,
            tables: pipeline.tables.iter().map(TableFindings::new).collect(),
            paths: Paths::of(pipeline),
            elements: 0,
        }
    }

    /// Adds a message with its rows, unless it breaks a rule. Returns why tables without a parent get no row from it.
    pub(crate) fn see(
        &mut self,
        sample: &Sample,
        message: &Message<'_>,
        compiled: &Compiled,
        rows: Option<&MessageRows>,
    ) -> Vec<String> {
        self.elements += usize::from(sample.is_element);
        if let Ok(body) = serde_json::from_str(message.body()) {
            self.paths.see(&body);
        }
        let reasons = self.observe(message, compiled);
        let tables = rows.map(MessageRows::tables).into_iter().flatten();
        for ((mapping, findings), rows) in self
            .pipeline
            .tables
            .iter()
            .zip(&mut self.tables)
            .zip(tables)
        {
            findings.see_rows(mapping, rows);
            if mapping.parent.is_none() {
                findings.keys.add(&sample.place, message, mapping, rows);
            }
        }
        reasons
            .into_iter()
            .map(|(table, why)| self.named(Some(table), &why))
            .collect()
    }

    fn observe(&mut self, message: &Message<'_>, compiled: &Compiled) -> Vec<Reason> {
        let (mut untaken, mut taken, mut reasons) = (Vec::new(), HashSet::new(), Vec::new());
        let mut without_array = Vec::new();
        let see = &mut |observation: Observation<'_>| match observation {
            Observation::Array {
                table,
                elements,
                within,
            } => {
                let Some((mapping, findings)) = self.of(table) else {
                    return;
                };
                findings.see_array(elements, within);
                if mapping.parent.is_none() && elements.is_none() {
                    without_array.push(table);
                }
                reasons.extend(why_no_element(mapping, elements).map(|why| (table, why)));
            }
            Observation::Place {
                table,
                json,
                when,
                delete_when,
            } => {
                let shows_values = self.shows_values;
                let Some((mapping, findings)) = self.of(table) else {
                    return;
                };
                // Tables that look at one place get the same part of the message.
                let place = json.as_ptr().addr();
                if findings.see_place(mapping, &when, &delete_when) {
                    taken.insert(place);
                } else {
                    untaken.push((table, place));
                    reasons.extend(
                        why_not_taken(mapping, &when, shows_values).map(|why| (table, why)),
                    );
                }
            }
        };
        compiled.observe(message, see);
        untaken.retain(|(_, place)| !taken.contains(place));
        without_array.retain(|_| taken.is_empty());
        // A tombstone has nothing to lose.
        if message.body().trim() != "null" {
            let untaken = untaken.into_iter().map(|(table, _)| table);
            self.lose(untaken.chain(without_array));
        }
        reasons.sort_unstable();
        reasons.dedup();
        reasons.truncate(MAX_REASONS);
        reasons
    }

    /// Notes that something for each of these tables has a row in no table.
    fn lose(&mut self, tables: impl Iterator<Item = usize>) {
        for table in tables {
            if let Some((_, findings)) = self.of(table) {
                findings.lost += 1;
            }
        }
    }

    fn of(&mut self, table: usize) -> Option<(&'p TableMapping, &mut TableFindings)> {
        Some((
            self.pipeline.tables.get(table)?,
            self.tables.get_mut(table)?,
        ))
    }

    /// What there is to say: the worst last, each in the order of the mapping.
    pub(crate) fn list(&self) -> Vec<Finding> {
        let mut list = Vec::new();
        let without_root = self.without_root();
        let has_root = without_root.is_none();
        list.extend(without_root);
        for (position, (mapping, findings)) in
            self.pipeline.tables.iter().zip(&self.tables).enumerate()
        {
            let mut own = Vec::new();
            if has_root {
                own.extend(findings.no_row(self.pipeline, mapping, self.shows_values));
                own.extend(findings.never_deleted(mapping, self.shows_values));
            }
            own.extend(findings.keys.finding(mapping));
            own.extend(findings.columns(self.pipeline, mapping, &self.paths));
            list.extend(own.into_iter().map(|finding| Finding {
                table: Some(position),
                ..finding
            }));
        }
        list.extend(self.notes());
        list.sort_by_key(|finding| finding.severity);
        list
    }

    fn without_root(&self) -> Option<Finding> {
        let root = self.pipeline.root.as_ref()?;
        if self.paths.is_empty() || !self.paths.lacks(root) {
            return None;
        }
        let text = format!("root: no message has a value at {:?}", root.to_string());
        let fix = match self.paths.similar(root) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "name an object that the messages have".to_owned(),
        };
        Some(Finding::error(text, fix))
    }

    fn notes(&self) -> impl Iterator<Item = Finding> {
        let of_array = (self.elements > 0).then(|| {
            let elements = counted(self.elements, "element");
            let text =
                format!("the input is an array: each of its {elements} was read as a message");
            let fix = "if the array itself is the message, give several, one per line";
            Finding::note(text, fix)
        });
        let of_paths = self.paths.is_cut.then(|| {
            let paths = paths::MAX_PATHS;
            let text = format!(
                "the messages have more than {paths} different paths: the others are not suggested"
            );
            Finding::note(text, "")
        });
        of_array.into_iter().chain(of_paths)
    }

    /// A text about a table, which is named if there are several.
    fn named(&self, table: Option<usize>, text: &str) -> String {
        let table = table.filter(|_| self.pipeline.tables.len() > 1);
        let table = table.and_then(|table| self.pipeline.tables.get(table));
        let table = table.map_or_else(String::new, |mapping| format!("{}: ", mapping.table));
        escaped(&format!("{table}{text}"))
    }

    /// A finding as a sentence.
    pub(crate) fn text(&self, finding: &Finding) -> String {
        let text = match finding.fix.as_str() {
            "" => finding.text.clone(),
            fix => format!("{}: {fix}", finding.text),
        };
        self.named(finding.table, &text)
    }
}

impl Finding {
    fn note(text: String, fix: impl Into<String>) -> Self {
        Self {
            severity: Severity::Note,
            table: None,
            text,
            fix: fix.into(),
        }
    }

    fn error(text: String, fix: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            table: None,
            text,
            fix: fix.into(),
        }
    }

    fn warning(text: String, fix: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            table: None,
            text,
            fix: fix.into(),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Why an array produces no row in a table without a parent.
fn why_no_element(mapping: &TableMapping, elements: Option<usize>) -> Option<String> {
    let array = mapping.each.as_ref().filter(|_| mapping.parent.is_none())?;
    let what = match elements {
        None => "is missing or null",
        Some(0) => "is empty",
        Some(_) => return None,
    };
    Some(format!("each: {:?} {what}", array.to_string()))
}

/// Why `when` keeps a message or an element from a table without a parent.
fn why_not_taken(mapping: &TableMapping, when: &[Tested], shows_values: bool) -> Option<String> {
    let failing = mapping
        .when
        .iter()
        .zip(when)
        .filter(|(_, tested)| !tested.holds());
    let failing = failing.map(|(condition, tested)| one_instead(condition, tested, shows_values));
    let failing: Vec<_> = failing.collect();
    mapping
        .parent
        .is_none()
        .then(|| format!("when: {}", listed(failing)))
}
