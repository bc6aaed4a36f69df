//! The mistakes that a mapping can have, one sentence each.

use std::ops::Range;

use thiserror::Error;

use super::condition::WORDS;
use super::{OnConflict, OnNull, Source, Unmatched};
use crate::cast::Cast;
use crate::jq::JqProblem;
use crate::mask::{KeyError, Mask};
use crate::message::{Encoding, Envelope, Format};
use crate::steps::Step;
use crate::text::{Word as _, similar};
use crate::time::{FormatMistake, Unit, Zone};
use crate::types::ColumnType;

/// An invalid mapping: the place, the mistake and the fix.
#[non_exhaustive]
#[derive(Debug, Error, PartialEq)]
#[error("{file}: {}{}{problem}", place("table", .table), place("column", .column))]
pub struct PipelineError {
    /// The file as the user named it.
    pub file: String,
    /// The table at fault, if the mapping may have several.
    pub table: Option<Box<str>>,
    /// The column at fault, if it is one.
    pub column: Option<Box<str>>,
    /// What is wrong and how to fix it.
    pub problem: Problem,
}

fn place(what: &str, name: &Option<Box<str>>) -> String {
    let name = name.as_ref();
    name.map(|name| format!("{what} {name:?}: "))
        .unwrap_or_default()
}

/// What to write in place of an unknown type.
fn instead_of_type(name: &str) -> String {
    if let Some(cast) = Cast::meant(name) {
        let cast = toml::Value::from(cast.to_string());
        return format!("write type = \"text\" and cast = {cast}, and Postgres reads its values");
    }
    let meant = ColumnType::meant(name).map(|meant| format!("; did you mean {meant:?}?"));
    format!(
        "use one of {}; or type = \"text\", and cast = \"…\" with the name of any other type of Postgres{}",
        ColumnType::list(),
        meant.unwrap_or_default()
    )
}

/// A mistake in a mapping.
#[non_exhaustive]
#[derive(Debug, Error, PartialEq)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum Problem {
    #[error(
        "no such file: put the mapping there, or name its file with PIPELINE_FILE or --pipeline"
    )]
    NoFile,
    #[error(
        "cannot be read ({0}): make the file readable, or name another with PIPELINE_FILE or --pipeline"
    )]
    Unreadable(String),
    #[error("line {line}: {message}: correct the line")]
    Toml {
        line: usize,
        message: String,
        /// Its bytes.
        span: Range<usize>,
    },
    #[error("{what} {name:?} is not a valid Postgres name: use 1 to 63 bytes without NUL")]
    Identifier { what: &'static str, name: String },
    #[error("table {0:?} has too many parts: write \"table\" or \"schema.table\"")]
    TableParts(String),
    #[error("no table is mapped: add a [[table]]")]
    NoTable,
    #[error("the table is mapped twice: map all of its columns in one [[table]]")]
    DuplicateTable,
    #[error(
        "parent {0:?} is not a table of this mapping: correct it, or add the table above this one"
    )]
    UnknownParent(String),
    #[error("parent {0:?} does not come before it: move this [[table]] below its parent")]
    ParentLater(String),
    #[error("{0} is inherited from the parent: remove it here")]
    DecidedByParent(&'static str),
    #[error(
        "the key must begin with the key of its parent {0}, which is {1}, and add a column that is unique within one parent, for example from \"@index\""
    )]
    ChildKey(String, String),
    #[error(
        "it pairs with key column {1:?} of its parent {0}: give it the same source (from \"^.…\"), type, cast, null_if, transform, unit, format, zone and mask"
    )]
    ChildKeyDiffers(String, String),
    #[error(
        "from {0:?} goes up more levels than the table has parents: remove a \"^.\", or name the parent"
    )]
    NoSuchParent(String),
    #[error(
        "from {0:?} is an element or its position, but the table has no each: add each, or use another column"
    )]
    NoElement(String),
    #[error("delete_when requires on_conflict = \"update\": set it, or remove delete_when")]
    DeleteWithoutUpdate,
    #[error(
        "deleted requires delete_when, which says what deletes a row: set it, or remove deleted"
    )]
    TombstoneWithoutDelete,
    #[error(
        "deleted requires newer, because only that says whether a message is older than the deletion: set it, or remove deleted"
    )]
    TombstoneWithoutNewer,
    #[error(
        "deleted names {0:?}, a column that Postgres has in every table: use another name, such as \"deleted_at\""
    )]
    SystemTombstone(String),
    #[error(
        "deleted names it, but it is mapped: remove the column, or use another name for deleted, whose column the function fills"
    )]
    MappedTombstone,
    #[error(
        "{word} can never be true for {from:?}: compare it with a string, number or boolean that it can have, or a list of them"
    )]
    NeverMatches { word: &'static str, from: String },
    #[error(
        "{word} has an unknown word {name:?} for {from:?}: use one of {known}{meant}",
        known = WORDS.join(", "),
        meant = similar(name, WORDS).map_or_else(
            || format!(", or quote the path: \"{from}.{name}\""),
            |meant| format!("; did you mean {meant:?}?")
        )
    )]
    UnknownWord {
        word: &'static str,
        from: String,
        name: Box<str>,
    },
    #[error(
        "{word} has a table without exactly one word for {from:?}: write one word in each table, and several tables as a list, of which one must hold"
    )]
    NotOneWord { word: &'static str, from: String },
    #[error("{word} has a wrong value for {from:?}: {takes}")]
    WordTakes {
        word: &'static str,
        from: String,
        takes: &'static str,
    },
    #[error("unmatched {0:?} is unknown: use one of {known}", known = Unmatched::list())]
    UnknownUnmatched(String),
    #[error(
        "unmatched = \"skip\" has no effect, because a table without when matches every message: remove it, or add a when"
    )]
    UnmatchedNoEffect,
    #[error("from is an empty list: name at least one source")]
    NoSource,
    #[error(
        "{0} {1:?} is not a path: write only keys, without \"$.\", \"^.\" or metadata, and quote a key that begins with '@'"
    )]
    NotAPath(&'static str, String),
    #[error("except has no effect, because only columns from \"@rest\" use it: remove it")]
    ExceptNoEffect,
    #[error("no column is mapped: add a [[column]]")]
    NoColumn,
    #[error("more than {0} columns, the maximum of a Postgres table: remove some")]
    TooManyColumns(usize),
    #[error("the name is used twice: rename one of the two columns")]
    DuplicateColumn,
    #[error("Postgres has a column of this name in every table: rename it and add from = {0:?}")]
    SystemColumn(String),
    #[error(
        "no key is given: name the columns that make a row unique, for example key = [\"message_id\"]"
    )]
    NoKey,
    #[error("more than {0} columns in the key, the maximum of a Postgres index: remove some")]
    TooManyKeyColumns(usize),
    #[error("the key names {0:?}, which is not a column: add the column or correct the key")]
    UnknownKey(String),
    #[error("the key names it twice: name it once")]
    DuplicateKey,
    #[error(
        "it is part of the key but can be null, and nulls never conflict in Postgres: add required = true"
    )]
    NullableKey,
    #[error(
        "it is part of the key and has a default, so all messages without it would become one row: replace the default with required = true"
    )]
    DefaultKey,
    #[error(
        "it is part of the key but @receive_count grows with every delivery, so a redelivered message would be stored again: remove it from the key"
    )]
    ReceiveCountKey,
    #[error(
        "it is part of the key but Postgres cannot compare values of type {0}: use jsonb or another column"
    )]
    KeyType(ColumnType),
    #[error("newer requires on_conflict = \"update\": set it, or remove newer")]
    NewerWithoutUpdate,
    #[error("newer names {0:?}, which is not a column: add the column or correct newer")]
    UnknownNewer(String),
    #[error(
        "it is used by newer, but it is part of the key, which is the same in all messages of a row: use another column for newer"
    )]
    NewerKey,
    #[error(
        "it is used by newer, but values of type {0} do not show which message is newer: use a column of type date, timestamp, timestamptz or a number"
    )]
    NewerType(String),
    #[error(
        "it is used by newer, but @receive_count grows with every delivery, so an older message would replace a newer one: use a column whose value is in the message"
    )]
    NewerReceiveCount,
    #[error(
        "it stores in plaintext the value that column {0:?} masks: mask it too, map the other parts one by one, or set clear = true on it if this is intended"
    )]
    StoredInClear(String),
    #[error(
        "clear = true has no effect, because the column stores nothing that another column masks: remove it"
    )]
    ClearNoEffect,
    #[error(
        "it is part of the key and, without a mask key, nothing proves that the @message_id or @sent_at of a redriven message is genuine, so anyone who can send to the queue could overwrite the row of another message: set MASK_SECRET_ID or MASK_KEY, use on_conflict = \"ignore\" or another key, or set trust_origin = true if all senders are trusted"
    )]
    UnsignedOrigin,
    #[error(
        "trust_origin = true has no effect: it is for on_conflict = \"update\" with @message_id or @sent_at in the key and no column masked with a key, because a mask key signs both: remove it"
    )]
    TrustNoEffect,
    #[error(
        "@mask_key_id is the same for every row, because no column is masked with a key: remove the column"
    )]
    KeyIdNoEffect,
    #[error("on_conflict {0:?} is unknown: use one of {known}", known = OnConflict::list())]
    UnknownOnConflict(String),
    #[error("envelope {0:?} is unknown: use one of {known}", known = Envelope::list())]
    UnknownEnvelope(String),
    #[error(
        "encoding {0:?} is unknown: use one of {known}, or \"@attribute.NAME\" for the attribute that names it",
        known = Encoding::list()
    )]
    UnknownEncoding(String),
    #[error(
        "s3_pointers names {0:?}, which S3 does not allow as the name of a bucket: write the names of buckets, not ARNs or URLs"
    )]
    BucketName(String),
    #[error("s3_pointers = [] has no effect: name the buckets, or remove it")]
    NoBucket,
    #[error("body {0:?} is unknown: use one of {known}", known = Format::list())]
    UnknownFormat(String),
    #[error(
        "each = \"@body\" reads the body as an array, so it cannot be combined with parent or root: name the array by its path"
    )]
    BodyWithin,
    #[error("jq: {0}")]
    Jq(#[from] JqProblem),
    #[error("jq and from exclude each other: read the value in the program")]
    JqAndFrom,
    #[error(
        "body = \"lines\" makes an array of the body, which no table reads: set each = \"@body\" in one"
    )]
    LinesWithoutEach,
    #[error("type {0:?} is unknown: {instead}", instead = instead_of_type(.0))]
    UnknownType(String),
    #[error(
        "cast {0:?} is not the name of a type: write it as Postgres does, such as \"interval\", \"vector(3)\" or \"shop.mood[]\""
    )]
    Cast(String),
    #[error(
        "cast {0:?} is not needed, because the mapping has this type: write type = \"{1}\" without cast, so that values are checked before Postgres sees them"
    )]
    NativeCast(String, ColumnType),
    #[error("cast is for values that go to Postgres as text: set type = \"text\" in place of {0}")]
    CastOn(ColumnType),
    #[error(
        "mask makes tokens, and Postgres would read them as {0}: remove cast, or mask another column"
    )]
    CastOfToken(String),
    #[error(
        "from {0:?} has an empty step: write the keys with one dot between them, for example \"client.ip\""
    )]
    EmptyStep(String),
    #[error(
        "from {0:?} has '$' or '^' as a step: \"$.\" and \"^.\" can only begin a path; use \"@body\" for the whole body, and quote a key with this name"
    )]
    PlainMark(String),
    #[error(
        "from {0:?} has a quoted step that does not end before a dot or the end: close it, and write a quote within quotes twice"
    )]
    Quotes(String),
    #[error(
        "from {from:?} can never have a value: column {outer:?} ({column_type}) rejects objects and arrays; map one of the two, or {outer:?} as jsonb"
    )]
    Unreachable {
        from: String,
        outer: String,
        column_type: ColumnType,
    },
    #[error(
        "{0:?} names an attribute that SQS does not allow, so no message has it: use letters, digits, '_', '-', and single dots between them"
    )]
    AttributeName(String),
    #[error("from {0:?} is unknown metadata: use one of {known}", known = Source::list_of_metadata())]
    UnknownMetadata(String),
    #[error("from {metadata:?} does not fit type {column_type}: use {possible}")]
    MetadataType {
        metadata: String,
        column_type: ColumnType,
        possible: &'static str,
    },
    #[error("from {0:?} exists only in the envelope {1}: set envelope = \"{1}\"")]
    NeedsEnvelope(String, Envelope),
    #[error("null_if is an empty list: name the values that mean missing, or remove it")]
    NoNullIf,
    #[error("null_if takes strings, numbers and booleans: remove the others")]
    NullIfValue,
    #[error("null_if names a value that its source can never have: remove it")]
    NullIfNoEffect,
    #[error("on_null {0:?} is unknown: use one of {known}", known = OnNull::list())]
    UnknownOnNull(String),
    #[error("on_null = \"keep\" requires on_conflict = \"update\": set it, or remove on_null")]
    KeepWithoutUpdate,
    #[error(
        "on_null = \"keep\" is for tables without a parent, because rows of a child table are replaced as a whole: remove it"
    )]
    KeepInChild,
    #[error(
        "on_null = \"keep\" has no effect on the column of newer, in which null counts as the oldest: remove it"
    )]
    KeepNewer,
    #[error(
        "on_null = \"keep\" has no effect, because the column is never null: remove it, or remove required or default"
    )]
    KeepNoEffect,
    #[error("required and default exclude each other: keep one")]
    RequiredAndDefault,
    #[error("the default does not fit ({0}): set one that a message could contain")]
    Default(String),
    #[error("transform {0:?} is unknown: use one of {known}", known = Step::list())]
    UnknownTransform(String),
    #[error("transform {0:?} applies to strings, and {1} is not a string type: remove it")]
    TransformOn(String, String),
    #[error(
        "the result of transform {0} does not fit a column of type {1}: change the type, or remove the transform"
    )]
    TransformType(Step, ColumnType),
    #[error("{0} is for times, and a column of type {1} has none: remove it, or change the type")]
    SpellingType(&'static str, ColumnType),
    #[error("{0} applies to values of the message, and {1} needs none: remove it")]
    SpellingOn(&'static str, String),
    #[error("unit {0:?} is unknown: use one of {known}", known = Unit::list())]
    UnknownUnit(String),
    #[error("unit = \"days\" does not fit type time: use s, ms, us or ns, or type date")]
    DaysOfTime,
    #[error("unit and format exclude each other: keep unit for numbers, or format for texts")]
    UnitAndFormat,
    #[error("zone has no effect beside unit, which counts from 1970 in UTC: remove it")]
    UnitAndZone,
    #[error(
        "zone turns local times into instants, which type {0} does not have: remove it, or use timestamptz"
    )]
    ZoneType(ColumnType),
    #[error(
        "zone {0:?} is unknown: use a name of the IANA time zone database, such as \"Europe/Zurich\" or \"UTC\"{meant}",
        meant = Zone::meant(.0).map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default()
    )]
    UnknownZone(String),
    #[error("format {0:?} {1}")]
    Format(String, FormatMistake),
    #[error(
        "transform json reads the JSON that was sent, so it is the last one, and only trim and strip_nul can come before it: remove {0}, or move json to the end"
    )]
    BesideJson(Step),
    #[error("mask {0:?} is unknown: use one of {known}", known = Mask::list())]
    UnknownMask(String),
    #[error(
        "base64 is not a mask, because anyone can decode it: use hmac-sha256, or aes-siv if the value must be recoverable"
    )]
    Base64Mask,
    #[error(
        "tokens are text, which does not fit type {0}: change the type to text or varchar(n), or to text[] for an array of texts"
    )]
    MaskType(ColumnType),
    #[error(
        "tokens of mask {mask} have at least {needed} characters and {column_type} is too narrow: widen the column"
    )]
    MaskWidth {
        mask: Mask,
        needed: usize,
        column_type: ColumnType,
    },
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[derive(Debug)]
pub(crate) struct Mistake {
    table: Option<Box<str>>,
    column: Option<Box<str>>,
    problem: Problem,
}

impl Problem {
    pub(crate) fn of(self, column: &str) -> Mistake {
        Mistake {
            table: None,
            column: Some(column.into()),
            problem: self,
        }
    }

    /// The mistake in the file of this name.
    pub fn in_file(self, file: &str) -> PipelineError {
        Mistake::from(self).in_file(file)
    }
}

impl From<Problem> for Mistake {
    fn from(problem: Problem) -> Self {
        Self {
            table: None,
            column: None,
            problem,
        }
    }
}

impl Mistake {
    /// Says in which table it is, where there may be several.
    pub(crate) fn of_table(mut self, name: &str, names_tables: bool) -> Self {
        self.table = names_tables.then(|| name.into());
        self
    }

    pub(crate) fn in_file(self, file: &str) -> PipelineError {
        PipelineError {
            file: file.to_owned(),
            table: self.table,
            column: self.column,
            problem: self.problem,
        }
    }
}
