//! `infer`: sample messages → a first mapping, with a reason for each choice.

mod body;
mod changes;
mod choice;
mod class;
mod columns;
mod copies;
mod diff;
mod epoch;
mod json;
mod keys;
mod mapping;
mod names;
mod pii;
mod recipes;
mod route;
mod shape;
mod suspect;
mod value;
mod versions;
mod wrap;

use std::collections::HashSet;
use std::path::PathBuf;

use ::mapping::internals::ORIGIN;
use ::mapping::{Compiled, KeyRing, Message, Pipeline, Wrapping};
use clap::Args;
use indexmap::IndexMap;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::{self, counted, escaped};
use crate::cli::samples::{Sample, SampleFlags};
use crate::commands::schema::REFERENCE;
use body::Body;
use json::Json;
pub(crate) use keys::{FieldNames, is_name};
use mapping::{Group, Observed, Proposal, Wanted};
use route::Route;
pub(crate) use suspect::{Suspect, name_of};
use wrap::{Packed, Wrap, packed, records, wrapping};

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres infer --queue-name orders > orders.toml
  sqs-to-postgres infer --table shop.orders orders.jsonl > pipeline.toml
  sqs-to-postgres explain --pipeline pipeline.toml orders.jsonl
  sqs-to-postgres infer --key order_id --newer updated_at orders.jsonl > pipeline.toml
  sqs-to-postgres infer --diff pipeline.toml orders-of-today.jsonl";

/// The name of the table, unless another is given.
const TABLE: &str = "messages";

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
    /// Name of the table, or "schema.table"; names of further tables begin with it [default: messages]
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Fields or columns that identify what a message is about, separated by commas: the key of every table
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    key: Vec<String>,
    /// The field or column that says which of two messages of a key is newer: the newest replaces the row
    #[arg(long, value_name = "FIELD", requires = "key")]
    newer: Option<String>,
    /// Propose a mapping by the samples alone, also for messages of a producer that is known by their shape
    #[arg(long)]
    from_scratch: bool,
    /// Compare samples with this mapping instead: what it does not read, rejects, or would type otherwise
    #[arg(long, value_name = "FILE", conflicts_with_all = ["table", "key", "newer", "from_scratch"])]
    diff: Option<PathBuf>,
}

impl Infer {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let samples = self.samples.read().await?;
        if let Some(file) = &self.diff {
            return diff::run(file, &samples);
        }
        let wanted = Wanted {
            key: self.key,
            newer: self.newer,
        };
        let table = self.table.as_deref();
        let known = match self.from_scratch {
            true => None,
            false => known(&samples, table, &wanted),
        };
        let (proposal, omitted) = match known {
            Some(proposal) => (proposal, Vec::new()),
            None => propose(&samples, table, &wanted)?,
        };
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
        warn("in plaintext, possibly personal", proposal.mentioned);
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

/// The mapping for samples of a producer that is known by the shape of its messages.
fn known(samples: &[Sample], table: Option<&str>, wanted: &Wanted) -> Option<Proposal> {
    let wrapping = wrapping(samples);
    let envelope = wrapping.envelope;
    let body = |sample| {
        records(sample, &wrapping, Packed::No)
            .ok()?
            .into_iter()
            .next()
    };
    let bodies: Vec<Option<Json>> = samples.iter().map(body).collect();
    let recipe = || {
        let text = recipes::known(samples, &bodies, envelope, table)?;
        Some(Proposal {
            text,
            omitted: Vec::new(),
            mentioned: Vec::new(),
        })
    };
    let recipe = match wanted.key.is_empty() {
        true => recipe(),
        false => None,
    };
    recipe.or_else(|| changes::known(samples, &bodies, envelope, table, wanted))
}

/// Samples that are not looked at, by their position, each with the reason.
type Omitted = Vec<(usize, String)>;

/// The mapping for these samples.
fn propose(
    samples: &[Sample],
    table: Option<&str>,
    wanted: &Wanted,
) -> Result<(Proposal, Omitted), CliError> {
    let wrapping = wrapping(samples);
    let packed = packed(samples, &wrapping);
    let (bodies, wrap, mut omitted) = bodies(samples, &wrapping, packed);
    let most_records = bodies.chunk_by(|a, b| a.sample == b.sample).map(<[_]>::len);
    let most_records = most_records.max().unwrap_or(1);
    let mut observed = Observed {
        samples,
        wrapping,
        packed,
        most_records,
        wrap,
        bodies: &bodies,
        groups: groups(&bodies, wrap, &mut omitted),
        wanted,
    };
    if observed.is_empty() {
        return Err(CliError::invalid(
            "no sample is a JSON object, or an array or lines of objects: give JSON messages, one after the other or as an array, or the event of a Lambda function",
        ));
    }
    for group in &mut observed.groups {
        group.bodies.note_persons("");
        let members = group.members.iter().filter_map(|at| bodies.get(*at));
        copies::note(&mut group.bodies, members.map(|body| &body.json));
    }
    let proposal = observed.propose(table.unwrap_or(TABLE))?;
    Ok((proposal, omitted))
}

/// The bodies of the samples, what they are wrapped in, and the samples that have none.
fn bodies(samples: &[Sample], wrapping: &Wrapping, packed: Packed) -> (Vec<Body>, Wrap, Omitted) {
    let all: Vec<_> = samples
        .iter()
        .map(|sample| records(sample, wrapping, packed))
        .collect();
    let wrap = match packed {
        Packed::Array | Packed::Lines | Packed::Either => Wrap::None,
        Packed::No => Wrap::of(all.iter().flatten().flatten()),
    };
    let (mut bodies, mut omitted) = (Vec::new(), Vec::new());
    for ((sample, records), position) in samples.iter().zip(all).zip(0..) {
        let records = records.and_then(|records| {
            let is_usual = records.iter().all(|record| wrap.holds(record));
            is_usual.then_some(records).ok_or(wrap.mismatch())
        });
        match records {
            Ok(records) => bodies.extend(records.into_iter().map(|json| Body {
                json,
                attributes: attributes(sample, wrapping),
                sample: position,
            })),
            Err(why) => omitted.push((position, why.to_owned())),
        }
    }
    (bodies, wrap, omitted)
}

fn attributes(sample: &Sample, wrapping: &Wrapping) -> IndexMap<String, String> {
    let Ok(message) = Message::extract(&sample.record, &wrapping.envelope.into()) else {
        return IndexMap::new();
    };
    let attributes = message
        .attributes()
        .into_iter()
        .filter(|(name, _)| *name != ORIGIN);
    attributes
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The shapes of messages that become rows of one table.
fn groups(bodies: &[Body], wrap: Wrap, omitted: &mut Omitted) -> Vec<Group> {
    let routes = Route::all(bodies, wrap);
    let group = |route: &Route| Group {
        route: Some((route.name.clone(), route.when.clone())),
        ..Group::default()
    };
    let mut groups: Vec<Group> = match routes.is_empty() {
        true => vec![Group::default()],
        false => routes.iter().map(group).collect(),
    };
    for (body, at) in bodies.iter().zip(0..) {
        let own = match routes.is_empty() {
            true => Some(0),
            false => routes.iter().position(|route| route.takes(body)),
        };
        let Some(group) = own.and_then(|own| groups.get_mut(own)) else {
            let why = "it does not name its type, unlike most samples";
            omitted.push((body.sample, why.to_owned()));
            continue;
        };
        group.members.push(at);
        group.bodies.observe(&body.json, body.sample);
        for (name, value) in &body.attributes {
            let shape = group.attributes.key(name, body.sample);
            shape.observe(&Json::Text(value.clone()), body.sample);
        }
    }
    groups
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
