//! The spans of `drain`, at a collector that decodes them with the types of the protocol itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Content;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Outcome;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::tool::{Ended, Tool};
use testkit::aws::Queue;
use testkit::batch::{login, login_with};
use testkit::port::port_to_listen_on;
use testkit::{Database, assert_contains};

/// A collector, until it is dropped.
struct Collector {
    requests: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    endpoint: String,
    serving: JoinHandle<()>,
}

impl Collector {
    /// That answers every request with this status.
    async fn answering(status: StatusCode) -> Self {
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let take = async move |State(requests): State<Arc<Mutex<Vec<_>>>>,
                               headers: HeaderMap,
                               body: Bytes| {
            requests.lock().unwrap().push((headers, body));
            status
        };
        let routes = Router::new().route("/v1/traces", post(take));
        let routes = routes.with_state(Arc::clone(&requests));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            requests,
            endpoint: format!("http://{address}"),
            serving: tokio::spawn(async { axum::serve(listener, routes).await.unwrap() }),
        }
    }

    /// What it received, with the attributes of the service.
    fn received(&self) -> Vec<(Vec<KeyValue>, Span)> {
        let requests = self.requests.lock().unwrap();
        let decoded = requests.iter().map(|(headers, body)| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            ExportTraceServiceRequest::decode(body.clone()).unwrap()
        });
        let resources = decoded.flat_map(|request| request.resource_spans);
        let spans = resources.flat_map(|spans| {
            let service = spans.resource.unwrap().attributes;
            let scopes = spans.scope_spans.into_iter();
            let spans = scopes.flat_map(|scope| scope.spans);
            spans.map(move |span| (service.clone(), span))
        });
        spans.collect()
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received().into_iter();
        received.map(|(_, span)| span).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> Value {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    let content = found.and_then(|attribute| attribute.value.clone());
    match content {
        Some(AnyValue {
            value: Some(Content::StringValue(text)),
        }) => text.into(),
        Some(AnyValue {
            value: Some(Content::IntValue(number)),
        }) => number.into(),
        _ => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The links of a span, as the log has them.
fn links(span: &Span) -> BTreeSet<String> {
    let links = span.links.iter();
    let links =
        links.map(|link| json!({"trace_id": hex(&link.trace_id), "span_id": hex(&link.span_id)}));
    links.map(|link| link.to_string()).collect()
}

async fn send(queue: &Queue, body: Value, traceparent: Option<&str>, aws: Option<&str>) {
    let mut request = queue.client.send_message().queue_url(&queue.url);
    if let Some(traceparent) = traceparent {
        let value = MessageAttributeValue::builder().data_type("String");
        let value = value.string_value(traceparent).build().unwrap();
        request = request.message_attributes("traceparent", value);
    }
    if let Some(aws) = aws {
        let value = MessageSystemAttributeValue::builder().data_type("String");
        let value = value.string_value(aws).build().unwrap();
        let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
        request = request.message_system_attributes(name, value);
    }
    let sent = request.message_body(body.to_string()).send().await;
    sent.unwrap();
}

/// Drains with a collector at this URL.
async fn drain(queue: &Queue, database: &Database, collector: &str) -> Ended {
    let tool = Tool::on(database).on_aws();
    let tool = tool.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    tool.run(&drain).await
}

/// The line of the only batch.
fn batch_line(drained: &Ended) -> Value {
    let lines = drained.err.lines();
    let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let batch = |line: &Value| line["received"].is_number();
    let mut batches: Vec<Value> = lines.filter(batch).collect();
    assert_eq!(batches.len(), 1, "{}", drained.err);
    batches.remove(0)
}

const SENT_IN: &str = "0af7651916cd43dd8448eb211c80319c";
const SENT_BY: &str = "b7ad6b7169203331";

#[tokio::test]
async fn a_batch_is_a_span_of_a_consumer_with_links_to_the_senders_of_its_messages() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let collector = Collector::answering(StatusCode::OK).await;
    let recorded = format!("00-{SENT_IN}-{SENT_BY}-01");
    let aws = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    send(&queue, login(), Some(&recorded), Some(aws)).await;
    send(&queue, login(), Some(&recorded), None).await;
    send(&queue, login(), None, Some(aws)).await;
    let unrecorded = recorded.replace("-01", "-00");
    send(&queue, login(), Some(&unrecorded), None).await;
    send(&queue, login(), Some("alice@example.com"), None).await;
    send(&queue, login(), None, None).await;

    let drained = drain(&queue, &database, &collector.endpoint).await;

    let drained = drained.exits(0);
    let received = collector.received();
    let [(service, span)] = &received[..] else {
        panic!("{received:?}")
    };
    assert_eq!(attribute(service, "service.name"), "sqs-to-postgres");
    let name = queue.url.rsplit('/').next().unwrap();
    assert_eq!(span.name, format!("process {name}"));
    assert_eq!(span.kind(), SpanKind::Consumer);
    assert!(span.parent_span_id.is_empty());
    assert!(span.start_time_unix_nano < span.end_time_unix_nano);
    for (attribute_name, expected) in [
        ("messaging.system", json!("aws_sqs")),
        ("messaging.operation.type", json!("process")),
        ("messaging.operation.name", json!("process")),
        ("messaging.destination.name", json!(name)),
        ("messaging.batch.message_count", json!(6)),
        ("sqs_to_postgres.messages_failed", json!(0)),
        ("error.type", Value::Null),
    ] {
        let found = attribute(&span.attributes, attribute_name);
        assert_eq!(found, expected, "{attribute_name}");
    }
    assert_eq!(
        span.status.clone().unwrap_or_default().code(),
        Outcome::Unset
    );
    let expected = [
        json!({"trace_id": SENT_IN, "span_id": SENT_BY}),
        json!({"trace_id": "5759e988bd862e3fe1be46a994272793", "span_id": "53995c3f42cd8ad8"}),
    ];
    assert_eq!(links(span), expected.map(|link| link.to_string()).into());
    let line = batch_line(&drained);
    assert_eq!(line["trace_id"], hex(&span.trace_id));
    assert_eq!(line["span_id"], hex(&span.span_id));
    let logged: Vec<Value> = serde_json::from_str(line["links"].as_str().unwrap()).unwrap();
    let logged: BTreeSet<_> = logged.iter().map(Value::to_string).collect();
    assert_eq!(logged, links(span));
}

#[tokio::test]
async fn a_span_says_how_many_messages_failed_and_nothing_of_their_content() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let collector = Collector::answering(StatusCode::OK).await;
    let bad = login_with("app_version", json!("alice@example.com"));
    send(&queue, bad, Some("alice@example.com"), None).await;
    send(&queue, login(), None, None).await;

    drain(&queue, &database, &collector.endpoint).await.exits(1);

    let spans = collector.spans();
    let [span] = &spans[..] else {
        panic!("{spans:?}")
    };
    let status = span.status.clone().unwrap();
    assert_eq!(status.code(), Outcome::Error);
    assert_eq!(status.message, "1 message not stored");
    for (name, expected) in [
        ("error.type", json!("MessagesFailed")),
        ("sqs_to_postgres.messages_failed", json!(1)),
    ] {
        assert_eq!(attribute(&span.attributes, name), expected, "{name}");
    }
    let requests = collector.requests.lock().unwrap();
    let text: Vec<u8> = requests
        .iter()
        .flat_map(|(_, body)| body.to_vec())
        .collect();
    let text = String::from_utf8_lossy(&text);
    for value in ["alice", login()["user_id"].as_str().unwrap()] {
        assert!(!text.contains(value), "{value}");
    }
}

#[tokio::test]
async fn the_span_of_a_batch_that_failed_as_a_whole_says_why() {
    let (queue, database) = (Queue::new().await, Database::new().await);
    let collector = Collector::answering(StatusCode::OK).await;
    send(&queue, login(), None, None).await;

    let drained = drain(&queue, &database, &collector.endpoint).await;

    let drained = drained.exits(2);
    let spans = collector.spans();
    let [span] = &spans[..] else {
        panic!("{spans:?}")
    };
    let status = span.status.clone().unwrap();
    assert_eq!(status.code(), Outcome::Error);
    assert_eq!(attribute(&span.attributes, "error.type"), "Table");
    assert_eq!(batch_line(&drained)["reason"], status.message);
}

#[tokio::test]
async fn the_headers_and_the_name_of_the_service_are_those_of_the_environment() {
    let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
    let collector = Collector::answering(StatusCode::OK).await;
    send(&queue, login(), None, None).await;
    let traces = format!("{}/v1/traces", collector.endpoint);
    let tool = Tool::on(&database).on_aws();
    let tool = tool
        .set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces)
        .set("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
        .set("OTEL_SERVICE_NAME", "logins")
        .set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");

    let drain = format!("drain --wait-time-seconds 1 --queue-url {}", queue.url);
    let drained = tool.run(&drain).await.exits(0);

    let received = collector.received();
    assert_eq!(attribute(&received[0].0, "service.name"), "logins");
    assert_eq!(collector.requests.lock().unwrap()[0].0["api-key"], "secret");
    assert_contains(
        &drained.err,
        "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
    );
    assert!(!drained.err.contains("api-key"), "{}", drained.err);
}

#[tokio::test]
async fn a_collector_that_refuses_or_is_down_or_silent_fails_no_drain() {
    let refusing = Collector::answering(StatusCode::UNAUTHORIZED).await;
    let down = format!("http://127.0.0.1:{}", port_to_listen_on());
    let never_accepts = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", never_accepts.local_addr().unwrap());
    let cannot = "spans cannot be sent to the collector";
    for (collector, said) in [
        (refusing.endpoint.as_str(), Some("it answered 401")),
        (down.as_str(), Some(cannot)),
        (silent.as_str(), None),
        ("not a URL", Some("no spans are sent")),
    ] {
        let (queue, database) = (Queue::new().await, Database::with_user_logins().await);
        send(&queue, login(), None, None).await;
        let drained = drain(&queue, &database, collector).await.exits(0);
        assert_contains(&drained.out, "stored 1 message in ");
        assert_eq!(database.count("user_logins").await, 1, "{collector}");
        if let Some(said) = said {
            assert_contains(&drained.err, said);
        }
        assert!(drained.err.matches(cannot).count() <= 1, "{}", drained.err);
    }
}
