//! One table: whether its arrays and conditions are ever there, and what its columns find.

use std::collections::BTreeSet;

use mapping::internals::{Tested, similar};
use mapping::{Column, Condition, Path, Pipeline, Source, TableMapping, TableRows};

use super::keys::Keys;
use super::paths::{Paths, arrays_of_objects, from_json_path, path_from_top};
use super::tally::{Tally, has_pattern};
use super::{Finding, noun};
use crate::cli::output::{counted, listed};

/// How many arrays are kept to suggest.
const MAX_ARRAYS: usize = 100;

/// Counts over all samples.
pub(super) struct TableFindings {
    arrays: Arrays,
    /// Where a row could begin.
    places: usize,
    /// Where `when` holds.
    taken: usize,
    /// Where a row of this table could begin, or its array could be, and none of any table does.
    pub(super) lost: usize,
    when: Vec<Tally>,
    delete_when: Vec<Tally>,
    is_ever_deleted: bool,
    rows: usize,
    /// For each column, the rows without a value.
    nulls: Vec<usize>,
    /// Rows in which nothing of the body has a value but the key and what says which is newer.
    bare: usize,
    pub(super) keys: Keys,
}

/// What `each` found.
#[derive(Default)]
struct Arrays {
    full: usize,
    empty: usize,
    missing: usize,
    /// The arrays of objects where it was missing.
    others: BTreeSet<String>,
}

impl TableFindings {
    pub(super) fn new(mapping: &TableMapping) -> Self {
        let tallies = |conditions: &[Condition]| {
            let tallies = conditions.iter().map(|_| Tally::default());
            tallies.collect()
        };
        Self {
            arrays: Arrays::default(),
            places: 0,
            taken: 0,
            lost: 0,
            when: tallies(&mapping.when),
            delete_when: tallies(&mapping.delete_when),
            is_ever_deleted: false,
            rows: 0,
            nulls: vec![0; mapping.columns.len()],
            bare: 0,
            keys: Keys::default(),
        }
    }

    /// Adds the array of `each`.
    pub(super) fn see_array(&mut self, elements: Option<usize>, within: &str) {
        let arrays = &mut self.arrays;
        match elements {
            None => {
                arrays.missing += 1;
                if arrays.full == 0 && arrays.others.len() < MAX_ARRAYS {
                    arrays.others.extend(arrays_of_objects(within));
                }
            }
            Some(0) => arrays.empty += 1,
            Some(_) => arrays.full += 1,
        }
    }

    /// Adds a place where a row could begin, and says whether one does.
    pub(super) fn see_place(
        &mut self,
        mapping: &TableMapping,
        when: &[Tested],
        delete_when: &[Tested],
    ) -> bool {
        let is_taken = when.iter().all(Tested::holds);
        self.places += 1;
        self.taken += usize::from(is_taken);
        self.is_ever_deleted |= !delete_when.is_empty() && delete_when.iter().all(Tested::holds);
        add(&mut self.when, &mapping.when, when);
        add(&mut self.delete_when, &mapping.delete_when, delete_when);
        is_taken
    }

    /// Adds the rows of a message.
    pub(super) fn see_rows(&mut self, mapping: &TableMapping, table: &TableRows) {
        let is_telling = |(position, column): (usize, &Column)| {
            let is_of_body = |source: &Source| {
                matches!(
                    source,
                    Source::Path(_) | Source::Top(_) | Source::Parent(..)
                )
            };
            let is_identifying = mapping.key.contains(&position) || mapping.newer == Some(position);
            (!is_identifying && column.default.is_none() && column.sources().all(is_of_body))
                .then_some(position)
        };
        let telling: Vec<usize> = mapping
            .columns
            .iter()
            .enumerate()
            .filter_map(is_telling)
            .collect();
        for row in (0..table.rows.len()).filter(|&row| !table.is_deleted(row)) {
            self.rows += 1;
            for (column, nulls) in self.nulls.iter_mut().enumerate() {
                *nulls += usize::from(table.rows.value(row, column).is_none());
            }
            let is_null = |&column: &usize| table.rows.value(row, column).is_none();
            self.bare += usize::from(!telling.is_empty() && telling.iter().all(is_null));
        }
    }

    /// Why there is never a row.
    pub(super) fn no_row(
        &self,
        pipeline: &Pipeline,
        mapping: &TableMapping,
        shows_values: bool,
    ) -> Option<Finding> {
        if self.taken > 0 {
            return None;
        }
        if self.places > 0 {
            return Some(self.never_taken(mapping, shows_values));
        }
        let array = mapping.each.as_ref()?;
        let parent = mapping
            .parent
            .and_then(|parent| pipeline.tables.get(parent));
        let noun = parent.map_or_else(
            || "message".to_owned(),
            |parent| format!("row of {}", parent.table),
        );
        if self.arrays.empty > 0 {
            return Some(Finding::warning(
                format!(
                    "no row: the array at {:?} is always empty",
                    array.to_string()
                ),
                "add a message with elements to the samples",
            ));
        }
        (self.arrays.missing > 0).then(|| {
            let text = format!("no row: no {noun} has an array at {:?}", array.to_string());
            match self.meant(pipeline, mapping, array) {
                Some(meant) => Finding::error(text, format!("did you mean {meant:?}?")),
                None if self.lost > 0 => Finding::error(
                    text,
                    "correct each, or add a message with one to the samples",
                ),
                None => Finding::warning(text, "add a message with one to the samples"),
            }
        })
    }

    /// The array that `each` probably means: a similar one, or the only one that no other table reads.
    fn meant(&self, pipeline: &Pipeline, mapping: &TableMapping, array: &Path) -> Option<String> {
        let of_others = pipeline
            .tables
            .iter()
            .filter(|other| other.parent == mapping.parent);
        let read: Vec<String> = of_others
            .filter_map(|other| other.each.as_ref())
            .map(ToString::to_string)
            .collect();
        let others = self.arrays.others.iter().map(String::as_str);
        let free: Vec<&str> = others
            .filter(|&path| read.iter().all(|read| read != path))
            .collect();
        let meant = similar(&array.to_string(), free.iter().copied());
        meant
            .or(match free[..] {
                [only] => Some(only),
                _ => None,
            })
            .map(str::to_owned)
    }

    fn never_taken(&self, mapping: &TableMapping, shows_values: bool) -> Finding {
        let noun = noun(mapping);
        let instead = instead(&self.when, &mapping.when, noun, shows_values);
        let text = format!("no row: when holds for no {noun}: {instead}");
        let fix = match mapping.when.iter().any(has_pattern) {
            true => "write whole values in when, or { prefix = \"…\" }, but no '*'",
            false => "correct when, or add a message for this table to the samples",
        };
        match self.lost {
            0 => Finding::warning(text, "add a message for this table to the samples"),
            _ => Finding::error(text, fix),
        }
    }

    /// Whether nothing is ever deleted.
    pub(super) fn never_deleted(
        &self,
        mapping: &TableMapping,
        shows_values: bool,
    ) -> Option<Finding> {
        if mapping.delete_when.is_empty() || self.is_ever_deleted || self.taken == 0 {
            return None;
        }
        let noun = noun(mapping);
        let instead = instead(&self.delete_when, &mapping.delete_when, noun, shows_values);
        let text = format!("delete_when holds for no {noun}: {instead}");
        let is_in_other_case = self.delete_when.iter().any(|tally| tally.other_case > 0);
        Some(match self.bare {
            0 if !is_in_other_case => {
                Finding::warning(text, "add a message that deletes a row to the samples")
            }
            0 => Finding::error(text, "correct delete_when"),
            bare => {
                let bare = counted(bare, "row");
                let what = format!("{text}; {bare} would store only a key, as deletions do");
                Finding::error(what, "correct delete_when")
            }
        })
    }

    /// Columns that no sample has a value for, and paths that are written as elsewhere.
    pub(super) fn columns(
        &self,
        pipeline: &Pipeline,
        mapping: &TableMapping,
        paths: &Paths,
    ) -> Vec<Finding> {
        let (mut found, mut missing, mut null) = (Vec::new(), Vec::new(), Vec::new());
        let columns = mapping.columns.iter().zip(&self.nulls);
        let others = columns.filter(|(column, _)| mapping.tombstone_column() != Some(column));
        for (column, &nulls) in others {
            let without = match path_from_top(pipeline, mapping, column) {
                Some(path) => without_value(&path, paths),
                None if self.rows > 0 && nulls == self.rows => Some(Without::Missing),
                None => None,
            };
            let (name, source) = (&column.name, &column.source);
            match without {
                None => {}
                Some(Without::Null) => null.push(name.as_str()),
                Some(Without::Missing) => missing.push((name.as_str(), source)),
                Some(Without::Misspelt(meant)) => {
                    let written = source.to_string();
                    let text = format!(
                        "column {name:?}: no message has a value at {written:?}; did you mean {meant:?}?"
                    );
                    found.push(Finding::warning(text, ""));
                }
            }
        }
        found.extend(columns_missing(&missing).map(|text| Finding::warning(text, "")));
        found.extend(columns_null(&null).map(|text| Finding::note(text, "")));
        found
    }
}

/// Why a column has a value in no sample.
enum Without {
    /// Nothing is there.
    Missing,
    /// There is only null.
    Null,
    /// Something else has this path, which is probably meant.
    Misspelt(String),
}

fn without_value(path: &Path, paths: &Paths) -> Option<Without> {
    let meant = from_json_path(path);
    if !paths.lacks(path) || paths.is_empty() && meant.is_none() {
        return None;
    }
    if paths.is_always_null(path) {
        return Some(Without::Null);
    }
    let meant = meant.or_else(|| paths.similar(path));
    Some(meant.map_or(Without::Missing, Without::Misspelt))
}

/// Many columns are one sentence.
fn columns_missing(columns: &[(&str, &Source)]) -> Option<String> {
    match columns {
        [] => None,
        [(name, source @ (Source::Path(_) | Source::Top(_)))] => {
            let written = source.to_string();
            Some(format!(
                "column {name:?}: no message has a value at {written:?}"
            ))
        }
        [(name, source)] => Some(format!("column {name:?}: no message has {source}")),
        _ => {
            let names = columns.iter().map(|(name, _)| name);
            let count = columns.len();
            Some(format!(
                "no message has a value for {count} columns: {}",
                listed(names)
            ))
        }
    }
}

fn columns_null(columns: &[&str]) -> Option<String> {
    match columns {
        [] => None,
        [name] => Some(format!(
            "column {name:?}: null in every message that has it"
        )),
        _ => {
            let count = columns.len();
            Some(format!(
                "{count} columns are null in every message that has them: {}",
                listed(columns)
            ))
        }
    }
}

fn add(tallies: &mut [Tally], conditions: &[Condition], tested: &[Tested]) {
    for ((tally, condition), tested) in tallies.iter_mut().zip(conditions).zip(tested) {
        tally.add(condition, tested);
    }
}

/// What the fields have instead for which the conditions never hold.
fn instead(tallies: &[Tally], conditions: &[Condition], noun: &str, shows_values: bool) -> String {
    let both = tallies.iter().zip(conditions);
    let never = both.filter(|(tally, _)| tally.holds == 0);
    let never: Vec<_> = never
        .map(|(tally, condition)| tally.instead(condition, noun, shows_values))
        .collect();
    match never.is_empty() {
        true => "its conditions never hold together".to_owned(),
        false => listed(never),
    }
}
