//! The columns of a table, as the file has them → checked columns.

use schemars::JsonSchema;
use serde::Deserialize;

use super::missing;
use super::name::{SYSTEM_COLUMNS, check_identifier};
use super::problem::Mistake;
use super::spelling::RawSpelling;
use super::{Column, OnNull, Problem, Source, words};
use crate::cast::Cast;
use crate::jq::Jq;
use crate::mask::{KeyRing, Mask};
use crate::message::Envelope;
use crate::steps::{Step, reads_json};
use crate::text::Word;
use crate::time::Unit;
use crate::types::ColumnType;

/// The maximum number of columns of a Postgres table.
/// Source: <https://www.postgresql.org/docs/18/limits.html>.
pub(super) const MAX_COLUMNS: usize = 1600;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "column")]
pub(super) struct RawColumn {
    /// The name of the column in the table.
    name: String,
    /// Its type in Postgres: `text`, `varchar(64)`, `numeric(12,2)`, `timestamptz`, `text[]`, …
    #[schemars(schema_with = "words::column_type")]
    r#type: String,
    /// The type of the column in Postgres, which reads it from text: `interval`, `vector(1536)`, `shop.mood`, `tstzrange[]`. With
    /// `type = "text"`.
    cast: Option<String>,
    /// Where the value comes from: a path in the body (default: the column's name), or metadata such as `@message_id`;
    /// of a list, the first that is not null counts. `$.` begins at the top of the body, `^.` at the parent's row.
    #[serde(default)]
    #[schemars(schema_with = "words::from")]
    from: From,
    /// In place of `from`: a program in jq whose result is the value.
    jq: Option<String>,
    /// Null, missing or empty rejects the message.
    #[serde(default)]
    required: bool,
    /// Values that mean that there is none, as they are sent.
    #[serde(default)]
    #[schemars(schema_with = "words::scalars")]
    null_if: Option<Vec<toml::Value>>,
    /// With `update`, what a missing value does to the stored one: `overwrite` (default) or `keep`.
    #[serde(default)]
    #[schemars(schema_with = "words::one_of::<OnNull>")]
    on_null: Option<String>,
    /// Replaces a missing or null field, before `transform` and `mask`.
    #[serde(default)]
    #[schemars(schema_with = "words::any")]
    default: Option<toml::Value>,
    /// Steps that clean the value, in order, before the mask.
    #[serde(default)]
    #[schemars(schema_with = "words::list_of::<Step>")]
    transform: Vec<String>,
    /// What the numbers of a column of times count, from 1970 on.
    #[serde(default)]
    #[schemars(schema_with = "words::one_of::<Unit>")]
    unit: Option<String>,
    /// How the texts of a column of times are written, in the directives of strptime: `%d.%m.%Y`.
    format: Option<String>,
    /// The IANA time zone of times without an offset: `Europe/Zurich`.
    zone: Option<String>,
    /// Replaces the value by a token, last. Prefer `hmac-sha256`; from tokens of `aes-siv` the mask key recovers the value.
    #[serde(default)]
    #[schemars(schema_with = "words::one_of::<Mask>")]
    mask: Option<String>,
    /// The column stores in plaintext, on purpose, what another one masks.
    #[serde(default)]
    clear: bool,
    /// Fields that `@rest` omits.
    #[serde(default)]
    except: Vec<String>,
}

/// One source, or several: the first that is not null counts.
#[derive(Default, Deserialize)]
#[serde(untagged, expecting = "from is a string or a list of strings")]
enum From {
    #[default]
    Name,
    One(String),
    FirstOf(Vec<String>),
}

pub(super) fn check_columns(
    raw: Vec<RawColumn>,
    envelope: Envelope,
) -> Result<Vec<Column>, Mistake> {
    if raw.is_empty() {
        return Err(Problem::NoColumn.into());
    }
    if raw.len() > MAX_COLUMNS {
        return Err(Problem::TooManyColumns(MAX_COLUMNS).into());
    }
    let mut columns: Vec<Column> = Vec::with_capacity(raw.len());
    for column in raw {
        check_identifier("column", &column.name)?;
        let name = column.name.clone();
        if SYSTEM_COLUMNS.contains(&name.as_str()) {
            return Err(Problem::SystemColumn(name.clone()).of(&name));
        }
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
            From::Name if self.jq.is_some() => Vec::new(),
            _ if self.jq.is_some() => return Err(Problem::JqAndFrom),
            From::Name => vec![Source::parse(&self.name)?],
            From::One(from) => vec![Source::parse(from)?],
            From::FirstOf(from) if from.is_empty() => return Err(Problem::NoSource),
            From::FirstOf(from) => from
                .iter()
                .map(|from| Source::parse(from))
                .collect::<Result<_, _>>()?,
        };
        if let Some(program) = self.jq {
            sources.push(Source::Jq(Jq::parse(program)?));
        }
        let transforms = steps(&self.transform, column_type)?;
        for source in &sources {
            check_source(source, column_type, &transforms, envelope)?;
        }
        if !self.except.is_empty() && sources != [Source::Rest] {
            return Err(Problem::ExceptNoEffect);
        }
        if self.required && self.default.is_some() {
            return Err(Problem::RequiredAndDefault);
        }
        let spelling = RawSpelling {
            unit: self.unit,
            format: self.format,
            zone: self.zone,
        };
        let spelling = spelling.check(column_type, &sources)?;
        let mask = self
            .mask
            .as_deref()
            .map(|name| check_mask(name, column_type))
            .transpose()?;
        let cast = self
            .cast
            .map(|name| Cast::check(&name, column_type, mask.is_some()))
            .transpose()?;
        let default = self.default.map(default_as_json).transpose()?;
        let null_if = missing::check_null_if(self.null_if, &sources)?;
        Ok(Column {
            name: self.name,
            column_type,
            cast,
            source: sources.remove(0),
            fallbacks: sources,
            null_if,
            on_null: missing::check_on_null(self.on_null)?,
            required: self.required,
            default,
            transforms,
            spelling,
            mask,
            clear: self.clear,
            except: self.except,
        })
    }
}

fn check_source(
    source: &Source,
    column_type: ColumnType,
    transforms: &[Step],
    envelope: Envelope,
) -> Result<(), Problem> {
    source.check_envelope(envelope)?;
    // What JSON in a string is depends on the message.
    let types = source.types().filter(|_| !reads_json(transforms));
    match (types, transforms.first()) {
        (Some((possible, fits)), _) if !fits(column_type) => Err(Problem::MetadataType {
            metadata: source.to_string(),
            column_type,
            possible,
        }),
        (_, Some(step)) if !source.may_be_text() => {
            Err(Problem::TransformOn(step.to_string(), source.to_string()))
        }
        _ => Ok(()),
    }
}

fn steps(names: &[String], column_type: ColumnType) -> Result<Vec<Step>, Problem> {
    let parse =
        |name: &String| Step::parse(name).ok_or_else(|| Problem::UnknownTransform(name.to_owned()));
    let steps: Vec<Step> = names.iter().map(parse).collect::<Result<_, _>>()?;
    for (at, &step) in steps.iter().enumerate() {
        let later = steps.get(at + 1..).unwrap_or_default();
        let is_of_json = later.contains(&Step::Json);
        let is_too_early = step == Step::Json && !later.is_empty();
        if is_too_early || is_of_json && !step.keeps_json() {
            return Err(Problem::BesideJson(step));
        }
        if !is_of_json && !step.fits(column_type) {
            return Err(Problem::TransformType(step, column_type));
        }
    }
    Ok(steps)
}

fn check_mask(name: &str, column_type: ColumnType) -> Result<Mask, Problem> {
    if name == "base64" {
        return Err(Problem::Base64Mask);
    }
    let mask = Mask::parse(name).ok_or_else(|| Problem::UnknownMask(name.to_owned()))?;
    if !column_type.single().is_text() {
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
    match column_type.single().max_chars() {
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
