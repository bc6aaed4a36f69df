//! Where messages and batches are in traces. The sender of a message chooses its headers, so nothing but ids of the
//! valid form goes into the log or to a collector.

use std::collections::BTreeSet;

use mapping::Record;
use serde::{Serialize, Serializer};

/// The message attribute that carries the context of a sender, as OpenTelemetry propagates it.
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header> (2026-11).
pub const TRACEPARENT: &str = "traceparent";

/// So many senders are named in the line of a batch, as in a span of OpenTelemetry.
/// Source: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#span-limits> (2026-11).
const MAX_LINKS: usize = 128;

/// A span of a trace that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceContext {
    /// The trace, never 0.
    pub trace_id: u128,
    /// The span within it, never 0.
    pub span_id: u64,
}

impl TraceContext {
    /// The span in which a message was sent: of its attribute [`TRACEPARENT`], or else of SQS's `AWSTraceHeader`. `None`
    /// if its trace is not recorded, or its headers are malformed.
    pub fn of_sender(traceparent: Option<&str>, aws_trace_header: Option<&str>) -> Option<Self> {
        let own = traceparent.and_then(Self::of_traceparent);
        own.or_else(|| aws_trace_header.and_then(Self::of_aws_header))
    }

    /// `<version>-<trace id>-<span id>-<flags>`, hexadecimal. The lowest flag says that the trace is recorded. Later
    /// versions may add parts.
    /// Source: <https://www.w3.org/TR/trace-context/#traceparent-header> (2026-11).
    fn of_traceparent(header: &str) -> Option<Self> {
        let parts: Vec<_> = header.splitn(5, '-').collect();
        let (version, trace_id, span_id, flags) = match parts[..] {
            [version, trace_id, span_id, flags] => (version, trace_id, span_id, flags),
            [version, trace_id, span_id, flags, _] if version != "00" => {
                (version, trace_id, span_id, flags)
            }
            _ => return None,
        };
        let is_valid = is_hex(version, 2) && version != "ff" && is_hex(flags, 2);
        let is_lower = !header.bytes().any(|byte| byte.is_ascii_uppercase());
        let is_recorded = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        let context = Self::of_hex(trace_id, span_id)?;
        (is_valid && is_lower && is_recorded).then_some(context)
    }

    /// `Root=…;Parent=<16 digits>;Sampled=…`, hexadecimal; the parts of the root are the trace id. `Sampled=0` says that
    /// the trace is not recorded.
    /// Source: <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader> (2026-11).
    pub fn of_aws_header(header: &str) -> Option<Self> {
        let value = |name| {
            let mut parts = header.split(';').map(str::trim);
            parts.find_map(|part: &str| part.strip_prefix(name))
        };
        let trace_id = root(header)?.strip_prefix("Root=1-")?.replace('-', "");
        let context = Self::of_hex(&trace_id, value("Parent=")?)?;
        (value("Sampled=") != Some("0")).then_some(context)
    }

    fn of_hex(trace_id: &str, span_id: &str) -> Option<Self> {
        if !is_hex(trace_id, 32) || !is_hex(span_id, 16) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace_id, 16).ok()?;
        let span_id = u64::from_str_radix(span_id, 16).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id })
    }
}

/// In hexadecimal, as log collectors expect them.
/// Source: <https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/> (2026-11).
impl TraceContext {
    fn trace_id_text(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    fn span_id_text(self) -> String {
        format!("{:016x}", self.span_id)
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([
            ("trace_id", self.trace_id_text()),
            ("span_id", self.span_id_text()),
        ])
    }
}

/// The traces of a batch.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct BatchTrace {
    /// The span in which the batch is handled.
    #[serde(flatten)]
    span: Option<TraceContext>,
    /// The spans in which its messages were sent.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    links: BTreeSet<TraceContext>,
    #[serde(skip_serializing_if = "is_zero")]
    links_dropped: usize,
}

impl BatchTrace {
    pub(crate) fn new(span: Option<TraceContext>, records: &[Record<'_>]) -> Self {
        let senders = records.iter().filter_map(|record| {
            TraceContext::of_sender(record.attribute(TRACEPARENT), record.aws_trace_header())
        });
        let mut links: BTreeSet<_> = senders.collect();
        let links_dropped = links.len().saturating_sub(MAX_LINKS);
        for _ in 0..links_dropped {
            links.pop_last();
        }
        Self {
            span,
            links,
            links_dropped,
        }
    }

    /// The ids of the span, and the links as JSON: a field of `tracing` holds no list.
    pub(super) fn fields(&self) -> (Option<String>, Option<String>, Option<String>) {
        let trace_id = self.span.map(TraceContext::trace_id_text);
        let span_id = self.span.map(TraceContext::span_id_text);
        let links = (!self.links.is_empty()).then(|| serde_json::to_string(&self.links));
        (trace_id, span_id, links.and_then(Result::ok))
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// `Root=1-<seconds since 1970, 8 digits>-<24 digits>`, hexadecimal, if the header has one.
/// Source: <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader> (2026-11).
pub(super) fn root(header: &str) -> Option<&str> {
    header.split(';').map(str::trim).find(|part| {
        let parts: Vec<_> = part.split('-').collect();
        matches!(parts[..], ["Root=1", seconds, unique] if is_hex(seconds, 8) && is_hex(unique, 24))
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";
    const SENT: TraceContext = TraceContext {
        trace_id: 0x5759_e988_bd86_2e3f_e1be_46a9_9427_2793,
        span_id: 0x5399_5c3f_42cd_8ad8,
    };

    #[test]
    fn nothing_but_a_valid_root_is_kept() {
        for other in [
            "Parent=53995c3f42cd8ad8;Sampled=?;Lineage=1:a87bd80c:0",
            "userId=alice@example.com",
            "alice",
            "Root=alice",
            "Root=1-5759e988",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "",
        ] {
            assert_eq!(root(other), None, "{other}");
            for header in [format!("{ROOT};{other}"), format!("{other}; {ROOT}")] {
                assert_eq!(root(&header), Some(ROOT), "{header}");
            }
        }
    }

    #[test]
    fn the_header_of_x_ray_names_the_sender_if_its_trace_is_recorded() {
        let parent = "Parent=53995c3f42cd8ad8";
        for header in [
            format!("{ROOT};{parent};Sampled=1"),
            format!("{parent}; {ROOT}; Sampled=?;Lineage=1:a87bd80c:0"),
            format!("{ROOT};{parent}"),
        ] {
            let sent = TraceContext::of_sender(None, Some(&header));
            assert_eq!(sent, Some(SENT), "{header}");
        }
        for header in [
            format!("{ROOT};{parent};Sampled=0"),
            format!("{ROOT};Sampled=1"),
            format!("{ROOT};Parent=0000000000000000;Sampled=1"),
            format!("{ROOT};Parent=+3995c3f42cd8ad8;Sampled=1"),
            format!("{parent};Sampled=1"),
        ] {
            let sent = TraceContext::of_sender(None, Some(&header));
            assert_eq!(sent, None, "{header}");
        }
    }

    #[test]
    fn a_traceparent_names_the_sender_if_its_trace_is_recorded() {
        const IDS: &str = "5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8";
        for header in [
            format!("00-{IDS}-01"),
            format!("00-{IDS}-03"),
            format!("cc-{IDS}-01-what-comes-later"),
        ] {
            let sent = TraceContext::of_sender(Some(&header), None);
            assert_eq!(sent, Some(SENT), "{header}");
        }
        for header in [
            format!("00-{IDS}-00"),
            format!("00-{IDS}-01-more"),
            format!("ff-{IDS}-01"),
            format!("0-{IDS}-01"),
            format!("00-{IDS}"),
            format!("00-{}-01", IDS.to_uppercase()),
            "00-00000000000000000000000000000000-53995c3f42cd8ad8-01".to_owned(),
            "alice@example.com".to_owned(),
            String::new(),
        ] {
            let sent = TraceContext::of_sender(Some(&header), None);
            assert_eq!(sent, None, "{header}");
        }
    }

    #[test]
    fn a_traceparent_goes_before_the_header_of_x_ray_and_a_malformed_one_does_not() {
        let aws = format!("{ROOT};Parent=53995c3f42cd8ad8;Sampled=1");
        let other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let sent = TraceContext::of_sender(Some(other), Some(&aws)).unwrap();
        assert_eq!(sent.span_id, 0xb7ad_6b71_6920_3331);
        assert_eq!(
            TraceContext::of_sender(Some("alice"), Some(&aws)),
            Some(SENT)
        );
    }
}
