//! The mapping: `pipeline.toml`, read and checked once at start.
//!
//! From the text of the file to a valid [`Pipeline`], in which every column has a known type and an existing source;
//! or to one sentence that names the file, the column and the fix. What needs the mask key or a value (`mask` without
//! a key, a `default` that does not fit its type) is checked when the mapping is compiled, by
//! [`Transformer::new`](crate::transform::Transformer::new).
//!
//! The words that a mapping uses are elsewhere, each with its implementation: types in [`types`](crate::types),
//! transforms in [`steps`](crate::steps), masks in [`mask`](crate::mask), metadata and envelopes in
//! [`message`](crate::message).

mod check;
mod clear;
mod mapping;
mod newer;
mod path;
mod problem;
mod reach;
#[cfg(test)]
mod tests;
mod trust;

pub(crate) use check::check_identifier;
pub use mapping::{Column, OnConflict, Pipeline, Source, Table};
pub use path::Path;
pub(crate) use problem::Mistake;
pub use problem::{PipelineError, Problem};

impl Pipeline {
    /// Reads and checks a mapping. Errors call it `file`.
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
    /// The first mistake found, in one sentence that says where it is and how to fix it.
    pub fn parse(file: &str, text: &str) -> Result<Self, PipelineError> {
        check::parse(text).map_err(|mistake| mistake.in_file(file))
    }
}
