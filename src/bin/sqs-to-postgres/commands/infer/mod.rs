//! `infer`: sample messages → a first mapping, with a reason for each choice.

mod choice;
mod class;
mod columns;
mod json;
mod mapping;
mod names;
mod pii;
mod route;
mod shape;
mod value;
mod wrap;

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use sqs_to_postgres::mask::KeyRing;
use sqs_to_postgres::message::origin::ORIGIN;
use sqs_to_postgres::message::{Envelope, Message};
use sqs_to_postgres::pipeline::Pipeline;
use sqs_to_postgres::rejection::Rejection;
use sqs_to_postgres::transform::Transformer;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, counted, escaped};
use crate::cli::samples::{self, Sample};
use json::Json;
use mapping::{Group, Observed};
use route::Routes;
use shape::Shape;
pub(crate) use shape::is_name;
use wrap::{Wrap, envelope};

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres infer --table shop.orders orders.jsonl > pipeline.toml
  sqs-to-postgres explain --pipeline pipeline.toml orders.jsonl";

/// How many warnings of a kind are written.
const MAX_WARNINGS: usize = 20;

/// Propose a mapping for sample messages, with masks for what looks like personal data
///
/// Types, widths and required columns are inferred from the samples, so provide many.
/// Comments explain each choice. Arrays of objects become child tables, and types of
/// messages with different fields become tables of their own. No value of a sample is
/// printed, but for the names of those types.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Infer {
    /// Files of JSON messages (one per line, pretty-printed or in an array) or Lambda events; stdin if omitted or -
    files: Vec<PathBuf>,
    /// Name of the table, or "schema.table"; names of further tables begin with it
    #[arg(long, value_name = "NAME", default_value = "messages")]
    table: String,
}

impl Infer {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let samples = samples::read(&self.files)?;
        let (observed, left_out) = observe(&samples);
        if observed.is_empty() {
            return Err(CliError::invalid(
                "no sample is a JSON object: give JSON messages, one after the other or as an array, or the event of a Lambda function",
            ));
        }
        let proposal = observed.propose(&self.table);
        let (rows, mut rejected) = stored(&proposal.text, &samples)?;
        output::bytes(proposal.text.as_bytes())?;
        let rows = counted(rows, "row");
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
    let messages: Vec<&Json> = bodies
        .iter()
        .flatten()
        .filter(|body| wrap.holds(body))
        .collect();
    let routes = Routes::of(&messages, wrap);
    let types = routes
        .as_ref()
        .map_or(vec![Vec::new()], |routes| routes.groups.clone());
    let group = |types| Group {
        types,
        ..Group::default()
    };
    let mut groups: Vec<Group> = types.into_iter().map(group).collect();
    let mut left_out = Vec::new();
    for (position, (sample, body)) in samples.iter().zip(bodies).enumerate() {
        let observed = body.and_then(|body| {
            if !wrap.holds(&body) {
                return Err(wrap.mismatch());
            }
            let routes = routes.as_ref();
            let group = routes.map_or(Some(0), |routes| routes.group(&body));
            let group = group.and_then(|group| groups.get_mut(group));
            let group = group.ok_or("it does not say its type, as most do")?;
            group.bodies.observe(&body, position);
            observe_attributes(&mut group.attributes, sample, envelope, position);
            Ok(())
        });
        left_out.extend(observed.err().map(|why| (position, why.to_owned())));
    }
    let observed = Observed {
        samples,
        envelope,
        wrap,
        routed_by: routes.map(|routes| routes.field),
        groups,
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

/// How many rows the mapping stores, and the positions of the samples that it rejects, each with the reason.
fn stored(mapping: &str, samples: &[Sample]) -> Result<(usize, Vec<(usize, String)>), CliError> {
    let pipeline = Pipeline::parse("the mapping", mapping)?;
    let transformer = Transformer::new("the mapping", &pipeline, Some(&KeyRing::placeholder()))?;
    let rows = |sample: &Sample| -> Result<usize, Rejection> {
        let message = Message::extract(&sample.record, pipeline.envelope)?;
        let mut rows = transformer.new_rows();
        transformer.transform(&message, &mut rows)?;
        Ok(rows.tables().iter().map(|table| table.rows.len()).sum())
    };
    let (mut stored, mut rejected) = (0, Vec::new());
    for (at, sample) in samples.iter().enumerate() {
        match rows(sample) {
            Ok(rows) => stored += rows,
            Err(rejection) => rejected.push((at, rejection.to_string())),
        }
    }
    Ok((stored, rejected))
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
        (!observed.is_empty()).then(|| {
            let mapping = observed.propose("t").text;
            let stored = stored(&mapping, &samples);
            let (_, rejected) = stored.unwrap_or_else(|error| panic!("{error}: {mapping}"));
            rejected.len()
        })
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            ".{0,12}",
            "[a-zA-Z_.@\"' -]{0,6}",
            "-?[0-9]{1,20}([.][0-9]{1,4})?",
            Just("type".to_owned()),
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
    fn conforming(names: &'static str) -> impl Strategy<Value = Vec<Value>> {
        let fields = btree_map(names, 0..13_u8, 1..8);
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
        fn no_message_of_a_consistent_producer_is_rejected(messages in conforming("[a-zA-Z_.é]{1,12}")) {
            prop_assert_eq!(rejected_of(&messages), Some(0));
        }

        #[test]
        fn every_mapping_of_several_types_loads(types in vec(conforming("[a-h]"), 2..4)) {
            let types = types.into_iter().zip(["created", "paid", "gone"]);
            let messages: Vec<_> = types.flat_map(|(messages, name)| messages.into_iter().map(move |mut message| {
                message["type"] = name.into();
                message
            })).collect();
            rejected_of(&messages);
        }
    }
}
