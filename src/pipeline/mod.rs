//! The mapping: what `pipeline.toml` says, checked once at start.
//!
//! Takes the text of the file, gives a [`Pipeline`] in which every column has a known type, a
//! source that exists and nothing that cannot work, or one sentence that names the file, the
//! column and the mend. What needs a key or a value (`mask` without a key, a `default` that does
//! not fit its type) is checked when the mapping is compiled, by
//! [`Transformer::new`](crate::transform::Transformer::new).

mod clear;
mod column_type;
mod newer;
mod origin;
mod path;

use std::fmt;

use serde::Deserialize;
use thiserror::Error;

use crate::quote::quote_identifier;

pub use column_type::ColumnType;
pub use path::Path;

use column_type::KNOWN_TYPES;

/// The longest identifier that Postgres keeps, in bytes; it cuts off the rest without a word.
/// Source: <https://www.postgresql.org/docs/18/sql-syntax-lexical.html> (NAMEDATALEN − 1).
const MAX_IDENTIFIER_BYTES: usize = 63;

/// The most columns a Postgres table can have.
/// Source: <https://www.postgresql.org/docs/18/limits.html>.
const MAX_COLUMNS: usize = 1600;

/// A checked mapping from messages to the rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Where the rows go.
    pub table: Table,
    /// The columns in the order of the file.
    pub columns: Vec<Column>,
    /// Positions in `columns` of those that make a row unique.
    pub key: Vec<usize>,
    /// What happens to a row whose key is in the table already.
    pub on_conflict: OnConflict,
    /// Position in `columns` of the one that says which of two rows of a key is newer: a row is replaced
    /// only by one that is as new or newer.
    pub newer: Option<usize>,
    /// What the message body is wrapped in.
    pub envelope: Envelope,
    /// What the mapping says of [`trusts_origin`](Self::trusts_origin).
    pub trust_origin: bool,
}

/// The name of a table, with its schema where one is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `None`: found by the `search_path` of the connection.
    pub schema: Option<String>,
    /// The table's own name.
    pub name: String,
}

/// The quoted name: `"schema"."table"`.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quote_identifier(schema))?;
        }
        f.write_str(&quote_identifier(&self.name))
    }
}

/// One column: where its value comes from and what becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The column's name in the table.
    pub name: String,
    /// Its Postgres type.
    pub column_type: ColumnType,
    /// Where the value comes from.
    pub source: Source,
    /// Whether a null, missing or empty value rejects the message.
    pub required: bool,
    /// What stands in for a null or missing value, as JSON text.
    pub default: Option<String>,
    /// What is done to the string, in order.
    pub transforms: Vec<Transform>,
    /// How the value is hidden, as the last step.
    pub mask: Option<Mask>,
    /// Whether it is meant that it stores in clear what another column masks.
    pub clear: bool,
}

impl Column {
    /// Whether no row can hold a null here.
    pub fn is_never_null(&self) -> bool {
        self.required || self.default.is_some() || self.source.is_always_present()
    }
}

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path into the JSON body.
    Path(Path),
    /// What SQS or SNS say about the message.
    Metadata(Metadata),
}

impl Source {
    fn is_always_present(&self) -> bool {
        match self {
            Self::Path(_)
            | Self::Metadata(Metadata::Attribute(_) | Metadata::GroupId | Metadata::SenderId) => {
                false
            }
            Self::Metadata(_) => true,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Metadata(metadata) => metadata.fmt(f),
        }
    }
}

/// What is known of a message besides its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metadata {
    /// `@message_id`: the id the message first had.
    MessageId,
    /// `@sent_at`: when SQS received it.
    SentAt,
    /// `@first_received_at`: when it was first handed to a consumer.
    FirstReceivedAt,
    /// `@receive_count`: how often it was handed out, this time included.
    ReceiveCount,
    /// `@group_id`: its message group.
    GroupId,
    /// `@sender_id`: who sent it, as IAM knows them.
    SenderId,
    /// `@attribute.NAME`: a message attribute.
    Attribute(String),
    /// `@sns.message_id`.
    SnsMessageId,
    /// `@sns.topic_arn`.
    SnsTopicArn,
    /// `@body`: the whole body.
    Body,
    /// `@body_sha256`: lower-case hex of the body's SHA-256.
    BodySha256,
}

const KNOWN_METADATA: &str = "@message_id, @sent_at, @first_received_at, @receive_count, @group_id, \
    @sender_id, @attribute.NAME, @sns.message_id, @sns.topic_arn, @body, @body_sha256";

impl Metadata {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "@message_id" => Self::MessageId,
            "@sent_at" => Self::SentAt,
            "@first_received_at" => Self::FirstReceivedAt,
            "@receive_count" => Self::ReceiveCount,
            "@group_id" => Self::GroupId,
            "@sender_id" => Self::SenderId,
            "@sns.message_id" => Self::SnsMessageId,
            "@sns.topic_arn" => Self::SnsTopicArn,
            "@body" => Self::Body,
            "@body_sha256" => Self::BodySha256,
            other => Self::Attribute(
                other
                    .strip_prefix("@attribute.")
                    .filter(|name| !name.is_empty())?
                    .to_owned(),
            ),
        })
    }

    /// The types that its values can have; `None` where it depends on the message.
    fn possible_types(&self) -> Option<&'static str> {
        match self {
            Self::SentAt | Self::FirstReceivedAt => {
                Some("timestamptz, date or bigint (milliseconds)")
            }
            Self::ReceiveCount => Some("smallint, integer, bigint or numeric"),
            Self::MessageId | Self::SnsMessageId => Some("uuid, text or varchar(n)"),
            Self::Body => Some("jsonb, text or varchar(n)"),
            Self::SenderId | Self::SnsTopicArn => Some("text or varchar(n)"),
            Self::BodySha256 => Some("text or varchar(64)"),
            Self::GroupId | Self::Attribute(_) => None,
        }
    }

    fn fits(&self, column_type: ColumnType) -> bool {
        use ColumnType as T;
        match self {
            Self::SentAt | Self::FirstReceivedAt => {
                matches!(column_type, T::TimestampTz | T::Date | T::BigInt)
            }
            Self::ReceiveCount => matches!(
                column_type,
                T::SmallInt | T::Integer | T::BigInt | T::Numeric
            ),
            Self::MessageId | Self::SnsMessageId => column_type.is_text() || column_type == T::Uuid,
            Self::Body => column_type.is_text() || column_type == T::Jsonb,
            Self::BodySha256 => {
                column_type.is_text() && column_type.max_chars().is_none_or(|chars| chars >= 64)
            }
            Self::SenderId | Self::SnsTopicArn => column_type.is_text(),
            Self::GroupId | Self::Attribute(_) => true,
        }
    }

    /// Whether its values are strings, on which transforms can work.
    fn is_text(&self) -> bool {
        !matches!(
            self,
            Self::SentAt | Self::FirstReceivedAt | Self::ReceiveCount
        )
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MessageId => "@message_id",
            Self::SentAt => "@sent_at",
            Self::FirstReceivedAt => "@first_received_at",
            Self::ReceiveCount => "@receive_count",
            Self::GroupId => "@group_id",
            Self::SenderId => "@sender_id",
            Self::Attribute(name) => return write!(f, "@attribute.{name}"),
            Self::SnsMessageId => "@sns.message_id",
            Self::SnsTopicArn => "@sns.topic_arn",
            Self::Body => "@body",
            Self::BodySha256 => "@body_sha256",
        })
    }
}

/// A step that cleans a string before it is masked or converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// Takes white space off both ends.
    Trim,
    /// Unicode lower case.
    Lowercase,
    /// Unicode upper case.
    Uppercase,
    /// An IP address in its one canonical spelling.
    Ip,
    /// Takes out what Postgres cannot store: U+0000 and lone surrogates.
    StripNul,
    /// First number of a version.
    Major,
    /// Second number of a version; null where there is none.
    Minor,
    /// Third number of a version; null where there is none.
    Patch,
}

const KNOWN_TRANSFORMS: &str = "trim, lowercase, uppercase, ip, strip_nul, major, minor, patch";

impl Transform {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "trim" => Self::Trim,
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            "ip" => Self::Ip,
            "strip_nul" => Self::StripNul,
            "major" => Self::Major,
            "minor" => Self::Minor,
            "patch" => Self::Patch,
            _ => return None,
        })
    }

    /// Whether what it gives can be a value of the type.
    fn fits(self, column_type: ColumnType) -> bool {
        use ColumnType as T;
        match self {
            Self::StripNul => true,
            Self::Trim | Self::Lowercase | Self::Uppercase => column_type != T::Jsonb,
            Self::Ip => column_type.is_text() || column_type == T::Inet,
            Self::Major | Self::Minor | Self::Patch => {
                column_type.is_text() || column_type.is_number()
            }
        }
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trim => "trim",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
            Self::Ip => "ip",
            Self::StripNul => "strip_nul",
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Patch => "patch",
        })
    }
}

/// A way to hide a value so that equal values still give equal tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// SHA-256, lower-case hex.
    Sha256,
    /// SHA-512, lower-case hex.
    Sha512,
    /// HMAC-SHA-256 with the mask key, lower-case hex.
    HmacSha256,
    /// AES-256-SIV with the mask key, base64url without padding; the key gives the value back.
    AesSiv,
}

const KNOWN_MASKS: &str = "sha256, sha512, hmac-sha256, aes-siv";

impl Mask {
    fn parse(name: &str) -> Result<Self, Problem> {
        Ok(match name {
            "sha256" => Self::Sha256,
            "sha512" => Self::Sha512,
            "hmac-sha256" => Self::HmacSha256,
            "aes-siv" => Self::AesSiv,
            "base64" => return Err(Problem::Base64Mask),
            other => return Err(Problem::UnknownMask(other.to_owned())),
        })
    }

    /// Whether its tokens are made with the mask key.
    pub(crate) fn needs_key(self) -> bool {
        matches!(self, Self::HmacSha256 | Self::AesSiv)
    }

    /// The length of its shortest token, in characters: of any value for the hashes, of a value of
    /// one byte for aes-siv, whose tokens grow with the value.
    pub(crate) fn min_token_chars(self) -> usize {
        match self {
            Self::Sha256 | Self::HmacSha256 => 64,
            Self::Sha512 => 128,
            Self::AesSiv => 23,
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::HmacSha256 => "hmac-sha256",
            Self::AesSiv => "aes-siv",
        })
    }
}

/// What happens to a row whose key is in the table already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The row in the table stays.
    Ignore,
    /// The new row takes its place, unless the mapping says by `newer` that it is older.
    Update,
}

/// What the message body is wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// Nothing: the SQS body is the message.
    None,
    /// An SNS notification, whose `Message` is the message.
    Sns,
}

/// A mapping that cannot work: where, and what to do.
#[derive(Debug, Error, PartialEq)]
#[error("{file}: {}{problem}", .column.as_ref().map(|name| format!("column {name:?}: ")).unwrap_or_default())]
pub struct PipelineError {
    /// The file as the user named it.
    pub file: String,
    /// The column at fault, where it is one.
    pub column: Option<String>,
    /// What is wrong and how to mend it.
    pub problem: Problem,
}

/// What can be wrong with a mapping, one sentence each.
#[derive(Debug, Error, PartialEq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum Problem {
    #[error("cannot be read ({0}): set PIPELINE_FILE to the path of a readable file")]
    Unreadable(String),
    #[error("line {line}: {message}: correct the line")]
    Toml { line: usize, message: String },
    #[error("{what} {name:?} is not a name that Postgres keeps: use 1 to 63 bytes without NUL")]
    Identifier { what: &'static str, name: String },
    #[error("table {0:?} has too many parts: write \"table\" or \"schema.table\"")]
    TableParts(String),
    #[error("no column is mapped: add a [[column]]")]
    NoColumn,
    #[error(
        "more than {MAX_COLUMNS} columns are mapped, and no Postgres table can have so many: leave some out"
    )]
    TooManyColumns,
    #[error("the name is used twice: rename one of the two columns")]
    DuplicateColumn,
    #[error(
        "no key is given: name the columns that make a row unique, for example key = [\"message_id\"]"
    )]
    NoKey,
    #[error("the key names {0:?}, which is no column: add the column or correct the key")]
    UnknownKey(String),
    #[error("the key names it twice: name it once")]
    DuplicateKey,
    #[error(
        "it is part of the key but may be null, and Postgres takes nulls for different: add required = true"
    )]
    NullableKey,
    #[error(
        "it is part of the key and has a default, so that all messages without it would become one row: replace the default by required = true"
    )]
    DefaultKey,
    #[error(
        "it is part of the key but @receive_count grows with every delivery, so that a redelivered message would be stored again: take it out of the key"
    )]
    ReceiveCountKey,
    #[error("newer needs rows that can be replaced: set on_conflict = \"update\", or remove newer")]
    NewerWithoutUpdate,
    #[error("newer names {0:?}, which is not a column: add the column or correct newer")]
    UnknownNewer(String),
    #[error(
        "newer names it, but it is part of the key, which is equal in all messages of a row: name another column"
    )]
    NewerKey,
    #[error(
        "newer names it, but values of type {0} do not say which is newer: name a column of type date, timestamptz or a number, not of type {0}"
    )]
    NewerType(ColumnType),
    #[error(
        "newer names it, but @receive_count grows with every delivery, so that an older message would replace a newer one: name a column that the message itself sets"
    )]
    NewerReceiveCount,
    #[error(
        "it stores in clear what column {0:?} masks: mask it too, map its other parts one by one, or set clear = true on it if this is meant"
    )]
    StoredInClear(String),
    #[error(
        "clear = true has no effect, because the column stores nothing in clear that another one masks: remove it"
    )]
    ClearInVain,
    #[error(
        "it is part of the key and, without a mask key, nobody can tell whether the @message_id that a redrive sends along is genuine, so that everybody who may send to the queue could overwrite any row: set MASK_SECRET_ID or MASK_KEY, use on_conflict = \"ignore\" or another key, or set trust_origin = true if all of them are trusted"
    )]
    UnsignedOrigin,
    #[error(
        "trust_origin = true has no effect: it is for on_conflict = \"update\" with @message_id in the key and no column masked with a key, because a mask key signs the id: remove it"
    )]
    TrustInVain,
    #[error("on_conflict {0:?} is unknown: use \"ignore\" or \"update\"")]
    UnknownOnConflict(String),
    #[error("envelope {0:?} is unknown: use \"none\" or \"sns\"")]
    UnknownEnvelope(String),
    #[error("type {0:?} is unknown: use one of {KNOWN_TYPES}")]
    UnknownType(String),
    #[error(
        "from {0:?} has an empty step: write the keys with one dot between them, for example \"client.ip\""
    )]
    EmptyStep(String),
    #[error(
        "from {0:?} has a quoted step that does not end before a dot or the end: close it, and write a quote within quotes twice"
    )]
    Quotes(String),
    #[error("from {0:?} is unknown metadata: use one of {KNOWN_METADATA}")]
    UnknownMetadata(String),
    #[error("from {metadata:?} does not fit type {column_type}: use {possible}")]
    MetadataType {
        metadata: String,
        column_type: ColumnType,
        possible: &'static str,
    },
    #[error("from {0:?} needs an SNS envelope: set envelope = \"sns\"")]
    NeedsSns(String),
    #[error("required and default exclude each other: keep one")]
    RequiredAndDefault,
    #[error("the default does not fit ({0}): give one that a message could hold")]
    Default(String),
    #[error("transform {0:?} is unknown: use one of {KNOWN_TRANSFORMS}")]
    UnknownTransform(String),
    #[error("transform {0:?} works on strings, which {1} is not: take it out")]
    TransformOn(String, String),
    #[error(
        "transform {0} gives nothing that a column of type {1} can hold: change the type, or take it out"
    )]
    TransformType(Transform, ColumnType),
    #[error("mask {0:?} is unknown: use one of {KNOWN_MASKS}")]
    UnknownMask(String),
    #[error(
        "base64 is no mask, because anyone can read it back: use hmac-sha256, or aes-siv where the value must come back"
    )]
    Base64Mask,
    #[error(
        "a mask gives text, which a column of type {0} cannot hold: make it text or varchar(n)"
    )]
    MaskType(ColumnType),
    #[error(
        "mask {mask} gives tokens of at least {needed} characters and {column_type} is too narrow: widen the column"
    )]
    MaskWidth {
        mask: Mask,
        needed: usize,
        column_type: ColumnType,
    },
    #[error("mask {0} needs a key and none is set: set MASK_SECRET_ID or MASK_KEY")]
    MaskKeyMissing(Mask),
    #[error(
        "mask {mask} needs a key of {needed} bytes and the one that is set has {actual}: set another one in MASK_SECRET_ID or MASK_KEY"
    )]
    MaskKeyLength {
        mask: Mask,
        needed: &'static str,
        actual: usize,
    },
}

impl Problem {
    fn of(self, column: &str) -> (Option<String>, Self) {
        (Some(column.to_owned()), self)
    }
}

impl From<Problem> for (Option<String>, Problem) {
    fn from(problem: Problem) -> Self {
        (None, problem)
    }
}

type Checked<T> = Result<T, (Option<String>, Problem)>;

impl Pipeline {
    /// The names of the key's columns.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key
            .iter()
            .map(|&position| self.columns[position].name.as_str())
    }

    /// Reads and checks a mapping; `file` is how errors call it.
    ///
    /// ```
    /// # use sqs_to_postgres::pipeline::Pipeline;
    /// let pipeline = Pipeline::parse("pipeline.toml", r#"
    ///     table = "events"
    ///     key = ["id"]
    ///     [[column]]
    ///     name = "id"
    ///     type = "uuid"
    ///     from = "@message_id"
    /// "#)?;
    /// assert_eq!(pipeline.columns.len(), 1);
    /// # Ok::<(), sqs_to_postgres::pipeline::PipelineError>(())
    /// ```
    ///
    /// # Errors
    /// The first mistake found, as one sentence that says where it is and how to mend it.
    pub fn parse(file: &str, text: &str) -> Result<Self, PipelineError> {
        read(text)
            .and_then(RawPipeline::check)
            .map_err(|(column, problem)| PipelineError {
                file: file.to_owned(),
                column,
                problem,
            })
    }
}

fn read(text: &str) -> Checked<RawPipeline> {
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
    fn check(self) -> Checked<Pipeline> {
        let table = parse_table(&self.table)?;
        let on_conflict = parse_on_conflict(self.on_conflict.as_deref())?;
        let envelope = parse_envelope(self.envelope.as_deref())?;
        let columns = check_columns(self.column, envelope)?;
        let key = check_key(&self.key, &columns)?;
        let newer = newer::check(self.newer.as_deref(), on_conflict, &columns, &key)?;
        clear::check(&columns)?;
        origin::check(self.trust_origin, on_conflict, &columns, &key)?;
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

fn parse_on_conflict(name: Option<&str>) -> Result<OnConflict, Problem> {
    match name {
        None | Some("ignore") => Ok(OnConflict::Ignore),
        Some("update") => Ok(OnConflict::Update),
        Some(other) => Err(Problem::UnknownOnConflict(other.to_owned())),
    }
}

fn parse_envelope(name: Option<&str>) -> Result<Envelope, Problem> {
    match name {
        None | Some("none") => Ok(Envelope::None),
        Some("sns") => Ok(Envelope::Sns),
        Some(other) => Err(Problem::UnknownEnvelope(other.to_owned())),
    }
}

fn check_columns(raw: Vec<RawColumn>, envelope: Envelope) -> Checked<Vec<Column>> {
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
            .map(|name| check_transform(name, column_type, &source))
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
    let from_sns = matches!(metadata, Metadata::SnsMessageId | Metadata::SnsTopicArn);
    if from_sns && envelope != Envelope::Sns {
        return Err(Problem::NeedsSns(metadata.to_string()));
    }
    match metadata.possible_types() {
        Some(possible) if !metadata.fits(column_type) => Err(Problem::MetadataType {
            metadata: metadata.to_string(),
            column_type,
            possible,
        }),
        _ => Ok(()),
    }
}

fn check_transform(
    name: &str,
    column_type: ColumnType,
    source: &Source,
) -> Result<Transform, Problem> {
    let transform =
        Transform::parse(name).ok_or_else(|| Problem::UnknownTransform(name.to_owned()))?;
    if !transform.fits(column_type) {
        return Err(Problem::TransformType(transform, column_type));
    }
    match source {
        Source::Metadata(metadata) if !metadata.is_text() => {
            Err(Problem::TransformOn(name.to_owned(), metadata.to_string()))
        }
        _ => Ok(transform),
    }
}

fn check_mask(name: &str, column_type: ColumnType) -> Result<Mask, Problem> {
    let mask = Mask::parse(name)?;
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

/// A default as the JSON text that a message would have held, so that it takes the same way.
fn default_as_json(default: toml::Value) -> Result<String, Problem> {
    serde_json::to_string(&dates_as_text(default))
        .map_err(|_| Problem::Default("it has no JSON form".to_owned()))
}

/// TOML has dates of its own, which JSON writes as strings.
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

fn check_key(names: &[String], columns: &[Column]) -> Checked<Vec<usize>> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../pipeline.toml");

    /// A mapping with a good key column, in which `head` and `columns` are put.
    fn mapping(head: &str, columns: &str) -> String {
        let head = if head.is_empty() {
            "key = [\"id\"]"
        } else {
            head
        };
        let table = if head.contains("table =") {
            ""
        } else {
            "table = \"t\"\n"
        };
        format!(
            "{table}{head}\n[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n{columns}"
        )
    }

    fn column(lines: &str) -> String {
        mapping("", &format!("[[column]]\nname = \"c\"\n{lines}"))
    }

    fn refusal(text: &str) -> String {
        Pipeline::parse("pipeline.toml", text)
            .expect_err(text)
            .to_string()
    }

    #[test]
    fn the_shipped_mapping_is_user_logins() {
        let pipeline = Pipeline::parse("pipeline.toml", SHIPPED).unwrap();
        assert_eq!(
            pipeline.table,
            Table {
                schema: None,
                name: "user_logins".to_owned()
            }
        );
        assert_eq!(pipeline.key, [0]);
        let masked: Vec<_> = pipeline
            .columns
            .iter()
            .filter(|column| column.mask.is_some())
            .map(|column| column.name.as_str())
            .collect();
        assert_eq!(masked, ["masked_ip", "masked_device_id"]);
    }

    #[test]
    fn a_path_defaults_to_the_name_and_dots_go_into_nested_values() {
        let text = mapping(
            "",
            "[[column]]\nname = \"a\"\ntype = \"text\"\n[[column]]\nname = \"b\"\ntype = \"text\"\nfrom = \"client.tags.0\"\n",
        );
        let pipeline = Pipeline::parse("p", &text).unwrap();
        assert_eq!(pipeline.columns[1].source.to_string(), "a");
        assert_eq!(
            pipeline.columns[2].source,
            Source::Path(Path(vec!["client".into(), "tags".into(), "0".into()]))
        );
    }

    #[test]
    fn all_metadata_is_read_as_it_is_written() {
        for name in KNOWN_METADATA.split(", ") {
            assert_eq!(Metadata::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn all_transforms_and_masks_are_read_as_they_are_written() {
        for name in KNOWN_TRANSFORMS.split(", ") {
            assert_eq!(Transform::parse(name).unwrap().to_string(), name);
        }
        for name in KNOWN_MASKS.split(", ") {
            assert_eq!(Mask::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_default_is_the_json_that_a_message_would_hold() {
        let text = column("type = \"jsonb\"\ndefault = {since = 2024-01-01, tags = [1, \"a\"]}");
        let pipeline = Pipeline::parse("p", &text).unwrap();
        assert_eq!(
            pipeline.columns[1].default.as_deref(),
            Some(r#"{"since":"2024-01-01","tags":[1,"a"]}"#)
        );
    }

    #[test]
    fn a_schema_may_stand_before_the_table() {
        let pipeline =
            Pipeline::parse("p", &mapping("table = \"a.b\"\nkey = [\"id\"]", "")).unwrap();
        assert_eq!(
            pipeline.table,
            Table {
                schema: Some("a".into()),
                name: "b".into()
            }
        );
    }

    #[test]
    fn every_impossible_mapping_is_refused_with_where_and_what_to_do() {
        let long = "x".repeat(64);
        let cases = [
            ("table = \"t", "line 1", "correct the line"),
            (
                &mapping("colour = 1", ""),
                "unknown field",
                "correct the line",
            ),
            (
                &column("type = \"text\"\ncolor = 1"),
                "unknown field",
                "correct the line",
            ),
            (
                &mapping("table = \"a.b.c\"\nkey = [\"id\"]", ""),
                "too many parts",
                "schema.table",
            ),
            (
                &mapping("table = \"\"\nkey = [\"id\"]", ""),
                "table \"\"",
                "1 to 63 bytes",
            ),
            (
                &mapping(&format!("table = \"{long}\"\nkey = [\"id\"]"), ""),
                "table \"xxx",
                "1 to 63 bytes",
            ),
            (
                "table = \"t\"\nkey = [\"id\"]",
                "no column is mapped",
                "[[column]]",
            ),
            (&mapping("key = []", ""), "no key", "message_id"),
            (&mapping("key = [\"nope\"]", ""), "nope", "add the column"),
            (
                &mapping("key = [\"id\", \"id\"]", ""),
                "column \"id\"",
                "once",
            ),
            (
                &mapping("key = [\"c\"]", "[[column]]\nname = \"c\"\ntype = \"text\""),
                "may be null",
                "required = true",
            ),
            (
                &mapping(
                    "key = [\"c\"]",
                    "[[column]]\nname = \"c\"\ntype = \"integer\"\nfrom = \"@receive_count\"",
                ),
                "every delivery",
                "out of the key",
            ),
            (
                &mapping(
                    "key = [\"c\"]",
                    "[[column]]\nname = \"c\"\ntype = \"integer\"\ndefault = 0",
                ),
                "would become one row",
                "required = true",
            ),
            (
                &mapping("key = [\"id\"]\nnewer = \"id\"", ""),
                "newer needs rows that can be replaced",
                "on_conflict = \"update\"",
            ),
            (
                &mapping("key = [\"id\"]\ntrust_origin = true", ""),
                "has no effect",
                "remove it",
            ),
            (
                &column("type = \"text\"\nclear = true"),
                "has no effect",
                "remove it",
            ),
            (
                &column(
                    "type = \"text\"\n[[column]]\nname = \"d\"\ntype = \"text\"\nfrom = \"c\"\nmask = \"sha256\"",
                ),
                "stores in clear what column \"d\" masks",
                "clear = true",
            ),
            (
                &column("type = \"text\"\nfrom = '\"a.b'"),
                "quoted step",
                "close it",
            ),
            (
                &mapping("", "[[column]]\nname = \"id\"\ntype = \"text\""),
                "column \"id\"",
                "rename",
            ),
            (
                &mapping("key = [\"id\"]\non_conflict = \"replace\"", ""),
                "replace",
                "\"update\"",
            ),
            (
                &mapping("key = [\"id\"]\nenvelope = \"kafka\"", ""),
                "kafka",
                "\"sns\"",
            ),
            (
                &column("type = \"int\""),
                "column \"c\": type \"int\"",
                "bigint",
            ),
            (&column("type = \"varchar(0)\""), "varchar(0)", "varchar(n)"),
            (
                &column("type = \"text\"\nfrom = \"a..b\""),
                "empty step",
                "one dot",
            ),
            (
                &column("type = \"text\"\nfrom = \"@now\""),
                "@now",
                "@sent_at",
            ),
            (
                &column("type = \"text\"\nfrom = \"@attribute.\""),
                "unknown metadata",
                "@attribute.NAME",
            ),
            (
                &column("type = \"uuid\"\nfrom = \"@sent_at\""),
                "does not fit type uuid",
                "timestamptz",
            ),
            (
                &column("type = \"varchar(63)\"\nfrom = \"@body_sha256\""),
                "does not fit",
                "varchar(64)",
            ),
            (
                &column("type = \"text\"\nfrom = \"@sns.topic_arn\""),
                "SNS envelope",
                "envelope = \"sns\"",
            ),
            (
                &column("type = \"text\"\nrequired = true\ndefault = \"x\""),
                "exclude each other",
                "keep one",
            ),
            (
                &column("type = \"text\"\ntransform = [\"rot13\"]"),
                "rot13",
                "lowercase",
            ),
            (
                &column("type = \"jsonb\"\ntransform = [\"trim\"]"),
                "jsonb",
                "take it out",
            ),
            (
                &column("type = \"integer\"\ntransform = [\"ip\"]"),
                "type integer",
                "change the type",
            ),
            (
                &column("type = \"uuid\"\ntransform = [\"major\"]"),
                "type uuid",
                "change the type",
            ),
            (
                &column("type = \"date\"\nfrom = \"@sent_at\"\ntransform = [\"trim\"]"),
                "@sent_at",
                "take it out",
            ),
            (&column("type = \"text\"\nmask = \"md5\""), "md5", "aes-siv"),
            (
                &column("type = \"text\"\nmask = \"base64\""),
                "base64 is no mask",
                "hmac-sha256",
            ),
            (
                &column("type = \"integer\"\nmask = \"sha256\""),
                "type integer",
                "varchar(n)",
            ),
            (
                &column("type = \"varchar(63)\"\nmask = \"sha256\""),
                "64 characters",
                "widen",
            ),
            (
                &column("type = \"varchar(127)\"\nmask = \"sha512\""),
                "128 characters",
                "widen",
            ),
            (
                &column("type = \"varchar(22)\"\nmask = \"aes-siv\""),
                "23 characters",
                "widen",
            ),
        ];
        for (text, wrong, mend) in cases {
            let sentence = refusal(text);
            assert!(sentence.starts_with("pipeline.toml: "), "{sentence}");
            assert!(
                sentence.contains(wrong) && sentence.contains(mend),
                "{sentence}"
            );
            assert!(!sentence.contains('\n'), "{sentence}");
        }
    }
}
