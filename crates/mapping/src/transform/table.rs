//! A table of the mapping, compiled: where its rows come from, which messages it matches, and what a rejection calls
//! it.

use std::iter::successors;
use std::sync::Arc;

use super::Reading;
use super::column::{CompiledColumn, Presence};
use super::equal::is_equal;
use super::scopes::{Array, Calculation, Frames, Input, NoFields, Scopes, Unread};
use super::text::Unstorable;
use super::value::Value;
use crate::mask::KeyRing;
use crate::message::{Message, Metadata};
use crate::pipeline::{
    Column, Condition, JQ, Mistake, Pattern, Pipeline, Source, TableMapping, Test,
};
use crate::rejection::{Place, Rejection};
use crate::steps::reads_json;

pub(super) struct CompiledTable {
    pub(super) parent: Option<usize>,
    pub(super) key: Vec<usize>,
    /// What a rejection calls it; `None` where there is only one.
    name: Option<String>,
    /// Where its rows begin.
    pub(super) scope: usize,
    /// The array with an element for each row.
    pub(super) each: Option<Array>,
    pub(super) when: Vec<CompiledCondition>,
    pub(super) delete_when: Vec<CompiledCondition>,
    pub(super) columns: Vec<CompiledColumn>,
    /// Whether any column reads where its rows begin.
    pub(super) has_own: bool,
    /// Its place in the mapping.
    pub(super) position: usize,
}

pub(super) struct CompiledCondition {
    input: Input,
    tests: Vec<Test>,
}

impl CompiledTable {
    pub(super) fn new(
        pipeline: &Pipeline,
        mapping: &TableMapping,
        before: &[Self],
        scopes: &mut Scopes,
        keys: Option<&KeyRing>,
    ) -> Result<Self, Mistake> {
        let parent = mapping.parent.and_then(|parent| before.get(parent));
        let outer = parent.map_or_else(|| scopes.message(), |parent| parent.scope);
        let each = mapping.each.as_ref().map(|path| scopes.array(outer, path));
        let scope = match &mapping.each {
            Some(path) => scopes.add_element(outer, path),
            None => outer,
        };
        let mut compiler = Compiler {
            scopes,
            above: above(parent, before),
            scope,
            touched: pipeline.touched_fields(mapping),
            keys,
        };
        let when = compiler.conditions(&mapping.when);
        let delete_when = compiler.conditions(&mapping.delete_when);
        let columns = mapping.columns.iter().enumerate();
        let columns = columns.map(|(position, column)| compiler.column(mapping, position, column));
        let columns: Vec<CompiledColumn> = columns.collect::<Result<_, _>>()?;
        Ok(Self {
            position: before.len(),
            has_own: columns.iter().any(|column| column.is_own),
            parent: mapping.parent,
            key: mapping.key.clone(),
            name: (pipeline.tables.len() > 1).then(|| mapping.table.unquoted()),
            scope,
            each,
            when,
            delete_when,
            columns,
        })
    }

    /// Whether it needs the body to be JSON.
    pub(super) fn reads_json(&self) -> bool {
        let conditions = self.when.iter().chain(&self.delete_when);
        let columns = self.columns.iter().flat_map(|column| &column.inputs);
        let mut inputs = columns.chain(conditions.map(|condition| &condition.input));
        self.each.is_some()
            || inputs.any(|input| !matches!(input, Input::Metadata(_) | Input::Text(_)))
    }

    /// Whether it chooses messages by fields of `null`, which is none of them.
    pub(super) fn is_passed_by_null(&self, frames: &Frames<'_>) -> bool {
        let fields = self
            .when
            .iter()
            .filter_map(|condition| match condition.input {
                Input::Field(field) => Some(field.scope),
                Input::Body | Input::Index(_) | Input::Element(_) | Input::Rest(..) => None,
                Input::Metadata(_) | Input::Text(_) | Input::Jq(_) => None,
            });
        let mut starts = fields.chain(self.each.map(Array::scope));
        starts.any(|scope| frames.begins_at_null(scope))
    }

    /// Why the value of a column of the row under way cannot be stored.
    pub(super) fn rejection(
        &self,
        column: &CompiledColumn,
        unread: Unread,
        scopes: &Scopes,
        frames: &Frames<'_>,
    ) -> Rejection {
        match unread {
            Unread::NoFields(no_fields) => self.not_an_object(no_fields, scopes, frames),
            Unread::Rule(rule) => Rejection {
                rule,
                place: Some(self.place(column, scopes, frames)),
            },
        }
    }

    pub(super) fn not_an_object(
        &self,
        no_fields: NoFields,
        scopes: &Scopes,
        frames: &Frames<'_>,
    ) -> Rejection {
        scopes.not_an_object(no_fields, frames, self.name.as_deref())
    }

    /// Whether the message fulfils all of these conditions, which are of the table.
    pub(super) fn holds(
        &self,
        conditions: &[CompiledCondition],
        scopes: &Scopes,
        reading: &Reading<'_, '_>,
    ) -> Result<bool, Rejection> {
        for condition in conditions {
            let value = condition.value(reading.message, &reading.frames);
            let value = value.map_err(|unread| match unread {
                Unread::NoFields(no_fields) => {
                    self.not_an_object(no_fields, scopes, &reading.frames)
                }
                Unread::Rule(rule) => rule.into(),
            })?;
            if !condition.is_met_by(&value) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A column of the row under way, and the value's path from the top of the body.
    fn place(&self, column: &CompiledColumn, scopes: &Scopes, frames: &Frames<'_>) -> Place {
        let mut place = self.place_of_all(column);
        match column.column.source {
            Source::Path(_) => place.path = scopes.describe(self.scope, frames, &place.path),
            Source::Element => place.path = scopes.describe_element(self.scope, frames),
            Source::Jq(_) if self.each.is_some() => {
                place.path = scopes.describe_element(self.scope, frames);
            }
            Source::Top(_) | Source::Parent(..) | Source::Index(_) => {}
            Source::Rest | Source::Metadata(_) | Source::Jq(_) => {}
        }
        place
    }

    pub(super) fn place_of_all(&self, column: &CompiledColumn) -> Place {
        Place {
            table: self.name.clone(),
            column: Some(column.column.name.clone()),
            path: match &column.column.source {
                Source::Jq(_) => JQ.to_owned(),
                source => source.to_string(),
            },
            is_key: column.is_key,
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

/// The scopes of the rows above one of this table, the nearest first.
fn above(parent: Option<&CompiledTable>, tables: &[CompiledTable]) -> Vec<usize> {
    let parents = successors(parent, |table| {
        table.parent.and_then(|parent| tables.get(parent))
    });
    parents.map(|table| table.scope).collect()
}

/// Compiles the sources of one table.
struct Compiler<'a> {
    scopes: &'a mut Scopes,
    /// See [`above`].
    above: Vec<usize>,
    scope: usize,
    /// The fields that `@rest` omits.
    touched: Vec<String>,
    keys: Option<&'a KeyRing>,
}

impl Compiler<'_> {
    fn conditions(&mut self, conditions: &[Condition]) -> Vec<CompiledCondition> {
        let compiled = conditions.iter().map(|condition| CompiledCondition {
            input: self.input(&condition.source, &[]),
            tests: condition.tests.clone(),
        });
        compiled.collect()
    }

    fn column(
        &mut self,
        mapping: &TableMapping,
        position: usize,
        column: &Column,
    ) -> Result<CompiledColumn, Mistake> {
        let inputs = column.sources().map(|source| match source {
            Source::Metadata(Metadata::Body)
                if column.column_type.is_json() && !reads_json(&column.transforms) =>
            {
                Input::Body
            }
            source => self.input(source, &column.except),
        });
        let inputs = inputs.collect();
        let is_key = mapping.key.contains(&position);
        let presence = match mapping.identifies(column) {
            _ if mapping.tombstone == Some(position) => Presence::Deleted,
            true => Presence::Always,
            false => Presence::Stored,
        };
        let is_own = column.sources().any(|source| mapping.is_own(source));
        let compiled = CompiledColumn::new(column, [is_key, is_own], presence, inputs, self.keys);
        compiled.map_err(|problem| problem.of(&column.name))
    }

    fn input(&mut self, source: &Source, except: &[String]) -> Input {
        match source {
            Source::Path(path) => Input::Field(self.scopes.field(self.scope, path)),
            Source::Top(path) => Input::Field(self.scopes.field(Scopes::TOP, path)),
            Source::Parent(generations, path) => {
                Input::Field(self.scopes.field(self.ancestor(*generations), path))
            }
            Source::Element => Input::Element(self.scope),
            Source::Index(generations) => Input::Index(self.ancestor(*generations)),
            Source::Rest => {
                let left_out = self.touched.iter().chain(except);
                Input::Rest(self.scope, left_out.cloned().collect())
            }
            Source::Metadata(Metadata::MaskKeyId) => {
                Input::Text(self.keys.map(KeyRing::id).unwrap_or_default().to_owned())
            }
            Source::Metadata(metadata) => Input::Metadata(metadata.clone()),
            Source::Jq(jq) => Input::Jq(Box::new(Calculation {
                program: Arc::clone(&jq.program),
                own: self.scope,
                body: jq.reads_body.then_some(Scopes::TOP),
                parent: jq.reads_parent.then(|| self.ancestor(1)),
            })),
        }
    }

    /// The scope of the row this many generations above, 0 for the row itself.
    fn ancestor(&self, generations: usize) -> usize {
        let above = generations
            .checked_sub(1)
            .and_then(|above| self.above.get(above));
        above.copied().unwrap_or(self.scope)
    }
}

impl CompiledCondition {
    /// The value that it is about.
    pub(super) fn value<'a>(
        &self,
        message: &'a Message<'_>,
        frames: &Frames<'a>,
    ) -> Result<Value<'a>, Unread> {
        self.input.value(message, frames, Unstorable::Strip)
    }

    pub(super) fn is_met_by(&self, value: &Value<'_>) -> bool {
        self.tests.iter().any(|test| holds(test, value))
    }
}

fn holds(test: &Test, value: &Value<'_>) -> bool {
    match test {
        Test::Is(pattern) => is_one(pattern, value),
        Test::Exists(exists) => *exists != matches!(value, Value::Null),
        Test::AnythingBut(patterns) => match value {
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
                !patterns.iter().any(|pattern| is_one(pattern, value))
            }
            Value::Null | Value::Nested(_) | Value::Millis(_) => false,
        },
    }
}

fn is_one(pattern: &Pattern, value: &Value<'_>) -> bool {
    match (pattern, value) {
        (Pattern::Equals(expected), _) => is_equal(expected, value),
        (Pattern::Prefix(prefix), Value::Text(text)) => text.starts_with(prefix),
        (Pattern::Prefix(_), _) => false,
    }
}
