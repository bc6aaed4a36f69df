//! TOML → a checked mapping.

use serde::Deserialize;

use super::problem::Mistake;
use super::{
    Column, OnConflict, Path, Pipeline, Problem, Source, Table, clear, newer, reach, trust,
};
use crate::mask::Mask;
use crate::message::{Envelope, Metadata};
use crate::steps::Step;
use crate::types::ColumnType;
use crate::words::Word;

/// The longest identifier that Postgres keeps, in bytes; it silently truncates longer ones.
/// Source: <https://www.postgresql.org/docs/18/sql-syntax-lexical.html> (NAMEDATALEN − 1).
const MAX_IDENTIFIER_BYTES: usize = 63;

/// The maximum number of columns of a Postgres table.
/// Source: <https://www.postgresql.org/docs/18/limits.html>.
pub(super) const MAX_COLUMNS: usize = 1600;

pub(super) fn parse(text: &str) -> Result<Pipeline, Mistake> {
    read(text)?.check()
}

fn read(text: &str) -> Result<RawPipeline, Mistake> {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPipeline {
    table: String,
    #[serde(default)]
    key: Vec<String>,
    on_conflict: Option<String>,
    newer: Option<String>,
    envelope: Option<String>,
    #[serde(default)]
    trust_origin: bool,
    #[serde(default)]
    column: Vec<RawColumn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawColumn {
    name: String,
    r#type: String,
    from: Option<String>,
    #[serde(default)]
    required: bool,
    default: Option<toml::Value>,
    #[serde(default)]
    transform: Vec<String>,
    mask: Option<String>,
    #[serde(default)]
    clear: bool,
}

impl RawPipeline {
    fn check(self) -> Result<Pipeline, Mistake> {
        let table = parse_table(&self.table)?;
        let on_conflict = word_or(
            self.on_conflict,
            OnConflict::Ignore,
            Problem::UnknownOnConflict,
        )?;
        let envelope = word_or(self.envelope, Envelope::None, Problem::UnknownEnvelope)?;
        let columns = check_columns(self.column, envelope)?;
        let key = check_key(&self.key, &columns)?;
        let newer = newer::check(self.newer.as_deref(), on_conflict, &columns, &key)?;
        reach::check(&columns)?;
        clear::check(&columns)?;
        trust::check(self.trust_origin, on_conflict, &columns, &key)?;
        Ok(Pipeline {
            table,
            columns,
            key,
            on_conflict,
            newer,
            envelope,
            trust_origin: self.trust_origin,
        })
    }
}

fn parse_table(name: &str) -> Result<Table, Problem> {
    let parts: Vec<&str> = name.split('.').collect();
    let table = match parts[..] {
        [name] => Table {
            schema: None,
            name: name.to_owned(),
        },
        [schema, name] => Table {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        },
        _ => return Err(Problem::TableParts(name.to_owned())),
    };
    for part in parts {
        check_identifier("table", part)?;
    }
    Ok(table)
}

pub(crate) fn check_identifier(what: &'static str, name: &str) -> Result<(), Problem> {
    let keeps = (1..=MAX_IDENTIFIER_BYTES).contains(&name.len()) && !name.contains('\0');
    if keeps {
        Ok(())
    } else {
        Err(Problem::Identifier {
            what,
            name: name.to_owned(),
        })
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

fn check_columns(raw: Vec<RawColumn>, envelope: Envelope) -> Result<Vec<Column>, Mistake> {
    if raw.is_empty() {
        return Err(Problem::NoColumn.into());
    }
    if raw.len() > MAX_COLUMNS {
        return Err(Problem::TooManyColumns.into());
    }
    let mut columns: Vec<Column> = Vec::with_capacity(raw.len());
    for column in raw {
        check_identifier("column", &column.name)?;
        let name = column.name.clone();
        if columns.iter().any(|other| other.name == name) {
            return Err(Problem::DuplicateColumn.of(&name));
        }
        columns.push(
            column
                .check(envelope)
                .map_err(|problem| problem.of(&name))?,
        );
    }
    Ok(columns)
}

impl RawColumn {
    fn check(self, envelope: Envelope) -> Result<Column, Problem> {
        let column_type = self
            .r#type
            .parse()
            .map_err(|_| Problem::UnknownType(self.r#type))?;
        let source = parse_source(self.from.as_deref().unwrap_or(&self.name))?;
        check_source(&source, column_type, envelope)?;
        if self.required && self.default.is_some() {
            return Err(Problem::RequiredAndDefault);
        }
        let transforms = self
            .transform
            .iter()
            .map(|name| check_step(name, column_type, &source))
            .collect::<Result<_, _>>()?;
        let mask = self
            .mask
            .as_deref()
            .map(|name| check_mask(name, column_type))
            .transpose()?;
        let default = self.default.map(default_as_json).transpose()?;
        Ok(Column {
            name: self.name,
            column_type,
            source,
            required: self.required,
            default,
            transforms,
            mask,
            clear: self.clear,
        })
    }
}

fn parse_source(from: &str) -> Result<Source, Problem> {
    if from.starts_with('@') {
        let metadata =
            Metadata::parse(from).ok_or_else(|| Problem::UnknownMetadata(from.to_owned()))?;
        if metadata.is_impossible() {
            return Err(Problem::AttributeName(from.to_owned()));
        }
        return Ok(Source::Metadata(metadata));
    }
    Path::parse(from).map(Source::Path)
}

fn check_source(
    source: &Source,
    column_type: ColumnType,
    envelope: Envelope,
) -> Result<(), Problem> {
    let Source::Metadata(metadata) = source else {
        return Ok(());
    };
    let name = metadata.to_string();
    if let Some(needed) = metadata.envelope()
        && needed != envelope
    {
        return Err(Problem::NeedsEnvelope(name, needed));
    }
    match metadata.types() {
        Some((possible, fits)) if !fits(column_type) => Err(Problem::MetadataType {
            metadata: name,
            column_type,
            possible,
        }),
        _ => Ok(()),
    }
}

fn check_step(name: &str, column_type: ColumnType, source: &Source) -> Result<Step, Problem> {
    let step = Step::parse(name).ok_or_else(|| Problem::UnknownTransform(name.to_owned()))?;
    if !step.fits(column_type) {
        return Err(Problem::TransformType(step, column_type));
    }
    match source {
        Source::Metadata(metadata) if !metadata.is_text() => {
            Err(Problem::TransformOn(name.to_owned(), metadata.to_string()))
        }
        _ => Ok(step),
    }
}

fn check_mask(name: &str, column_type: ColumnType) -> Result<Mask, Problem> {
    if name == "base64" {
        return Err(Problem::Base64Mask);
    }
    let mask = Mask::parse(name).ok_or_else(|| Problem::UnknownMask(name.to_owned()))?;
    if !column_type.is_text() {
        return Err(Problem::MaskType(column_type));
    }
    let needed = mask.min_token_chars();
    if column_type.max_chars().is_some_and(|chars| chars < needed) {
        return Err(Problem::MaskWidth {
            mask,
            needed,
            column_type,
        });
    }
    Ok(mask)
}

/// A default as the JSON text that a message would contain, so that it is processed in the same way.
fn default_as_json(default: toml::Value) -> Result<String, Problem> {
    serde_json::to_string(&dates_as_text(default))
        .map_err(|_| Problem::Default("it has no JSON form".to_owned()))
}

/// TOML has dates; in JSON they are strings.
fn dates_as_text(value: toml::Value) -> toml::Value {
    match value {
        toml::Value::Datetime(datetime) => toml::Value::String(datetime.to_string()),
        toml::Value::Array(values) => {
            toml::Value::Array(values.into_iter().map(dates_as_text).collect())
        }
        toml::Value::Table(table) => toml::Value::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, dates_as_text(value)))
                .collect(),
        ),
        other => other,
    }
}

fn check_key(names: &[String], columns: &[Column]) -> Result<Vec<usize>, Mistake> {
    if names.is_empty() {
        return Err(Problem::NoKey.into());
    }
    let mut key = Vec::with_capacity(names.len());
    for name in names {
        let position = columns
            .iter()
            .position(|column| column.name == *name)
            .ok_or_else(|| Problem::UnknownKey(name.clone()))?;
        if key.contains(&position) {
            return Err(Problem::DuplicateKey.of(name));
        }
        check_key_column(&columns[position]).map_err(|problem| problem.of(name))?;
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
    if column.source == Source::Metadata(Metadata::ReceiveCount) {
        return Err(Problem::ReceiveCountKey);
    }
    if column.column_type == ColumnType::Json {
        return Err(Problem::KeyType(column.column_type));
    }
    Ok(())
}
