//! TOML → a checked mapping.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::column::{RawColumn, check_columns};
use super::name::check_identifier;
use super::problem::Mistake;
use super::{
    Column, OnConflict, Path, Pipeline, Problem, Source, Table, TableMapping, Unmatched, clear,
    condition, hierarchy, missing, newer, path, reach, tombstone, trust, words,
};
use crate::jq::Jq;
use crate::message::{Encoding, Envelope, Format, Metadata, Packing, Wrapping, is_bucket};
use crate::text::Word;
use crate::types::ColumnType;

/// The maximum number of columns of a Postgres index.
/// Source: <https://www.postgresql.org/docs/18/limits.html>.
const MAX_KEY_COLUMNS: usize = 32;

pub(super) fn parse(text: &str) -> Result<Pipeline, Mistake> {
    let top: toml::Table = read(text)?;
    let is_long = top.get("table").is_some_and(toml::Value::is_array);
    if is_long {
        return read::<RawPipeline>(text)?.check(true);
    }
    read::<RawShortForm>(text)?.into_long().check(false)
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let line = text
            .bytes()
            .take(offset)
            .filter(|&byte| byte == b'\n')
            .count()
            + 1;
        Problem::Toml {
            line,
            message: error.message().replace('\n', ", "),
        }
        .into()
    })
}

/// A mapping of one table, whose words stand at the top of the file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawShortForm {
    /// The table of a mapping of one table: `table` or `schema.table`.
    table: String,
    /// The columns of a primary key or unique index, which identify a row.
    #[serde(default)]
    key: Vec<String>,
    /// What happens if the table has a row with the key: `ignore` (default) keeps it, `update` replaces it.
    #[serde(default)]
    #[schemars(schema_with = "words::one_of::<OnConflict>")]
    on_conflict: Option<String>,
    /// With `update`: the column that says which of two messages of a key is newer.
    newer: Option<String>,
    /// How messages reach the queue: through SNS without raw message delivery, or directly (default).
    #[serde(default)]
    #[schemars(schema_with = "words::one_of::<Envelope>")]
    envelope: Option<String>,
    /// The buckets of S3 from which large messages are read.
    s3_pointers: Option<Vec<String>>,
    /// How the message is packed into the body, or `@attribute.NAME`, which says so.
    #[serde(default)]
    #[schemars(schema_with = "words::encoding")]
    encoding: Option<String>,
    /// A program in jq that makes the body out of the one that was sent.
    jq: Option<String>,
    /// Without a mask key: everyone who can send to the queue is trusted with the ids and times of messages.
    #[serde(default)]
    trust_origin: bool,
    /// The columns of the table.
    #[serde(default)]
    column: Vec<RawColumn>,
}

/// A mapping of several tables.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPipeline {
    /// Where in the body the paths start.
    root: Option<String>,
    /// What happens to a message that no table matches: `reject` (default), or `skip`.
    #[serde(default)]
    #[schemars(schema_with = "words::one_of::<Unmatched>")]
    unmatched: Option<String>,
    /// How messages reach the queue: through SNS without raw message delivery, or directly (default).
    #[serde(default)]
    #[schemars(schema_with = "words::one_of::<Envelope>")]
    envelope: Option<String>,
    /// The buckets of S3 from which large messages are read.
    s3_pointers: Option<Vec<String>>,
    /// How the message is packed into the body, or `@attribute.NAME`, which says so.
    #[serde(default)]
    #[schemars(schema_with = "words::encoding")]
    encoding: Option<String>,
    /// The body is one JSON value (default), or has one on each line, which `each = "@body"` reads.
    #[serde(default)]
    #[schemars(schema_with = "words::one_of::<Format>")]
    body: Option<String>,
    /// A program in jq that makes the body out of the one that was sent.
    jq: Option<String>,
    /// Without a mask key: everyone who can send to the queue is trusted with the ids and times of messages.
    #[serde(default)]
    trust_origin: bool,
    /// The tables, each after its parent.
    table: Vec<RawTable>,
}

/// One of several tables.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "table")]
struct RawTable {
    /// `table` or `schema.table`.
    name: String,
    /// The table, further up, to whose rows these belong.
    parent: Option<String>,
    /// The array that has an element for each row, or `@body`.
    each: Option<String>,
    /// What must hold for a message or element to become a row.
    #[serde(default)]
    #[schemars(schema_with = "words::conditions")]
    when: BTreeMap<String, toml::Value>,
    /// With `update`: where this holds, the row of the key is deleted.
    #[serde(default)]
    #[schemars(schema_with = "words::conditions")]
    delete_when: BTreeMap<String, toml::Value>,
    /// With `delete_when` and `newer`: a deleted row remains, and this column, which is not mapped, says when it was
    /// deleted.
    deleted: Option<String>,
    /// The columns of a primary key or unique index, which identify a row. That of a child begins with its parent's.
    #[serde(default)]
    key: Vec<String>,
    /// What happens if the table has a row with the key: `ignore` (default) keeps it, `update` replaces it.
    #[serde(default)]
    #[schemars(schema_with = "words::one_of::<OnConflict>")]
    on_conflict: Option<String>,
    /// With `update`: the column that says which of two messages of a key is newer.
    newer: Option<String>,
    /// The columns of the table.
    #[serde(default)]
    column: Vec<RawColumn>,
}

impl RawShortForm {
    fn into_long(self) -> RawPipeline {
        RawPipeline {
            root: None,
            unmatched: None,
            envelope: self.envelope,
            s3_pointers: self.s3_pointers,
            encoding: self.encoding,
            body: None,
            jq: self.jq,
            trust_origin: self.trust_origin,
            table: vec![RawTable {
                name: self.table,
                key: self.key,
                on_conflict: self.on_conflict,
                newer: self.newer,
                column: self.column,
                ..RawTable::default()
            }],
        }
    }
}

impl RawPipeline {
    /// Checks the tables one by one, and then what depends on several. Mistakes name the table where there may be more
    /// than one.
    fn check(self, names_tables: bool) -> Result<Pipeline, Mistake> {
        let wrapping = Wrapping {
            envelope: word_or(self.envelope, Envelope::None, Problem::UnknownEnvelope)?,
            s3_pointers: buckets(self.s3_pointers)?,
            encoding: packing(self.encoding)?,
            format: word_or(self.body, Format::Json, Problem::UnknownFormat)?,
        };
        let jq = self.jq.map(Jq::parse).transpose();
        let jq = jq.map_err(Problem::Jq)?;
        let root = path_of("root", self.root)?;
        let unmatched = word_or(self.unmatched, Unmatched::Reject, Problem::UnknownUnmatched)?;
        if self.table.is_empty() {
            return Err(Problem::NoTable.into());
        }
        let names: Vec<String> = self.table.iter().map(|table| table.name.clone()).collect();
        let mut tables: Vec<TableMapping> = Vec::with_capacity(self.table.len());
        for (table, name) in self.table.into_iter().zip(&names) {
            let checked = table.check(&tables, &names, wrapping.envelope);
            let checked = checked.map_err(|mistake| mistake.of_table(name, names_tables))?;
            if let Some(parent) = checked.parent.and_then(|parent| tables.get_mut(parent)) {
                parent.has_children = true;
            }
            tables.push(checked);
        }
        let pipeline = Pipeline {
            digest: String::new(),
            tables,
            jq,
            root,
            unmatched,
            wrapping,
            trust_origin: self.trust_origin,
        };
        for (table, name) in pipeline.tables.iter().zip(&names) {
            let checked =
                hierarchy::check(&pipeline, table).and_then(|()| clear::check(&pipeline, table));
            checked.map_err(|mistake| mistake.of_table(name, names_tables))?;
        }
        trust::check(&pipeline)?;
        let is_lines = pipeline.wrapping.format == Format::Lines;
        if is_lines && !pipeline.tables.iter().any(TableMapping::is_of_body) {
            return Err(Problem::LinesWithoutEach.into());
        }
        let takes_all = |table: &TableMapping| table.parent.is_none() && table.when.is_empty();
        let is_reached = pipeline.jq.is_none() && pipeline.tables.iter().any(takes_all);
        if unmatched == Unmatched::Skip && is_reached {
            return Err(Problem::UnmatchedNoEffect.into());
        }
        Ok(pipeline)
    }
}

impl RawTable {
    /// `before` are the tables above it in the file, `names` the names of all tables.
    fn check(
        self,
        before: &[TableMapping],
        names: &[String],
        envelope: Envelope,
    ) -> Result<TableMapping, Mistake> {
        let table = parse_table(&self.name)?;
        if before.iter().any(|other| other.table == table) {
            return Err(Problem::DuplicateTable.into());
        }
        let parent = self.parent(before, names)?;
        let on_conflict = match parent.and_then(|parent| before.get(parent)) {
            None => {
                let word = self.on_conflict.clone();
                word_or(word, OnConflict::Ignore, Problem::UnknownOnConflict)?
            }
            Some(parent) => self.decided_by(parent)?,
        };
        if !self.delete_when.is_empty() && on_conflict != OnConflict::Update {
            return Err(Problem::DeleteWithoutUpdate.into());
        }
        let mut columns = check_columns(self.column, envelope)?;
        let key = check_key(&self.key, &columns)?;
        let newer = newer::check(self.newer.as_deref(), on_conflict, &columns, &key)?;
        missing::check(&columns, on_conflict, parent.is_some(), newer)?;
        reach::check(&columns)?;
        let deletes = !self.delete_when.is_empty();
        let tombstone = tombstone::check(self.deleted, deletes, newer, &mut columns)?;
        Ok(TableMapping {
            table,
            parent,
            has_children: false,
            each: each_of(self.each)?,
            when: condition::check("when", self.when, envelope)?,
            delete_when: condition::check("delete_when", self.delete_when, envelope)?,
            tombstone,
            columns,
            key,
            on_conflict,
            newer,
        })
    }

    /// The position of its parent.
    fn parent(&self, before: &[TableMapping], names: &[String]) -> Result<Option<usize>, Problem> {
        let Some(parent) = &self.parent else {
            return Ok(None);
        };
        match names.iter().position(|name| name == parent) {
            Some(position) if position < before.len() => Ok(Some(position)),
            Some(_) => Err(Problem::ParentLater(parent.clone())),
            None => Err(Problem::UnknownParent(parent.clone())),
        }
    }

    /// What happens on a conflict is decided by the parent, for all rows of a message.
    fn decided_by(&self, parent: &TableMapping) -> Result<OnConflict, Problem> {
        let decided = [
            ("on_conflict", self.on_conflict.is_some()),
            ("newer", self.newer.is_some()),
            ("delete_when", !self.delete_when.is_empty()),
            ("deleted", self.deleted.is_some()),
        ];
        match decided.into_iter().find(|(_, is_set)| *is_set) {
            Some((word, _)) => Err(Problem::DecidedByParent(word)),
            None => Ok(parent.on_conflict),
        }
    }
}

/// The array with an element for each row: a path, or `@body`.
fn each_of(text: Option<String>) -> Result<Option<Path>, Problem> {
    match text.as_deref() {
        Some(path::BODY) => Ok(Some(Path::of_body())),
        _ => path_of("each", text),
    }
}

/// A path without the prefixes that sources have: read as keys, they would lead to nothing in any message.
fn path_of(word: &'static str, text: Option<String>) -> Result<Option<Path>, Problem> {
    let Some(text) = text else { return Ok(None) };
    match Source::parse(&text) {
        Ok(Source::Path(path)) => Ok(Some(path)),
        Err(problem @ (Problem::EmptyStep(_) | Problem::Quotes(_))) => Err(problem),
        _ => Err(Problem::NotAPath(word, text)),
    }
}

fn parse_table(name: &str) -> Result<Table, Problem> {
    let parts: Vec<&str> = name.split('.').collect();
    let (schema, own_name) = match parts[..] {
        [name] => (None, name),
        [schema, name] => (Some(schema.to_owned()), name),
        _ => return Err(Problem::TableParts(name.to_owned())),
    };
    for part in parts {
        check_identifier("table", part)?;
    }
    let name = own_name.to_owned();
    Ok(Table { schema, name })
}

/// The buckets to which producers may have moved messages.
fn buckets(names: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    let Some(names) = names else {
        return Ok(Vec::new());
    };
    if names.is_empty() {
        return Err(Problem::NoBucket);
    }
    match names.iter().find(|name| !is_bucket(name)) {
        Some(name) => Err(Problem::BucketName(name.clone())),
        None => Ok(names),
    }
}

/// An encoding, or the attribute that names it.
fn packing(text: Option<String>) -> Result<Packing, Problem> {
    let metadata = text.as_deref().and_then(Metadata::parse);
    match (text, metadata) {
        (Some(text), Some(metadata)) if metadata.is_impossible() => {
            Err(Problem::AttributeName(text))
        }
        (_, Some(Metadata::Attribute(name))) => Ok(Packing::Attribute(name)),
        (text, _) => word_or(text, Encoding::None, Problem::UnknownEncoding).map(Packing::As),
    }
}

/// The value of a word, or what its absence means.
fn word_or<T: Word>(
    name: Option<String>,
    absent: T,
    unknown: fn(String) -> Problem,
) -> Result<T, Problem> {
    match name {
        None => Ok(absent),
        Some(name) => T::parse(&name).ok_or_else(|| unknown(name)),
    }
}

fn check_key(names: &[String], columns: &[Column]) -> Result<Vec<usize>, Mistake> {
    if names.is_empty() {
        return Err(Problem::NoKey.into());
    }
    if names.len() > MAX_KEY_COLUMNS {
        return Err(Problem::TooManyKeyColumns(MAX_KEY_COLUMNS).into());
    }
    let mut key = Vec::with_capacity(names.len());
    for name in names {
        let (position, column) = columns
            .iter()
            .enumerate()
            .find(|(_, column)| column.name == *name)
            .ok_or_else(|| Problem::UnknownKey(name.clone()))?;
        if key.contains(&position) {
            return Err(Problem::DuplicateKey.of(name));
        }
        check_key_column(column).map_err(|problem| problem.of(name))?;
        key.push(position);
    }
    Ok(key)
}

fn check_key_column(column: &Column) -> Result<(), Problem> {
    if column.default.is_some() {
        return Err(Problem::DefaultKey);
    }
    if !column.is_never_null() {
        return Err(Problem::NullableKey);
    }
    if column.reads(&Metadata::ReceiveCount) {
        return Err(Problem::ReceiveCountKey);
    }
    if column.column_type == ColumnType::Json {
        return Err(Problem::KeyType(column.column_type));
    }
    Ok(())
}
