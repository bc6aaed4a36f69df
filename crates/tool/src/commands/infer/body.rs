//! The bodies of samples: messages, or records of messages, with the attributes that came with them.

use indexmap::IndexMap;

use super::json::Json;

/// A message, or a record of one.
pub(super) struct Body {
    pub(super) json: Json,
    pub(super) attributes: IndexMap<String, String>,
    /// The position of its sample.
    pub(super) sample: usize,
}

/// What a field has that may name the type of a message.
pub(super) enum Label<'b> {
    Text(&'b str),
    Nothing,
    Other,
}

impl<'b> From<Option<&'b Json>> for Label<'b> {
    fn from(value: Option<&'b Json>) -> Self {
        match value {
            Some(Json::Text(text)) => Self::Text(text),
            Some(Json::Null) | None => Self::Nothing,
            Some(Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => Self::Other,
        }
    }
}

impl Body {
    /// What a message attribute has.
    pub(super) fn attribute(&self, name: &str) -> Label<'_> {
        match self.attributes.get(name) {
            Some(text) => Label::Text(text),
            None => Label::Nothing,
        }
    }
}
