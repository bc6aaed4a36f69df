//! A JSON message and a declarative mapping, `pipeline.toml`, → rows in Postgres's binary format, or the rule that the
//! message breaks.
//!
//! ```text
//! pipeline.toml ──Pipeline::parse──▶ Pipeline ──Compiled::new──▶ Compiled
//!                                                                   │
//! payload ──read_event──▶ Records ──extract──▶ Messages ──transform──▶ Rows
//!                            └────────── Rejection ◀──┴────── Rejection
//! ```
//!
//! ```
//! use mapping::{Compiled, Pipeline, read_event};
//!
//! let pipeline = Pipeline::parse("pipeline.toml", r#"
//!     table = "logins"
//!     key = ["message_id"]
//!     column = [
//!         { name = "message_id", type = "text", from = "@message_id" },
//!         { name = "user_id", type = "integer", required = true },
//!     ]"#)?;
//! let compiled = Compiled::new("pipeline.toml", &pipeline, None)?;
//! let payload = br#"{"Records": [{"messageId": "m-1", "body": "{\"user_id\": 7}"}, {"messageId": "m-2", "body": "{}"}]}"#;
//! let records = read_event(payload)?;
//! let rows = compiled.rows(&records[0]).map_err(|rejection| rejection.to_string())?;
//! assert_eq!(rows.tables()[0].rows.value(0, 1), Some(&7_i32.to_be_bytes()[..]));
//! let rejection = compiled.rows(&records[1]).err();
//! assert_eq!(rejection.map(|rejection| rejection.rule.name()), Some("required"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Pure: no file, no clock, no network. No error contains a value of a message.
//!
//! - **The mapping**: a [`Pipeline`] of [`TableMapping`]s; what is wrong with it is a [`PipelineError`], one sentence
//!   with the place and the fix. [`ddl`] creates the tables that it names.
//! - **Messages**: [`read_event`] reads what an SQS event source mapping sends into [`Record`]s; a [`Message`] is one
//!   of them without its [`Wrapping`].
//! - **Rows**: [`Compiled`] is a mapping that is ready for use, with the [`KeyRing`] of its masks. It turns messages
//!   into [`MessageRows`]; or into a [`Rejection`], which names the [`Rule`] and the [`Place`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]
#![cfg_attr(test, allow(clippy::expect_used, clippy::panic, clippy::unwrap_used))]

mod cast;
pub mod ddl;
mod jq;
mod mask;
mod message;
mod pipeline;
mod rejection;
mod rows;
mod steps;
mod text;
mod time;
mod transform;
mod types;

pub use cast::{Cast, NotAType};
pub use jq::{Jq, JqFault, JqProblem};
pub use mask::{KeyError, KeyRing, Mask, MaskKey};
pub use message::origin::Origins;
pub use message::{
    Encoding, Envelope, ExtractError, Format, Message, Metadata, NotInEnvelope, NotSqs, Packing,
    PointerFault, Record, S3Pointer, Text, Wrapping, read_event,
};
pub use pipeline::{
    Column, Condition, OnConflict, OnNull, Path, Pattern, Pipeline, PipelineError, Problem, Scalar,
    Source, Table, TableMapping, Test, Unmatched,
};
pub use rejection::{
    Found, NotAnObject, NotEncoded, Place, Refusal, RefusedValue, Rejection, Rule, S3Fault, Start,
};
pub use rows::{MessageRows, Rows, TableRows};
pub use steps::Step;
pub use time::{FormatMistake, LocalTime, TimeFormat, TimeSpelling, Unit, Zone};
pub use transform::Compiled;
pub use types::{ColumnType, Element};

/// What the function and the command-line tool need beside the mapping itself. It may change with every version.
///
/// - Tokens, one by one: [`Masker`](internals::Masker), [`AesSivKeys`](internals::AesSivKeys).
/// - The id and time that a message first had, sent along when it is moved: [`Origin`](internals::Origin).
/// - What a mapping reads, and what it finds in a message: [`Reads`](internals::Reads),
///   [`Observation`](internals::Observation). Where its columns are in its file: [`Places`](internals::Places).
/// - Several records in one message, packed and split: [`Records`](internals::Records).
/// - Rows and cells, one by one: [`put_value`](internals::put_value), [`readable`](internals::readable),
///   [`printed_jsonb`](internals::printed_jsonb).
/// - Names and strings as SQL writes them, and words that were misspelt:
///   [`quote_identifier`](internals::quote_identifier), [`similar`](internals::similar).
pub mod internals {
    pub use crate::mask::{AesSivKeys, MaskFailed, Masker, Rekeyed, UnmaskError};

    pub use crate::message::origin::{Content, Delivery, Ignored, ORIGIN, Origin, REJECTION};
    pub use crate::message::{MAX_UNPACKED_BYTES, MessageAttribute, Records, is_s3_pointer};

    pub use crate::pipeline::{Places, Reads, SYSTEM_COLUMNS};
    pub use crate::transform::{Observation, Tested, takes};

    pub use crate::rows::{put_array_head, put_null, put_value};
    pub use crate::transform::{Numeric, printed_jsonb, readable};
    pub use crate::types::Kind;

    pub use crate::text::{
        EQUALS, all_equal, did_you_mean, qualified, quote_identifier, quote_list, quote_literal,
        similar,
    };
}
