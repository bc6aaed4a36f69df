//! The program of the mapping that makes the body out of the one that was sent.

use std::sync::Arc;

use serde::de::IgnoredAny;

use crate::jq::{self, Inputs, Jq, JqFault, Program, Work};
use crate::message::{ExtractError, Message};
use crate::pipeline::{Pipeline, TableMapping};

pub(super) struct Shape {
    program: Arc<Program>,
    /// Whether the body is an array with an element for each row.
    is_array: bool,
}

impl Shape {
    pub(super) fn new(jq: &Jq, pipeline: &Pipeline) -> Self {
        Self {
            program: Arc::clone(&jq.program),
            is_array: pipeline.tables.iter().any(TableMapping::is_of_body),
        }
    }

    pub(super) fn apply<'a>(&self, message: Message<'a>) -> Result<Message<'a>, ExtractError> {
        let sent = message.body();
        // jaq reads more than JSON.
        serde_json::from_str::<IgnoredAny>(sent).map_err(|_| ExtractError::NotJson)?;
        let body = self.body(sent).map_err(ExtractError::Jq)?;
        Ok(message.with_body(body))
    }

    /// The JSON text of the body; `None` if the program gives nothing. Several values are the elements of an array, and
    /// where the body has to be an array, a single other value is the only element of one.
    fn body(&self, sent: &str) -> Result<Option<String>, JqFault> {
        let inputs = Inputs {
            own: jq::read(sent.trim_ascii())?,
            ..Inputs::default()
        };
        let values = self.program.values(inputs, &Work::default())?;
        let texts: Vec<String> = values.iter().map(jq::json_of).collect::<Result<_, _>>()?;
        Ok(match &texts[..] {
            [] => None,
            [only] if !self.is_array || only.starts_with('[') => Some(only.clone()),
            _ => Some(format!("[{}]", texts.join(","))),
        })
    }
}
