//! Rows for unit tests, made by a mapping of messages.

use mapping::{Compiled, MessageRows, Pipeline, read_event};
use serde_json::json;

/// The mapping, and the rows of messages with these bodies; their ids are their positions.
pub(super) fn rows(
    mapping: &str,
    bodies: impl IntoIterator<Item = impl ToString>,
) -> (Pipeline, MessageRows) {
    let pipeline = Pipeline::parse("p", mapping).unwrap();
    let compiled = Compiled::new("p", &pipeline, None).unwrap();
    let records = bodies.into_iter().enumerate().map(
        |(position, body)| json!({"messageId": position.to_string(), "body": body.to_string()}),
    );
    let event = json!({ "Records": records.collect::<Vec<_>>() }).to_string();
    let mut rows = compiled.new_rows();
    for record in &read_event(event.as_bytes()).unwrap() {
        let message = compiled.extract(record).unwrap();
        compiled.transform(&message, &mut rows).unwrap();
    }
    (pipeline, rows)
}
