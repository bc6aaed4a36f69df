//! A span for each batch, with links to the spans in which its messages were sent, for a collector of OpenTelemetry.
//!
//! All of it happens on a thread of the SDK: a collector that does not answer delays no batch, and the end by at most
//! [`FLUSH_TIME`].
//! Sources: <https://opentelemetry.io/docs/specs/semconv/messaging/sqs/>,
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/> (2026-11).

use std::collections::BTreeSet;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, Key, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use sqs_to_postgres::causes::causes;
use sqs_to_postgres::handler::HandleError;
use sqs_to_postgres::telemetry::trace::TraceContext;
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::cli::output::counted;

/// The service, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` names another.
const SERVICE: &str = "sqs-to-postgres";

/// How long one request to the collector may take.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// How long the last spans may take.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Where spans go, if the environment names a collector.
pub(super) enum Traces {
    Off,
    On {
        provider: SdkTracerProvider,
        tracer: SdkTracer,
        queue: String,
    },
}

impl Traces {
    /// For batches of this queue. A setting that cannot work is logged, and no spans are sent: messages matter more.
    pub(super) fn start(queue: &str) -> Self {
        if !is_wanted(variable) {
            return Self::Off;
        }
        let protocol = variable_of("PROTOCOL", variable);
        if protocol.is_some_and(|protocol| protocol != PROTOCOL) {
            tracing::warn!(
                "spans go to the collector as {PROTOCOL}, the only protocol of this program: if it listens for another, set OTEL_EXPORTER_OTLP_PROTOCOL={PROTOCOL} and the port for it"
            );
        }
        match provider() {
            Ok(provider) => {
                let scope = InstrumentationScope::builder(SERVICE)
                    .with_version(env!("CARGO_PKG_VERSION"))
                    .build();
                Self::On {
                    tracer: provider.tracer_with_scope(scope),
                    provider,
                    queue: queue.to_owned(),
                }
            }
            Err(NoExporter) => {
                tracing::warn!(
                    "no spans are sent: check that OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is a URL"
                );
                Self::Off
            }
        }
    }

    /// Starts the span of a batch.
    pub(super) fn batch(&self, messages: usize, senders: &BTreeSet<TraceContext>) -> BatchSpan {
        let Self::On { tracer, queue, .. } = self else {
            return BatchSpan(None);
        };
        let span = tracer
            .span_builder(format!("process {queue}"))
            .with_kind(SpanKind::Consumer)
            .with_attributes([
                KeyValue::new("messaging.system", "aws_sqs"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.destination.name", queue.clone()),
                KeyValue::new("messaging.batch.message_count", count(messages)),
            ])
            .with_links(senders.iter().map(link).collect());
        BatchSpan(Some(tracer.build_with_context(span, &Context::new())))
    }

    /// Sends the last spans.
    pub(super) async fn end(self) {
        let Self::On { provider, .. } = self else {
            return;
        };
        let ending = spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIME));
        match ending.await {
            Ok(Ok(())) => {}
            // An error of a request has been logged.
            Ok(Err(_)) | Err(_) => tracing::debug!("the last spans were not sent"),
        }
    }
}

/// The span of a batch, if spans are sent.
pub(super) struct BatchSpan(Option<Span>);

impl BatchSpan {
    /// Where it is in its trace, if the trace is recorded.
    pub(super) fn context(&self) -> Option<TraceContext> {
        let context = self.0.as_ref()?.span_context();
        context.is_sampled().then(|| TraceContext {
            trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(context.span_id().to_bytes()),
        })
    }

    /// The batch was handled, and so many of its messages remain in the queue.
    pub(super) fn handled(mut self, failed: usize) {
        if failed > 0 {
            let reason = format!("{} not stored", counted(failed, "message"));
            self.fail("MessagesFailed", reason);
        }
        self.set(KeyValue::new(
            "sqs_to_postgres.messages_failed",
            count(failed),
        ));
    }

    /// Nothing of the batch is acknowledged.
    pub(super) fn failed(mut self, error: &HandleError) {
        self.fail(error.kind(), error.to_string());
    }

    /// An end was requested before the batch was stored.
    pub(super) fn released(mut self) {
        self.fail("Interrupted", "released to the queue".to_owned());
    }

    fn fail(&mut self, kind: &'static str, reason: String) {
        self.set(KeyValue::new("error.type", kind));
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(reason));
        }
    }

    fn set(&mut self, attribute: KeyValue) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(attribute);
        }
    }
}

fn count(messages: usize) -> i64 {
    i64::try_from(messages).unwrap_or(i64::MAX)
}

fn link(sender: &TraceContext) -> Link {
    Link::with_context(SpanContext::new(
        TraceId::from(sender.trace_id),
        SpanId::from(sender.span_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    ))
}

const PROTOCOL: &str = "http/protobuf";

/// An empty variable counts as none.
/// Source: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/> (2026-11).
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A setting of the exporter: the one for traces, or else the one for all signals.
fn variable_of(name: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
        .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
}

/// Whether a collector is named, and nothing turns traces off. The collector on the same machine, which OpenTelemetry
/// expects by default, must be named too: most machines have none.
fn is_wanted(variable: impl Fn(&str) -> Option<String> + Copy) -> bool {
    let is_disabled = |value: String| value.eq_ignore_ascii_case("true");
    let has_exporter = variable("OTEL_TRACES_EXPORTER").is_none_or(|name| name == "otlp");
    variable_of("ENDPOINT", variable).is_some()
        && has_exporter
        && !variable("OTEL_SDK_DISABLED").is_some_and(is_disabled)
}

/// The error of the exporter quotes the URL, which may contain a password.
struct NoExporter;

fn provider() -> Result<SdkTracerProvider, NoExporter> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Collector::new())
        .build()
        .map_err(|_| NoExporter)?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let named = Resource::builder().with_attribute(version.clone()).build();
    let name = named.get(&Key::from_static_str("service.name"));
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let resource = match is_named {
        true => named,
        false => Resource::builder()
            .with_service_name(SERVICE)
            .with_attribute(version)
            .build(),
    };
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build())
}

/// Sends requests of the exporter, which calls it on a thread without a runtime.
#[derive(Debug)]
struct Collector {
    /// Made and dropped on that thread, because a runtime must not be dropped within another.
    runtime: OnceLock<io::Result<Runtime>>,
    connector: Connector,
    /// Whether the last request failed: a line of the log for each would say nothing new.
    is_down: AtomicBool,
}

impl Collector {
    fn new() -> Self {
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build();
        Self {
            runtime: OnceLock::new(),
            connector,
            is_down: AtomicBool::new(false),
        }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = HttpRequest::try_from(request.map(SdkBody::from))?;
        let answer = self.connector.call(request).await?;
        let status = answer.status().as_u16();
        Ok(Response::builder().status(status).body(Bytes::new())?)
    }

    fn log(&self, failure: Option<String>) {
        let was_down = self.is_down.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(reason) if !was_down => tracing::warn!(
                reason,
                "spans cannot be sent to the collector: they are dropped, batches are not affected"
            ),
            None if was_down => tracing::info!("spans can be sent to the collector again"),
            Some(_) | None => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let made = || Builder::new_current_thread().enable_all().build();
        let runtime = self.runtime.get_or_init(made).as_ref();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let sending = async { timeout(REQUEST_TIME, self.send(request)).await };
        let answer = runtime.block_on(sending);
        let failure = match &answer {
            Ok(Ok(answer)) if answer.status().is_success() => None,
            Ok(Ok(answer)) => Some(format!("it answered {}", answer.status().as_u16())),
            Ok(Err(error)) => Some(causes(error.as_ref())),
            Err(_) => Some("no response in time".to_owned()),
        };
        self.log(failure);
        answer?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sent_only_to_a_collector_that_is_named_and_not_turned_off() {
        let wanted = |set: &[(&str, &str)]| {
            is_wanted(|name| {
                let found = set.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        let of_traces = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://localhost:4318",
        );
        assert!(!wanted(&[]));
        assert!(wanted(&[endpoint]));
        assert!(wanted(&[of_traces]));
        assert!(wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "otlp")]));
        assert!(wanted(&[endpoint, ("OTEL_SDK_DISABLED", "false")]));
        assert!(!wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
        assert!(!wanted(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]));
    }
}
