//! `--diff`: what new samples have that a mapping does not read, rejects, or would type otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indexmap::IndexMap;
use mapping::internals::Reads;
use mapping::{Column, Compiled, KeyRing, Message, Pipeline};

use super::choice::choose;
use super::json::Json;
use super::keys::FieldNames;
use super::shape::Shape;
use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{Table, counted, escaped, line};
use crate::cli::samples::Sample;

/// How many samples with the same fault are named.
const MAX_PLACES: usize = 3;

/// Compares samples with the mapping in this file, and prints the differences.
pub(super) fn run(file: &Path, samples: &[Sample]) -> Result<Outcome, CliError> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| CliError::input(&name, &error))?;
    let pipeline = Pipeline::parse(&name, &text)?;
    let compiled = Compiled::new(&name, &pipeline, Some(&KeyRing::placeholder()))?;
    let seen = Seen::of(samples, &pipeline, &compiled);
    let mut table = Table::default();
    for (path, count) in &seen.unread {
        table.row([
            escaped(path),
            format!("{count} of {}", counted(samples.len(), "message")),
        ]);
    }
    section("paths that no column reads", &seen.unread, &table)?;
    let mut table = Table::default();
    for (why, places) in &seen.rejected {
        let named: Vec<&str> = places.iter().take(MAX_PLACES).map(String::as_str).collect();
        let more = places.len() - named.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        table.row([escaped(why), format!("{}{more}", named.join(", "))]);
    }
    section("messages that it rejects", &seen.rejected, &table)?;
    let typed = seen.typed(&pipeline, samples);
    let mut table = Table::default();
    for (column, why) in &typed {
        table.row([escaped(column), escaped(why)]);
    }
    section("columns that infer would type otherwise", &typed, &table)?;
    let rejected: usize = seen.rejected.values().map(Vec::len).sum();
    line(&format!(
        "{}: {} that no column reads, {rejected} rejected, {} typed otherwise",
        counted(samples.len(), "message"),
        counted(seen.unread.len(), "path"),
        counted(typed.len(), "column"),
    ))?;
    Ok(Outcome::done_if(seen.unread.is_empty() && rejected == 0))
}

fn section<'f, I>(title: &str, findings: &'f I, table: &Table) -> Result<(), CliError>
where
    &'f I: IntoIterator,
{
    match findings.into_iter().next() {
        Some(_) => line(&format!("{title}\n{table}")),
        None => Ok(()),
    }
}

/// What the samples have.
struct Seen {
    /// The paths that no column reads, and in how many messages they are.
    unread: BTreeMap<String, usize>,
    /// Why messages are rejected, and where these are.
    rejected: IndexMap<String, Vec<String>>,
    bodies: Shape,
}

impl Seen {
    fn of(samples: &[Sample], pipeline: &Pipeline, compiled: &Compiled) -> Self {
        let mut names = FieldNames::default();
        let mut seen = Self {
            unread: BTreeMap::new(),
            rejected: IndexMap::new(),
            bodies: Shape::default(),
        };
        let read = samples
            .iter()
            .map(|sample| compiled.extract(&sample.record));
        let messages: Vec<Option<Message<'_>>> = read.map(Result::ok).collect();
        for message in messages.iter().flatten() {
            names.see(message.body());
        }
        let reads = Reads::of(pipeline);
        for ((sample, message), at) in samples.iter().zip(&messages).zip(0..) {
            if let Err(rejection) = compiled.rows(&sample.record) {
                let why = rejection.to_string();
                seen.rejected
                    .entry(why)
                    .or_default()
                    .push(sample.place.clone());
            }
            let Some(message) = message else { continue };
            if let Ok(body) = serde_json::from_str::<Json>(message.body()) {
                seen.bodies.observe(&body, at);
            }
            if let Ok(body) = serde_json::from_str(message.body()) {
                let paths = reads.unread(&body);
                let paths: BTreeSet<String> = paths.iter().map(|path| names.path(path)).collect();
                for path in paths {
                    *seen.unread.entry(path).or_default() += 1;
                }
            }
        }
        seen.bodies.note_persons("");
        seen
    }

    /// The columns whose values suggest another type, or a mask.
    fn typed(&self, pipeline: &Pipeline, samples: &[Sample]) -> Vec<(String, String)> {
        let mut typed = Vec::new();
        for table in &pipeline.tables {
            for column in &table.columns {
                for path in pipeline.paths_to(table, column) {
                    let otherwise = self.bodies.along(&path);
                    let otherwise =
                        otherwise.and_then(|shape| otherwise_typed(column, &path, shape, samples));
                    let name = format!("{:?} of {:?}", column.name, table.table.name);
                    typed.extend(otherwise.map(|why| (name, why)));
                }
            }
        }
        typed.dedup();
        typed
    }
}

/// What infer would make of the values of a column, if that is something else.
fn otherwise_typed(
    column: &Column,
    path: &[Option<String>],
    shape: &Shape,
    samples: &[Sample],
) -> Option<String> {
    let name = path
        .iter()
        .rev()
        .flatten()
        .next()
        .map_or(column.name.as_str(), String::as_str);
    if shape.all() == 0 || column.mask.is_some() {
        return None;
    }
    if let Some((kind, why)) = shape.pii(name) {
        return Some(format!("no mask, although it seems to be {kind}: {why}"));
    }
    let is_plain = column.transforms.is_empty() && column.spelling.is_none();
    let choice = choose(name, shape, samples);
    let (own, other) = (column.column_type.to_string(), choice.column_type);
    // What is not of one type is rejected, or is text.
    let differ = is_plain && kind(&own) != kind(&other) && kind(&other) != "text";
    differ.then(|| match choice.why.is_empty() {
        true => format!("{own}, and the samples suggest {other}"),
        false => format!("{own}, and the samples suggest {other} ({})", choice.why),
    })
}

/// What types have in common that take much the same values.
fn kind(column_type: &str) -> &str {
    let (name, brackets) = match column_type.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (column_type, false),
    };
    let name = name.split('(').next().unwrap_or_default();
    match name {
        _ if brackets => "array",
        "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" => "number",
        "text" | "varchar" => "text",
        "json" | "jsonb" => "json",
        other => other,
    }
}

impl Shape {
    /// The values at a path of a body; `None` stands for the elements of an array.
    fn along(&self, path: &[Option<String>]) -> Option<&Self> {
        path.iter().try_fold(self, |shape, step| match step {
            Some(key) => shape.keys.get(key),
            None => shape.items.as_deref(),
        })
    }
}
