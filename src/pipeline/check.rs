//! TOML → a checked mapping.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Mistake;
use super::{
    Column, OnConflict, Path, Pipeline, Problem, Source, Table, TableMapping, Unmatched, clear,
    condition, family, newer, reach, trust,
};
use crate::mask::{KeyRing, Mask};
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
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShortForm {
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
struct RawPipeline {
    root: Option<String>,
    unmatched: Option<String>,
    envelope: Option<String>,
    #[serde(default)]
    trust_origin: bool,
    table: Vec<RawTable>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    name: String,
    parent: Option<String>,
    each: Option<String>,
    #[serde(default)]
    when: BTreeMap<String, toml::Value>,
    #[serde(default)]
    delete_when: BTreeMap<String, toml::Value>,
    #[serde(default)]
    key: Vec<String>,
    on_conflict: Option<String>,
    newer: Option<String>,
    #[serde(default)]
    column: Vec<RawColumn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawColumn {
    name: String,
    r#type: String,
    #[serde(default)]
    from: From,
    #[serde(default)]
    required: bool,
    default: Option<toml::Value>,
    #[serde(default)]
    transform: Vec<String>,
    mask: Option<String>,
    #[serde(default)]
    clear: bool,
    #[serde(default)]
    except: Vec<String>,
}

/// One source, or several of which the first that is not null counts.
#[derive(Default, Deserialize)]
#[serde(untagged, expecting = "from is a string or a list of strings")]
enum From {
    #[default]
    Name,
    One(String),
    FirstOf(Vec<String>),
}

impl RawShortForm {
    fn into_long(self) -> RawPipeline {
        RawPipeline {
            root: None,
            unmatched: None,
            envelope: self.envelope,
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
        let envelope = word_or(self.envelope, Envelope::None, Problem::UnknownEnvelope)?;
        let root = self.root.as_deref().map(Path::parse).transpose()?;
        let unmatched = word_or(self.unmatched, Unmatched::Reject, Problem::UnknownUnmatched)?;
        if self.table.is_empty() {
            return Err(Problem::NoTable.into());
        }
        let names: Vec<String> = self.table.iter().map(|table| table.name.clone()).collect();
        let mut tables: Vec<TableMapping> = Vec::with_capacity(self.table.len());
        for (table, name) in self.table.into_iter().zip(&names) {
            let checked = table.check(&tables, &names, envelope);
            tables.push(checked.map_err(|mistake| mistake.of_table(name, names_tables))?);
        }
        let pipeline = Pipeline {
            digest: String::new(),
            tables,
            root,
            unmatched,
            envelope,
            trust_origin: self.trust_origin,
        };
        for (table, name) in pipeline.tables.iter().zip(&names) {
            let checked =
                family::check(&pipeline, table).and_then(|()| clear::check(&pipeline, table));
            checked.map_err(|mistake| mistake.of_table(name, names_tables))?;
        }
        trust::check(&pipeline)?;
        let takes_all = |table: &TableMapping| table.parent.is_none() && table.when.is_empty();
        if unmatched == Unmatched::Skip && pipeline.tables.iter().any(takes_all) {
            return Err(Problem::UnmatchedInVain.into());
        }
        Ok(pipeline)
    }
}

impl RawTable {
    /// `before` are the tables above it in the file, `names` those of all.
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
        let parent = self.parent.as_ref().map(|parent| {
            let position = names.iter().position(|name| name == parent);
            match position {
                Some(position) if position < before.len() => Ok(position),
                Some(_) => Err(Problem::ParentLater(parent.clone())),
                None => Err(Problem::UnknownParent(parent.clone())),
            }
        });
        let parent = parent.transpose()?;
        let on_conflict = match parent.and_then(|parent| before.get(parent)) {
            None => word_or(
                self.on_conflict,
                OnConflict::Ignore,
                Problem::UnknownOnConflict,
            )?,
            Some(parent) => {
                let decided = [
                    ("on_conflict", self.on_conflict.is_some()),
                    ("newer", self.newer.is_some()),
                    ("delete_when", !self.delete_when.is_empty()),
                ];
                if let Some((word, _)) = decided.into_iter().find(|(_, is_set)| *is_set) {
                    return Err(Problem::DecidedByParent(word).into());
                }
                parent.on_conflict
            }
        };
        if !self.delete_when.is_empty() && on_conflict != OnConflict::Update {
            return Err(Problem::DeleteWithoutUpdate.into());
        }
        let columns = check_columns(self.column, envelope)?;
        let key = check_key(&self.key, &columns)?;
        let newer = newer::check(self.newer.as_deref(), on_conflict, &columns, &key)?;
        reach::check(&columns)?;
        Ok(TableMapping {
            table,
            parent,
            each: self.each.as_deref().map(Path::parse).transpose()?,
            when: condition::check("when", self.when, envelope)?,
            delete_when: condition::check("delete_when", self.delete_when, envelope)?,
            columns,
            key,
            on_conflict,
            newer,
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
        let mut sources = match &self.from {
            From::Name => vec![Source::parse(&self.name)?],
            From::One(from) => vec![Source::parse(from)?],
            From::FirstOf(from) if from.is_empty() => return Err(Problem::NoSource),
            From::FirstOf(from) => from
                .iter()
                .map(|from| Source::parse(from))
                .collect::<Result<_, _>>()?,
        };
        for source in &sources {
            check_source(source, column_type, envelope)?;
        }
        if !self.except.is_empty() && sources != [Source::Rest] {
            return Err(Problem::ExceptInVain);
        }
        if self.required && self.default.is_some() {
            return Err(Problem::RequiredAndDefault);
        }
        let transforms = self
            .transform
            .iter()
            .map(|name| check_step(name, column_type, &sources))
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
            source: sources.remove(0),
            fallbacks: sources,
            required: self.required,
            default,
            transforms,
            mask,
            clear: self.clear,
            except: self.except,
        })
    }
}

fn check_source(
    source: &Source,
    column_type: ColumnType,
    envelope: Envelope,
) -> Result<(), Problem> {
    let name = source.to_string();
    if let Source::Metadata(metadata) = source
        && let Some(needed) = metadata.envelope().filter(|&needed| needed != envelope)
    {
        return Err(Problem::NeedsEnvelope(name, needed));
    }
    match source.types() {
        Some((possible, fits)) if !fits(column_type) => Err(Problem::MetadataType {
            metadata: name,
            column_type,
            possible,
        }),
        _ => Ok(()),
    }
}

fn check_step(name: &str, column_type: ColumnType, sources: &[Source]) -> Result<Step, Problem> {
    let step = Step::parse(name).ok_or_else(|| Problem::UnknownTransform(name.to_owned()))?;
    if !step.fits(column_type) {
        return Err(Problem::TransformType(step, column_type));
    }
    match sources.iter().find(|source| !source.may_be_text()) {
        Some(source) => Err(Problem::TransformOn(name.to_owned(), source.to_string())),
        None => Ok(step),
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
    check_token_width(mask, column_type, None)?;
    Ok(mask)
}

/// Whether a column has room for the tokens of the current key, as far as the keys are known.
pub(crate) fn check_token_width(
    mask: Mask,
    column_type: ColumnType,
    keys: Option<&KeyRing>,
) -> Result<(), Problem> {
    let needed = mask.min_token_chars_with(keys);
    match column_type.max_chars() {
        Some(chars) if chars < needed => Err(Problem::MaskWidth {
            mask,
            needed,
            column_type,
        }),
        _ => Ok(()),
    }
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
