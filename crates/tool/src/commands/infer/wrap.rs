//! What the messages of a queue are wrapped in, and the bodies below it.

use mapping::internals::is_s3_pointer;
use mapping::{Encoding, Envelope, ExtractError, Format, Message, Metadata, Packing, Wrapping};

use super::json::Json;
use super::names::joined;
use crate::cli::samples::Sample;

/// What the bodies of most samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrap {
    None,
    /// An event of EventBridge, whose `detail` is the message.
    EventBridge,
    /// A notification of S3, which lists one record.
    S3,
}

/// How most bodies hold their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    /// A body is one record.
    No,
    Array,
    Lines,
    /// Some bodies are one record, others an array of them.
    Either,
}

impl Packed {
    fn format(self) -> Format {
        match self {
            Self::Lines => Format::Lines,
            Self::No | Self::Array | Self::Either => Format::Json,
        }
    }
}

/// The envelope and the encoding of most samples.
pub(super) fn wrapping(samples: &[Sample]) -> Wrapping {
    let envelope = envelope(samples);
    let with = |encoding| Wrapping {
        envelope,
        encoding: Packing::As(encoding),
        ..Wrapping::default()
    };
    let is_json = |wrapping: &Wrapping, format: Format, sample: &Sample| {
        let wrapping = Wrapping {
            format,
            ..wrapping.clone()
        };
        let message = Message::extract(&sample.record, &wrapping);
        let body = message
            .ok()
            .and_then(|message| serde_json::from_str(message.body()).ok());
        matches!(body, Some(Json::Object(_) | Json::Array(_)))
    };
    let fits_most = |wrapping: &Wrapping| {
        let fits = |sample: &&Sample| {
            let formats = [Format::Json, Format::Lines];
            formats
                .into_iter()
                .any(|format| is_json(wrapping, format, sample))
        };
        samples.iter().filter(fits).count() * 2 > samples.len()
    };
    let packed = [Encoding::GzipBase64, Encoding::ZstdBase64, Encoding::Base64];
    let all = [Encoding::None].into_iter().chain(packed).map(with);
    all.into_iter()
        .find(fits_most)
        .unwrap_or(with(Encoding::None))
}

/// How the bodies of the samples hold records: as most of them can be read.
pub(super) fn packed(samples: &[Sample], wrapping: &Wrapping) -> Packed {
    let fit = |packed: Packed| {
        let are_objects =
            |records: &Vec<Json>| !records.is_empty() && records.iter().all(Json::is_object);
        let read = samples
            .iter()
            .filter_map(|sample| records(sample, wrapping, packed).ok());
        read.filter(are_objects).count()
    };
    let mut best = (Packed::No, fit(Packed::No));
    for packed in [Packed::Array, Packed::Lines] {
        // The others are not read again where all are objects.
        if best.1 < samples.len() {
            let fits = fit(packed);
            best = if fits > best.1 { (packed, fits) } else { best };
        }
    }
    let is_json = best.0 != Packed::Lines && best.1 < samples.len();
    match is_json && fit(Packed::Either) >= best.1 + MIN_OTHERS {
        true => Packed::Either,
        false => best.0,
    }
}

/// Fewer messages than this that are packed otherwise are odd.
const MIN_OTHERS: usize = 2;

/// The records of a sample.
pub(super) fn records(
    sample: &Sample,
    wrapping: &Wrapping,
    packed: Packed,
) -> Result<Vec<Json>, &'static str> {
    let wrapping = Wrapping {
        format: packed.format(),
        ..wrapping.clone()
    };
    let message = Message::extract(&sample.record, &wrapping).map_err(|error| match error {
        ExtractError::LineNotJson(_) => "a line of the message is not JSON",
        ExtractError::NotInEnvelope(_) => "it is not in the envelope of most samples",
        _ => "it is not packed like most samples",
    })?;
    if is_s3_pointer(message.body()) {
        return Err("the message is in S3: take the content of the object as the sample");
    }
    let body = serde_json::from_str(message.body()).map_err(|_| "the message is not JSON")?;
    match (packed, body) {
        (Packed::No, body) => Ok(vec![body]),
        (Packed::Array | Packed::Lines | Packed::Either, Json::Array(records)) => Ok(records),
        (Packed::Either, body) => Ok(vec![body]),
        (Packed::Array | Packed::Lines, _) => {
            Err("the message is not an array, unlike most samples")
        }
    }
}

/// The key of an EventBridge event that has the message.
const DETAIL: &str = "detail";

/// Keys that every event of EventBridge has.
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/ref/events-structure.html>.
const EVENTBRIDGE: [&str; 5] = ["id", "detail-type", "source", "time", "detail"];

impl Wrap {
    /// The wrapping of most of these bodies.
    pub(super) fn of<'j>(bodies: impl Iterator<Item = &'j Json> + Clone) -> Self {
        let all = bodies.clone().count();
        let is_of_most =
            |wrap: &Self| bodies.clone().filter(|body| wrap.holds(body)).count() * 2 > all;
        let known = [Self::EventBridge, Self::S3];
        known.into_iter().find(is_of_most).unwrap_or(Self::None)
    }

    /// Whether a body is such an event.
    pub(super) fn holds(self, body: &Json) -> bool {
        match self {
            Self::None => matches!(body, Json::Object(_)),
            Self::EventBridge => EVENTBRIDGE.iter().all(|key| body.get(key).is_some()),
            Self::S3 => match body.get("Records") {
                Some(Json::Array(records)) => {
                    matches!(&records[..], [record] if record.get("s3").is_some())
                }
                _ => false,
            },
        }
    }

    /// Where the mapping's paths start: `root`, as the mapping writes it.
    pub(super) fn root(self) -> Option<&'static str> {
        match self {
            Self::EventBridge => Some(DETAIL),
            Self::None | Self::S3 => None,
        }
    }

    /// How many steps lead to where the paths start.
    pub(super) fn depth(self) -> usize {
        usize::from(self.root().is_some())
    }

    /// A path of the body, as the mapping writes it.
    pub(super) fn from(self, path: &[&str]) -> String {
        match (self.root(), path) {
            (Some(root), [first, rest @ ..]) if *first == root && !rest.is_empty() => joined(rest),
            (Some(_), _) => format!("$.{}", joined(path)),
            (None, _) => joined(path),
        }
    }

    /// Why a body does not count.
    pub(super) fn mismatch(self) -> &'static str {
        match self {
            Self::None => "the message is not a JSON object",
            Self::EventBridge => "it is not an EventBridge event, unlike most samples",
            Self::S3 => "it is not an S3 notification with one record, unlike most samples",
        }
    }
}

/// The envelope of most samples.
fn envelope(samples: &[Sample]) -> Envelope {
    let fits_most = |envelope: &Envelope| {
        let fits = |sample: &&Sample| Message::extract(&sample.record, &(*envelope).into()).is_ok();
        samples.iter().filter(fits).count() * 2 > samples.len()
    };
    let mut envelopes = Envelope::all().filter(|envelope| envelope.mismatch().is_some());
    envelopes.find(fits_most).unwrap_or(Envelope::None)
}

/// What a proposal says of an envelope.
pub(super) struct Told {
    /// Why it is proposed; `None` where the body itself tells more.
    pub(super) why: Option<&'static str>,
    /// The id that a message keeps when it is delivered again.
    pub(super) id: Metadata,
    /// The path that names its column.
    pub(super) path: [&'static str; 2],
    /// Why it is the key.
    pub(super) why_id: &'static str,
}

impl Told {
    pub(super) fn of(envelope: Envelope) -> Self {
        match envelope {
            Envelope::None => Self {
                why: None,
                id: Metadata::MessageId,
                path: ["sqs", "message_id"],
                why_id: "SQS's id: a redelivered message is stored once",
            },
            Envelope::Sns => Self {
                why: Some("the message is inside an SNS notification"),
                id: Metadata::SnsMessageId,
                path: ["sns message", "id"],
                why_id: "SNS's id: a message that is delivered again is stored once",
            },
        }
    }
}
