//! The sentence of an error with its sources.

use std::error::Error;

/// What an error and its sources say, each once. Only for errors whose texts quote no message: not
/// for answers of Postgres, nor for serde's.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let text = source.to_string();
        if !sentence.ends_with(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = source.source();
    }
    sentence
}
