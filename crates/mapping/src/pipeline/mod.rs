//! The mapping: `pipeline.toml`, read and checked once at start.
//!
//! From the text of the file to a valid [`Pipeline`], in which every column has a known type and an existing source;
//! or to one sentence that names the file, the column and the fix. What needs the mask key or a value (`mask` without
//! a key, a `default` that does not fit its type) is checked when the mapping is compiled, by
//! [`Compiled::new`](crate::transform::Compiled::new).
//!
//! The words that a mapping uses are elsewhere, each with its implementation: types in [`types`](crate::types),
//! transforms in [`steps`](crate::steps), the
//! spellings of times in [`time`](crate::time), masks in [`mask`](crate::mask), metadata and envelopes in
//! [`message`](crate::message).

mod check;
mod clear;
mod column;
mod condition;
mod hierarchy;
mod mapping;
mod missing;
mod name;
mod newer;
mod path;
mod place;
mod problem;
mod reach;
mod schema;
mod source;
mod spelling;
#[cfg(test)]
mod tests;
mod tombstone;
mod trust;
mod unread;
mod words;

use base16ct::lower::encode_string;
use sha2::{Digest as _, Sha256};

pub(crate) use column::check_token_width;
pub use condition::{Condition, Pattern, Scalar, Test};
pub use mapping::{Column, OnConflict, Pipeline, Table, TableMapping, Unmatched};
pub use missing::OnNull;
pub use name::SYSTEM_COLUMNS;
pub(crate) use name::check_identifier;
pub use path::Path;
pub use place::Places;
pub(crate) use problem::Mistake;
pub use problem::{PipelineError, Problem};
pub(crate) use source::JQ;
pub use source::Source;
pub use unread::Reads;

impl Pipeline {
    /// Reads and checks a mapping. Errors call it `file`.
    ///
    /// ```
    /// # use mapping::Pipeline;
    /// let pipeline = Pipeline::parse("pipeline.toml", r#"
    ///     table = "events"
    ///     key = ["id"]
    ///     [[column]]
    ///     name = "id"
    ///     type = "uuid"
    ///     from = "@message_id"
    /// "#)?;
    /// assert_eq!(pipeline.tables[0].columns.len(), 1);
    /// # Ok::<(), mapping::PipelineError>(())
    /// ```
    ///
    /// # Errors
    /// The first mistake found, in one sentence that says where it is and how to fix it.
    pub fn parse(file: &str, text: &str) -> Result<Self, PipelineError> {
        let pipeline = check::parse(text).map_err(|mistake| mistake.in_file(file))?;
        let digest = digest(text);
        Ok(Self { digest, ..pipeline })
    }
}

/// A hash of the TOML with its keys sorted, so that comments, layout and the version of this program do not matter.
fn digest(text: &str) -> String {
    let sorted = toml::from_str::<toml::Table>(text).unwrap_or_default();
    let hash = Sha256::digest(sorted.to_string());
    encode_string(hash.get(..8).unwrap_or_default())
}
