//! Which values of a body no column of any table reads.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::Pipeline;
use super::hierarchy::{Location, Step, may_be_same, steps_of};
use crate::message::Metadata;

/// What a mapping reads of a body.
#[derive(Debug)]
pub struct Reads {
    root: Vec<Step>,
    /// The values that columns and conditions read, with all that is in them.
    values: Vec<Vec<Step>>,
    /// The elements that are rows.
    elements: Vec<Vec<Step>>,
    /// Where `@rest` reads every field but for these.
    rests: Vec<(Vec<Step>, HashSet<String>)>,
}

impl Reads {
    /// What this mapping reads.
    pub fn of(pipeline: &Pipeline) -> Self {
        let mut reads = Self {
            root: steps_of(pipeline.root.as_ref()),
            values: Vec::new(),
            elements: Vec::new(),
            rests: Vec::new(),
        };
        for table in &pipeline.tables {
            if table.each.is_some() {
                reads.elements.push(pipeline.start_of(table));
            }
            for source in pipeline.sources(table) {
                match pipeline.locate(table, source) {
                    Some(Location::Value(steps)) => reads.values.push(steps),
                    Some(Location::Metadata(Metadata::Body)) => reads.values.push(Vec::new()),
                    Some(Location::Jq(start, jq)) => {
                        reads.values.push(start);
                        reads.values.extend(jq.reads_body.then(Vec::new));
                    }
                    // What @rest reads depends on its column: below.
                    Some(Location::Rest(_) | Location::Index(_) | Location::Metadata(_)) | None => {
                    }
                }
            }
            for column in &table.columns {
                for source in column.sources() {
                    if let Some(Location::Rest(start)) = pipeline.locate(table, source) {
                        let mut omitted = pipeline.touched_fields(table);
                        omitted.extend(column.except.iter().cloned());
                        reads.rests.push((start, omitted.into_iter().collect()));
                    }
                }
            }
        }
        reads
    }

    /// The paths to a body's values other than null that nothing reads, each down to the first step that leads to
    /// nothing that is read; `None` stands for the elements of an array.
    pub fn unread(&self, body: &Value) -> BTreeSet<Vec<Option<String>>> {
        let mut unread = BTreeSet::new();
        self.walk(&mut Vec::new(), &mut Vec::new(), body, &mut unread);
        unread
    }

    /// `at` is the place of the value, and `pattern` the same without the positions of elements.
    fn walk(
        &self,
        at: &mut Vec<Step>,
        pattern: &mut Vec<Step>,
        value: &Value,
        unread: &mut BTreeSet<Vec<Step>>,
    ) {
        if value.is_null() || self.is_read(at) {
            return;
        }
        let steps: Vec<(String, bool, &Value)> = match value {
            Value::String(text) if !at.is_empty() && *at == self.root => {
                match serde_json::from_str(text) {
                    Ok(inner @ (Value::Object(_) | Value::Array(_))) => {
                        return self.walk(at, pattern, &inner, unread);
                    }
                    _ => Vec::new(),
                }
            }
            Value::Object(fields) => {
                let fields = fields.iter();
                fields.map(|(key, v)| (key.clone(), false, v)).collect()
            }
            Value::Array(elements) => {
                let elements = (0..).map(|n: usize| n.to_string()).zip(elements);
                elements.map(|(at, v)| (at, true, v)).collect()
            }
            _ => Vec::new(),
        };
        let has_parts = value.is_object() || value.is_array();
        if !has_parts || !self.leads_to_any(at) {
            unread.insert(pattern.clone());
            return;
        }
        for (step, is_element, part) in steps {
            pattern.push((!is_element).then(|| step.clone()));
            at.push(Some(step));
            self.walk(at, pattern, part, unread);
            at.pop();
            pattern.pop();
        }
    }

    fn is_read(&self, at: &[Step]) -> bool {
        let is_in_rest = |(start, omitted): &(Vec<Step>, HashSet<String>)| {
            begins(at, start)
                && matches!(at.get(start.len()), Some(Some(field)) if !omitted.contains(field))
        };
        self.values.iter().any(|read| begins(at, read)) || self.rests.iter().any(is_in_rest)
    }

    /// Whether anything at this place or below it is read.
    fn leads_to_any(&self, at: &[Step]) -> bool {
        let starts = self.rests.iter().map(|(start, _)| start);
        let mut known = self.values.iter().chain(&self.elements).chain(starts);
        known.any(|known| begins(known, at))
    }
}

/// Whether a path leads through the end of another.
fn begins(path: &[Step], with: &[Step]) -> bool {
    with.len() <= path.len() && path.iter().zip(with).all(|(a, b)| may_be_same(a, b))
}
