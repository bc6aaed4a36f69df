//! The result of moving dead letters, with the current mapping.

use mapping::{Compiled, KeyRing, Origins, Rejection, Rule};
use serde_json::{Value, json};
use sqs_to_postgres::sqs::dead_letter::DeadLetter;

use crate::cli::error::CliError;
use crate::cli::event::record;
use crate::cli::settings::MappingFlags;

/// The current mapping.
pub(super) struct DeadLetterExplainer {
    compiled: Compiled,
    origins: Origins,
    queue_arn: String,
}

impl DeadLetterExplainer {
    /// Without a key, masks are checked with a placeholder.
    pub(super) fn new(
        mapping: &MappingFlags,
        key: Option<&KeyRing>,
        queue_arn: &str,
    ) -> Result<Self, CliError> {
        let (file, pipeline) = mapping.read()?;
        let placeholder = KeyRing::placeholder();
        let compiled = Compiled::new(&file, &pipeline, Some(key.unwrap_or(&placeholder)))?;
        Ok(Self {
            compiled,
            origins: Origins::with_retired(key),
            queue_arn: queue_arn.to_owned(),
        })
    }

    /// The result of moving the message. Postgres, which may refuse a row, is not contacted.
    pub(super) fn explain(&self, message: &DeadLetter) -> Result<(), Rejection> {
        let record = record(message.message(), &self.queue_arn);
        let mut record = record.ok_or(Rule::Internal)?;
        record.apply_origin(&self.origins);
        self.compiled.rows(&record).map(drop)
    }
}

/// In a cell: `a row`, or the rule that it would break.
pub(super) fn cell(outcome: &Result<(), Rejection>) -> String {
    match outcome {
        Ok(()) => "a row".to_owned(),
        Err(rejection) => match &rejection.place {
            Some(place) => format!(
                "rejected: {} ({})",
                rejection.rule.name(),
                place.column.as_ref().unwrap_or(&place.path)
            ),
            None => format!("rejected: {}", rejection.rule.name()),
        },
    }
}

/// The result as JSON: rows, or the rule that the message would break.
pub(super) fn json(outcome: &Result<(), Rejection>) -> Value {
    match outcome {
        Ok(()) => json!({"outcome": "row"}),
        Err(rejection) => {
            let place = rejection.place.as_ref();
            json!({
                "outcome": "rejected", "rule": rejection.rule.name(), "reason": rejection.to_string(),
                "column": place.map(|place| &place.column), "path": place.map(|place| &place.path),
            })
        }
    }
}
