//! What the messages of a queue are wrapped in, and the bodies below it.

use mapping::internals::is_s3_pointer;
use mapping::{Envelope, ExtractError, Format, Message, Metadata, Wrapping};

use super::json::Json;
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

/// How most bodies hold their records: `None` if a body is one record.
pub(super) type Packed = Option<Format>;

/// How the bodies of the samples hold records: as most of them can be read.
pub(super) fn packed(samples: &[Sample], envelope: Envelope) -> Packed {
    let fit = |packed: Packed| {
        let are_objects = |records: &Vec<Json>| {
            let is_object = |record: &Json| matches!(record, Json::Object(_));
            !records.is_empty() && records.iter().all(is_object)
        };
        let read = samples
            .iter()
            .filter_map(|sample| records(sample, envelope, packed).ok());
        read.filter(are_objects).count()
    };
    let mut best = (None, fit(None));
    for packed in [Format::Json, Format::Lines].map(Some) {
        // The others are not read again where all are objects.
        if best.1 < samples.len() {
            let fits = fit(packed);
            best = if fits > best.1 { (packed, fits) } else { best };
        }
    }
    best.0
}

/// The records of a sample.
pub(super) fn records(
    sample: &Sample,
    envelope: Envelope,
    packed: Packed,
) -> Result<Vec<Json>, &'static str> {
    let wrapping = Wrapping {
        envelope,
        format: packed.unwrap_or_default(),
        ..Wrapping::default()
    };
    let message = Message::extract(&sample.record, &wrapping).map_err(|error| match error {
        ExtractError::LineNotJson(_) => "a line of the message is not JSON",
        _ => "it is not in the envelope of most samples",
    })?;
    if is_s3_pointer(message.body()) {
        return Err("the message is in S3: take the content of the object as the sample");
    }
    let body = serde_json::from_str(message.body()).map_err(|_| "the message is not JSON")?;
    match (packed, body) {
        (None, body) => Ok(vec![body]),
        (Some(_), Json::Array(records)) => Ok(records),
        (Some(_), _) => Err("the message is not an array, unlike most samples"),
    }
}

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
pub(super) fn envelope(samples: &[Sample]) -> Envelope {
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
