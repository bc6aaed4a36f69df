//! What may remain of people, and why; and what of it the user accepts.

use clap::ValueEnum;

/// What cannot be excluded, and therefore counts as remaining until it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Accept {
    /// Tokens of mask keys that the secret lacks: their rows cannot be found
    UnknownKeys,
    /// Hashes that do not say which key made them: all their keys are in the secret
    Hashes,
    /// Messages of the queue that may become rows, or a queue that is not named
    Queue,
    /// Dead letters that cannot be parsed, and contain none of the values
    Unreadable,
    /// Rows of child tables below a tombstone, which no longer says whose they are
    Tombstones,
}

/// Something that remains, or may remain.
pub(super) struct Left {
    pub(super) text: String,
    /// The word that accepts it.
    pub(super) accept: Option<Accept>,
}

impl Left {
    /// Something that must be fixed.
    pub(super) fn new(text: String) -> Self {
        Self { text, accept: None }
    }

    /// Something that the user may accept instead.
    pub(super) fn unless_accepted(accept: Accept, text: String) -> Self {
        Self {
            text,
            accept: Some(accept),
        }
    }

    /// Whether one of these words accepts it.
    pub(super) fn is_accepted(&self, words: &[Accept]) -> bool {
        self.accept.is_some_and(|word| words.contains(&word))
    }

    /// The sentence for the user, with the word that would accept it.
    pub(super) fn sentence(&self) -> String {
        let value = self.accept.and_then(|word| word.to_possible_value());
        match value {
            Some(value) => format!("{}, or --accept {}", self.text, value.get_name()),
            None => self.text.clone(),
        }
    }
}
