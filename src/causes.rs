//! An error and its sources in one sentence.

use std::error::Error;

/// The texts of an error and its sources, each once. Only for errors whose texts do not quote a message: not for errors
/// of Postgres or serde.
pub fn causes(error: &dyn Error) -> String {
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
