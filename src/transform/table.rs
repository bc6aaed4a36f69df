//! A table of the mapping, compiled: where its rows come from, which messages it takes, and what a rejection calls it.

use std::collections::HashSet;

use super::Reading;
use super::column::CompiledColumn;
use super::convert::Value;
use super::decimal::Decimal;
use super::scopes::{Frames, Input, Picked, Scopes};
use super::text::Unstorable;
use crate::mask::KeyRing;
use crate::message::Metadata;
use crate::pipeline::{Condition, Mistake, Pipeline, Scalar, Source};
use crate::rejection::{Place, Rejection};

pub(super) struct CompiledTable {
    pub(super) parent: Option<usize>,
    pub(super) key: Vec<usize>,
    /// What a rejection calls it; `None` where there is only one.
    name: Option<String>,
    /// Where its rows begin.
    pub(super) scope: usize,
    /// The array with an element for each row.
    pub(super) each: Option<Picked>,
    pub(super) when: Vec<CompiledCondition>,
    pub(super) delete_when: Vec<CompiledCondition>,
    pub(super) columns: Vec<CompiledColumn>,
    /// Positions of the tables whose rows belong to its rows.
    pub(super) children: Vec<usize>,
}

pub(super) struct CompiledCondition {
    input: Input,
    values: Vec<Scalar>,
}

impl CompiledTable {
    pub(super) fn new(
        pipeline: &Pipeline,
        position: usize,
        before: &[Self],
        scopes: &mut Scopes,
        keys: Option<&KeyRing>,
    ) -> Result<Self, Mistake> {
        let mapping = &pipeline.tables[position];
        let parent = mapping.parent.and_then(|parent| before.get(parent));
        let outer = parent.map_or_else(|| scopes.message(), |parent| parent.scope);
        let each = mapping.each.as_ref().map(|path| scopes.slot(outer, path));
        let scope = match &mapping.each {
            Some(path) => scopes.add_element(outer, path),
            None => outer,
        };
        let ancestor = |generations: usize| {
            let above = (1..generations).try_fold(parent?, |table, _| before.get(table.parent?));
            above.map(|table| table.scope)
        };
        let key_id = keys.map(KeyRing::id).unwrap_or_default().to_owned();
        let mut compile = |source: &Source, left_out: HashSet<String>| match source {
            Source::Path(path) => Input::Field(scopes.slot(scope, path)),
            Source::Top(path) => Input::Field(scopes.slot(Scopes::TOP, path)),
            Source::Parent(generations, path) => {
                Input::Field(scopes.slot(ancestor(*generations).unwrap_or(scope), path))
            }
            Source::Index(0) => Input::Index(scope),
            Source::Index(generations) => Input::Index(ancestor(*generations).unwrap_or(scope)),
            Source::Rest => Input::Rest(scope, left_out),
            Source::Metadata(Metadata::MaskKeyId) => Input::Text(key_id.clone()),
            Source::Metadata(metadata) => Input::Metadata(metadata.clone()),
        };
        let mut conditions = |conditions: &[Condition]| -> Vec<_> {
            let compiled = conditions.iter().map(|condition| CompiledCondition {
                input: compile(&condition.source, HashSet::new()),
                values: condition.values.clone(),
            });
            compiled.collect()
        };
        let when = conditions(&mapping.when);
        let delete_when = conditions(&mapping.delete_when);
        let touched = pipeline.touched_fields(mapping);
        let mut columns = Vec::with_capacity(mapping.columns.len());
        for (position, column) in mapping.columns.iter().enumerate() {
            let left_out = touched.iter().chain(&column.except);
            let inputs = column.sources().map(|source| match source {
                Source::Metadata(Metadata::Body) if column.column_type.is_json() => Input::Body,
                source => compile(source, left_out.clone().cloned().collect()),
            });
            let is_key = mapping.key.contains(&position);
            let identifies = is_key || mapping.newer == Some(position);
            let inputs = inputs.collect();
            let compiled = CompiledColumn::new(column, [is_key, identifies], inputs, keys);
            columns.push(compiled.map_err(|problem| problem.of(&column.name))?);
        }
        Ok(Self {
            parent: mapping.parent,
            key: mapping.key.clone(),
            name: (pipeline.tables.len() > 1).then(|| mapping.table.unquoted()),
            scope,
            each,
            when,
            delete_when,
            columns,
            children: pipeline
                .children(position)
                .map(|(child, _)| child)
                .collect(),
        })
    }

    pub(super) fn reads_json(&self) -> bool {
        let conditions = self.when.iter().chain(&self.delete_when);
        let columns = self.columns.iter().flat_map(|column| &column.inputs);
        let mut inputs = columns.chain(conditions.map(|condition| &condition.input));
        self.each.is_some()
            || inputs.any(|input| !matches!(input, Input::Metadata(_) | Input::Text(_)))
    }

    /// A column of the row under way, and the value's way from the top of the body.
    pub(super) fn place(
        &self,
        column: &CompiledColumn,
        scopes: &Scopes,
        frames: &Frames<'_>,
    ) -> Place {
        let mut place = self.place_of_all(column);
        if let Source::Path(_) = column.column.source {
            place.path = scopes.describe(self.scope, frames, &place.path);
        }
        place
    }

    pub(super) fn place_of_all(&self, column: &CompiledColumn) -> Place {
        Place {
            table: self.name.clone(),
            ..column.column.place(column.is_key)
        }
    }

    pub(super) fn place_of_array(&self, scopes: &Scopes, frames: &Frames<'_>) -> Place {
        Place {
            table: self.name.clone(),
            column: None,
            path: scopes.describe_array(self.scope, frames),
            is_key: false,
        }
    }
}

/// Whether the message fulfils all of the conditions.
pub(super) fn holds(
    conditions: &[CompiledCondition],
    reading: &Reading<'_, '_>,
) -> Result<bool, Rejection> {
    for condition in conditions {
        let value = condition
            .input
            .value(reading.message, &reading.frames, Unstorable::Strip)?;
        if !condition
            .values
            .iter()
            .any(|expected| is_equal(expected, &value))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_equal(expected: &Scalar, value: &Value<'_>) -> bool {
    match (expected, value) {
        (Scalar::Text(expected), Value::Text(text)) => expected == text,
        (Scalar::Bool(expected), Value::Bool(found)) => expected == found,
        (Scalar::Number(expected), Value::Number(text)) => {
            expected == text || Decimal::parse(expected).is_some_and(|number| number.equals(text))
        }
        _ => false,
    }
}
