//! `infer`: sample messages → a first mapping, with a reason for each choice.

mod choice;
mod class;
mod columns;
mod json;
mod keys;
mod mapping;
mod names;
mod pii;
mod route;
mod shape;
mod suspect;
mod value;
mod wrap;

use std::collections::HashSet;

use ::mapping::internals::ORIGIN;
use ::mapping::{Compiled, Envelope, KeyRing, Message, Pipeline};
use clap::Args;
use mapping::{Group, Observed};

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, counted, escaped};
use crate::cli::samples::{Sample, SampleFlags};
use crate::commands::schema::REFERENCE;
use json::Json;
pub(crate) use keys::{FieldNames, is_name};
use route::Routes;
use shape::Shape;
pub(crate) use suspect::{Suspect, name_of};
use wrap::{Wrap, envelope, packed, records};

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres infer --queue-name orders > orders.toml
  sqs-to-postgres infer --table shop.orders orders.jsonl > pipeline.toml
  sqs-to-postgres explain --pipeline pipeline.toml orders.jsonl";

/// How many warnings of a kind are written.
const MAX_WARNINGS: usize = 20;

/// Propose a mapping for sample messages, with masks for what looks like personal data
///
/// Types, widths and required columns are inferred from the samples, so provide many.
/// Comments explain each choice. Arrays of objects become child tables, and types of
/// messages with different fields become tables of their own. If messages are arrays of
/// objects, or one JSON value per line, each becomes a row. Sample values are not printed,
/// except the names of types.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Infer {
    #[command(flatten)]
    pub(crate) samples: SampleFlags,
    /// Name of the table, or "schema.table"; names of further tables begin with it
    #[arg(long, value_name = "NAME", default_value = "messages")]
    table: String,
}

impl Infer {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let samples = self.samples.read().await?;
        let (observed, omitted) = observe(&samples);
        if observed.is_empty() {
            return Err(CliError::invalid(
                "no sample is a JSON object, or an array or lines of objects: give JSON messages, one after the other or as an array, or the event of a Lambda function",
            ));
        }
        let proposal = observed.propose(&self.table);
        let (rows, mut rejected) = stored(&proposal.text, &samples)?;
        output::bytes(format!("{REFERENCE}{}", proposal.text).as_bytes())?;
        let rows = counted(rows, "row");
        let messages = counted(samples.len(), "message");
        eprintln!("{messages}: {rows}, {} rejected", rejected.len());
        let known: HashSet<usize> = omitted.iter().map(|&(at, _)| at).collect();
        rejected.retain(|(at, _)| !known.contains(at));
        let at = |(at, why): &(usize, String)| {
            let place = samples.get(*at).map_or("", |sample| &sample.place);
            format!("{place}: {why}")
        };
        let messages = omitted.iter().map(at);
        warn("omitted", messages.chain(proposal.omitted).collect());
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

/// The shapes of the messages, and which messages are omitted.
fn observe(samples: &[Sample]) -> (Observed<'_>, Vec<(usize, String)>) {
    let envelope = envelope(samples);
    let packed = packed(samples, envelope);
    let bodies: Vec<_> = samples
        .iter()
        .map(|sample| records(sample, envelope, packed))
        .collect();
    let wrap = match packed {
        Some(_) => Wrap::None,
        None => Wrap::of(bodies.iter().flatten().flatten()),
    };
    let messages: Vec<&Json> = bodies
        .iter()
        .flatten()
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
    let most_records = bodies.iter().flatten().map(Vec::len).max();
    let mut omitted = Vec::new();
    for (position, (sample, records)) in samples.iter().zip(bodies).enumerate() {
        let observed = records.and_then(|records| {
            if !records.iter().all(|record| wrap.holds(record)) {
                return Err(wrap.mismatch());
            }
            for record in records {
                let routes = routes.as_ref();
                let group = routes.map_or(Some(0), |routes| routes.group(&record));
                let group = group.and_then(|group| groups.get_mut(group));
                let group = group.ok_or("it does not name its type, unlike most samples")?;
                group.bodies.observe(&record, position);
                observe_attributes(&mut group.attributes, sample, envelope, position);
            }
            Ok(())
        });
        omitted.extend(observed.err().map(|why| (position, why.to_owned())));
    }
    let observed = Observed {
        samples,
        envelope,
        packed,
        most_records: most_records.unwrap_or(1),
        wrap,
        routed_by: routes.map(|routes| routes.field),
        groups,
    };
    (observed, omitted)
}

fn observe_attributes(shape: &mut Shape, sample: &Sample, envelope: Envelope, position: usize) {
    if let Ok(message) = Message::extract(&sample.record, &envelope.into()) {
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
    let compiled = Compiled::new("the mapping", &pipeline, Some(&KeyRing::placeholder()))?;
    let (mut stored, mut rejected) = (0, Vec::new());
    for (at, sample) in samples.iter().enumerate() {
        match compiled.rows(&sample.record) {
            Ok(rows) => {
                stored += rows
                    .tables()
                    .iter()
                    .map(|table| table.rows.len())
                    .sum::<usize>()
            }
            Err(rejection) => rejected.push((at, rejection.to_string())),
        }
    }
    Ok((stored, rejected))
}
