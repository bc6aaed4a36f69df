//! `infer`: sample messages → a first mapping, with a reason for each choice.

mod choice;
mod class;
mod columns;
mod json;
mod mapping;
mod names;
mod pii;
mod shape;
mod value;
mod wrap;

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use sqs_to_postgres::mask::MaskKey;
use sqs_to_postgres::message::origin::ORIGIN;
use sqs_to_postgres::message::{Envelope, Message};
use sqs_to_postgres::pipeline::Pipeline;
use sqs_to_postgres::rejection::Rejection;
use sqs_to_postgres::transform::Transformer;
use thiserror::Error;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, counted, escaped};
use crate::cli::samples::{self, Sample};
use json::Json;
use mapping::Observed;
use shape::Shape;
pub(crate) use shape::is_name;
use wrap::{Wrap, envelope};

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres infer --table shop.orders orders.jsonl > pipeline.toml
  sqs-to-postgres explain --pipeline pipeline.toml orders.jsonl";

/// How many warnings of a kind are written.
const MAX_WARNINGS: usize = 20;

#[derive(Debug, Error)]
#[error(
    "no sample is a JSON object: give JSON messages, one after the other or as an array, or the event of a Lambda function"
)]
struct NoObject;

/// Propose a mapping for sample messages, with masks for what looks like personal data
///
/// Types, widths and required columns are inferred from the samples, so provide many.
/// Comments explain each choice. No value of a sample is printed.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Infer {
    /// Files of JSON messages (one per line, pretty-printed or in an array) or Lambda events; stdin if omitted or -
    files: Vec<PathBuf>,
    /// Name of the table, or "schema.table"
    #[arg(long, value_name = "NAME", default_value = "messages")]
    table: String,
}

impl Infer {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let samples = samples::read(&self.files)?;
        let (observed, left_out) = observe(&samples);
        if observed.bodies.present == 0 {
            return Err(CliError::invalid(NoObject));
        }
        let proposal = observed.propose(&self.table);
        let mut rejected = rejected(&proposal.text, &samples)?;
        output::bytes(proposal.text.as_bytes())?;
        let rows = counted(samples.len() - rejected.len(), "row");
        let messages = counted(samples.len(), "message");
        eprintln!("{messages}: {rows}, {} rejected", rejected.len());
        let known: HashSet<usize> = left_out.iter().map(|&(at, _)| at).collect();
        rejected.retain(|(at, _)| !known.contains(at));
        let at = |(at, why): &(usize, String)| {
            let place = samples.get(*at).map_or("", |sample| &sample.place);
            format!("{place}: {why}")
        };
        let messages = left_out.iter().map(at);
        warn("left out", messages.chain(proposal.left_out).collect());
        warn("rejected", rejected.iter().map(at).collect());
        Ok(Outcome::Done)
    }
}

/// Names the first of what the mapping does not store.
fn warn(what: &str, warnings: Vec<String>) {
    for warning in warnings.iter().take(MAX_WARNINGS) {
        eprintln!("{what}: {}", escaped(warning));
    }
    if warnings.len() > MAX_WARNINGS {
        eprintln!("{what}: {} more", warnings.len() - MAX_WARNINGS);
    }
}

/// The shapes of the messages, and which messages are left out of them.
fn observe(samples: &[Sample]) -> (Observed<'_>, Vec<(usize, String)>) {
    let envelope = envelope(samples);
    let bodies: Vec<_> = samples
        .iter()
        .map(|sample| body(sample, envelope))
        .collect();
    let wrap = Wrap::of(bodies.iter().flatten());
    let (mut of_bodies, mut attributes) = (Shape::default(), Shape::default());
    let mut left_out = Vec::new();
    for (position, (sample, body)) in samples.iter().zip(bodies).enumerate() {
        match body {
            Ok(body) if wrap.holds(&body) => {
                of_bodies.observe(&body, position);
                observe_attributes(&mut attributes, sample, envelope, position);
            }
            Ok(_) => left_out.push((position, wrap.mismatch().to_owned())),
            Err(why) => left_out.push((position, why.to_owned())),
        }
    }
    let observed = Observed {
        samples,
        envelope,
        wrap,
        bodies: of_bodies,
        attributes,
    };
    (observed, left_out)
}

/// The message of a sample.
fn body(sample: &Sample, envelope: Envelope) -> Result<Json, &'static str> {
    let message = Message::extract(&sample.record, envelope)
        .map_err(|_| "it is not in the envelope that most messages have")?;
    serde_json::from_str(message.body()).map_err(|_| "the message is not JSON")
}

fn observe_attributes(shape: &mut Shape, sample: &Sample, envelope: Envelope, position: usize) {
    if let Ok(message) = Message::extract(&sample.record, envelope) {
        for (name, value) in message.attributes() {
            if name != ORIGIN {
                shape
                    .key(name, position)
                    .observe(&Json::Text(value.to_owned()), position);
            }
        }
    }
}

/// The positions of the samples that the mapping rejects, each with the reason.
fn rejected(mapping: &str, samples: &[Sample]) -> Result<Vec<(usize, String)>, CliError> {
    let pipeline = Pipeline::parse("the mapping", mapping)?;
    let transformer = Transformer::new("the mapping", &pipeline, Some(&MaskKey::placeholder()))?;
    let rejection = |sample: &Sample| -> Result<(), Rejection> {
        let message = Message::extract(&sample.record, pipeline.envelope)?;
        let mut rows = transformer.new_rows();
        transformer.transform(&message, &mut rows).map(drop)
    };
    let rejections = samples.iter().enumerate();
    let rejections =
        rejections.filter_map(|(at, sample)| Some((at, rejection(sample).err()?.to_string())));
    Ok(rejections.collect())
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    /// The number of samples that the mapping for these messages rejects; `None` without any object.
    fn rejected_of(messages: &[Value]) -> Option<usize> {
        let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
        let samples = samples::split("", &lines.join("\n")).unwrap();
        let (observed, _) = observe(&samples);
        (observed.bodies.present > 0).then(|| {
            let mapping = observed.propose("t").text;
            let rejected = rejected(&mapping, &samples);
            rejected
                .unwrap_or_else(|error| panic!("{error}: {mapping}"))
                .len()
        })
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            ".{0,12}",
            "[a-zA-Z_.@\"' -]{0,6}",
            "-?[0-9]{1,20}([.][0-9]{1,4})?",
            Just("2026-11-21T10:00:00Z".to_owned()),
            Just("a@example.com".to_owned()),
        ]
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        scalar.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                vec((text(), inner), 0..6).prop_map(|entries| Value::from(Map::from_iter(entries))),
            ]
        })
    }

    /// The kinds of values that a field of a well-behaved producer has, each with a generator.
    fn of_kind(kind: u8) -> BoxedStrategy<Value> {
        match kind {
            0 => any::<i64>().prop_map(Value::from).boxed(),
            1 => (-1e9..1e9).prop_map(Value::from).boxed(),
            2 => "\\PC{1,40}".prop_map(Value::from).boxed(),
            3 => "[1-9][0-9]{0,7}[.][0-9]{2}".prop_map(Value::from).boxed(),
            4 => "20[0-9]{2}-0[1-9]-1[0-9]T1[0-9]:00:00Z"
                .prop_map(Value::from)
                .boxed(),
            5 => "20[0-9]{2}-0[1-9]-1[0-9]".prop_map(Value::from).boxed(),
            6 => any::<bool>().prop_map(Value::from).boxed(),
            7 => "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
                .prop_map(Value::from)
                .boxed(),
            8 => vec(any::<i32>(), 0..4).prop_map(Value::from).boxed(),
            9 => vec("[a-z]{0,9}", 0..4).prop_map(Value::from).boxed(),
            10 => "[a-z]{1,9}@example[.]com".prop_map(Value::from).boxed(),
            11 => vec(of_kind(2), 0..3)
                .prop_map(|names| {
                    let object = |name| serde_json::json!({ "k": name, "l": [name] });
                    names.iter().map(object).collect::<Vec<_>>().into()
                })
                .boxed(),
            _ => (of_kind(0), of_kind(2))
                .prop_map(|(id, name)| serde_json::json!({"id": id, "name": name}))
                .boxed(),
        }
    }

    /// Messages of one producer: each field has one kind, and may be null or missing.
    fn conforming() -> impl Strategy<Value = Vec<Value>> {
        let fields = btree_map("[a-zA-Z_.é]{1,12}", 0..13_u8, 1..8);
        fields.prop_flat_map(|fields| {
            let field = |(name, kind): (String, u8)| {
                let value = prop_oneof![
                    8 => of_kind(kind).prop_map(Some),
                    1 => Just(Some(Value::Null)),
                    1 => Just(None),
                ];
                value.prop_map(move |value| value.map(|value| (name.clone(), value)))
            };
            let message = fields.into_iter().map(field).collect::<Vec<_>>();
            let message = message
                .prop_map(|fields| Value::from(Map::from_iter(fields.into_iter().flatten())));
            vec(message, 1..30)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn every_mapping_loads(messages in vec(any_json(), 1..8)) {
            rejected_of(&messages);
        }

        #[test]
        fn no_message_of_a_consistent_producer_is_rejected(messages in conforming()) {
            prop_assert_eq!(rejected_of(&messages), Some(0));
        }
    }
}
