//! The views of tables that keep every version of what a key names: from when until when each version is valid.

use thiserror::Error;

use crate::message::Metadata;
use crate::pipeline::{
    Column, OnConflict, Pipeline, Source, Table, TableMapping, check_identifier,
};
use crate::text::{quote_identifier, quote_list};

const FROM: &str = "valid_from";
const TO: &str = "valid_to";
const IS_CURRENT: &str = "is_current";

/// Why a mapping has no view of versions.
#[non_exhaustive]
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum HistoryError {
    #[error(
        "no table of the mapping keeps versions: set on_conflict = \"ignore\" and a key that ends with a version, a number or a time of the message, such as [\"id\", \"version\"]"
    )]
    NoTable,
    #[error(
        "no table that keeps versions has a column {0:?} of type date, timestamp or timestamptz: name one of these"
    )]
    Unknown(String),
    #[error(
        "table {table}: column {column:?} may be null, and a version must say since when it is valid: add required = true"
    )]
    Nullable { table: String, column: String },
    #[error(
        "table {0}: no column says since when a version is valid: map a date, timestamp or timestamptz with required = true"
    )]
    NoTime(String),
    #[error(
        "table {0}: several columns may say since when a version is valid: name one of {1} with --history"
    )]
    SeveralTimes(String, String),
    #[error(
        "table {table}: the view has a column {column:?} of its own: rename the one of the mapping"
    )]
    Taken { table: String, column: String },
    #[error("the name of its view would be too long for Postgres: shorten the name of table {0}")]
    Name(String),
}

impl Pipeline {
    /// The statements that create or replace a view of each table that keeps versions. `since` names the column that
    /// says since when a version is valid; without it, that is the version itself if it is a time, or else the only
    /// column of a time that is never null.
    ///
    /// ```sql
    /// CREATE OR REPLACE VIEW "prices_history" AS
    /// SELECT "sku", "version",
    ///     pg_catalog.min("changed_at") OVER (later ROWS UNBOUNDED PRECEDING) AS "valid_from",
    ///     …
    /// FROM "prices"
    /// WINDOW later AS (PARTITION BY "sku" ORDER BY "version" DESC);
    /// ```
    ///
    /// # Errors
    /// No table keeps versions, or it is not known since when one of them is valid.
    pub fn create_histories(&self, since: Option<&str>) -> Result<String, HistoryError> {
        let tables = self.tables.iter();
        let histories: Vec<_> = tables.filter_map(History::of).collect();
        if histories.is_empty() {
            return Err(HistoryError::NoTable);
        }
        if let Some(name) = since
            && !histories
                .iter()
                .any(|history| history.named(name).is_some())
        {
            return Err(HistoryError::Unknown(name.to_owned()));
        }
        let views = histories.iter().map(|history| history.view(since));
        Ok(views.collect::<Result<Vec<_>, _>>()?.join("\n"))
    }
}

/// A table with a row for each version of what the rest of its key names.
struct History<'p> {
    mapping: &'p TableMapping,
    /// What has versions.
    of: Vec<&'p str>,
    version: &'p Column,
}

impl<'p> History<'p> {
    fn of(mapping: &'p TableMapping) -> Option<Self> {
        let is_replaced = mapping.on_conflict == OnConflict::Update;
        let mut key: Vec<_> = mapping.key_columns().collect();
        let version = key.pop()?;
        let is_ordered = version.column_type.is_number() || version.column_type.is_time();
        let is_position = version
            .sources()
            .any(|source| matches!(source, Source::Index(_)));
        let is_by_message = key
            .iter()
            .copied()
            .flat_map(Column::sources)
            .any(is_of_message);
        if is_replaced
            || mapping.parent.is_some()
            || key.is_empty()
            || !is_ordered
            || is_position
            || is_by_message
        {
            return None;
        }
        let of = key.iter().map(|column| column.name.as_str()).collect();
        Some(Self {
            mapping,
            of,
            version,
        })
    }

    /// The column of times that has this name.
    fn named(&self, name: &str) -> Option<&'p Column> {
        let mut times = self.times();
        times.find(|column| column.name == name)
    }

    fn times(&self) -> impl Iterator<Item = &'p Column> {
        let columns = self.mapping.columns.iter();
        columns.filter(|column| column.column_type.is_time())
    }

    /// The column that says since when a version is valid.
    fn since(&self, name: Option<&str>) -> Result<&'p Column, HistoryError> {
        let table = || self.mapping.table.to_string();
        if let Some(column) = name.and_then(|name| self.named(name)) {
            let column_name = column.name.clone();
            return match column.is_never_null() {
                true => Ok(column),
                false => Err(HistoryError::Nullable {
                    table: table(),
                    column: column_name,
                }),
            };
        }
        if self.version.column_type.is_time() {
            return Ok(self.version);
        }
        let times: Vec<_> = self
            .times()
            .filter(|column| column.is_never_null())
            .collect();
        match times[..] {
            [] => Err(HistoryError::NoTime(table())),
            [column] => Ok(column),
            _ => {
                let names = quote_list(times.iter().map(|column| column.name.as_str()));
                Err(HistoryError::SeveralTimes(table(), names))
            }
        }
    }

    /// From the newest version to the oldest: a version ends when the earliest of the later ones begins, so that at any
    /// time exactly one is valid, also where the times do not increase with the versions. The columns of the view come
    /// before those of the mapping that may still be added: `CREATE OR REPLACE VIEW` adds columns at the end only.
    fn view(&self, since: Option<&str>) -> Result<String, HistoryError> {
        let mapping = self.mapping;
        let since = self.since(since)?;
        for own in [FROM, TO, IS_CURRENT] {
            let is_its_own = own == FROM && since.name == FROM;
            if !is_its_own && mapping.column_names().any(|name| name == own) {
                return Err(HistoryError::Taken {
                    table: mapping.table.to_string(),
                    column: own.to_owned(),
                });
            }
        }
        let shown = |name: &&str| *name != FROM;
        let key = quote_list(mapping.key_names().filter(shown));
        let others = mapping.other_names().filter(shown);
        let others = others.map(|name| format!(",\n    {}", quote_identifier(name)));
        let (time, version) = (
            quote_identifier(&since.name),
            quote_identifier(&self.version.name),
        );
        let earliest = format!("pg_catalog.min({time}) OVER (later ROWS");
        Ok(format!(
            "CREATE OR REPLACE VIEW {} AS\nSELECT {key},\n    \
             {earliest} UNBOUNDED PRECEDING) AS \"{FROM}\",\n    \
             {earliest} BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS \"{TO}\",\n    \
             pg_catalog.lag({version}) OVER later IS NULL AS \"{IS_CURRENT}\"{}\n\
             FROM {}\nWINDOW later AS (PARTITION BY {} ORDER BY {version} DESC);\n",
            self.name()?,
            others.collect::<String>(),
            mapping.table,
            quote_list(self.of.iter().copied()),
        ))
    }

    fn name(&self) -> Result<Table, HistoryError> {
        let table = &self.mapping.table;
        let name = format!("{}_history", table.name);
        check_identifier("view", &name).map_err(|_| HistoryError::Name(table.to_string()))?;
        Ok(Table {
            name,
            schema: table.schema.clone(),
        })
    }
}

/// Whether a source is different in every message, so that nothing with it in its key has versions.
fn is_of_message(source: &Source) -> bool {
    match source {
        Source::Metadata(metadata) => match metadata {
            Metadata::MessageId | Metadata::SnsMessageId | Metadata::BodySha256 => true,
            Metadata::SentAt
            | Metadata::FirstReceivedAt
            | Metadata::ReceiveCount
            | Metadata::GroupId
            | Metadata::SenderId
            | Metadata::Attribute(_)
            | Metadata::SnsTopicArn
            | Metadata::Body
            | Metadata::MaskKeyId => false,
        },
        Source::Path(_) | Source::Top(_) | Source::Parent(..) | Source::Index(_) => false,
        Source::Element | Source::Rest | Source::Jq(_) => false,
    }
}
