//! The Runtime API as Lambda serves it to one environment.
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc, watch};

/// The id that the Runtime API gives the function as an extension.
const EXTENSION: &str = "extension";

/// The header by which an answer is recognised as that of the invocation under way.
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";

/// The function's answer to an invocation.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The response.
    Answer(Value),
    /// The error report.
    Error(Value),
}

impl Outcome {
    /// The ids in the answer, in order.
    pub fn failed_ids(&self) -> Vec<String> {
        let Self::Answer(answer) = self else {
            panic!("no answer: {self:?}")
        };
        let failures = answer["batchItemFailures"].as_array().unwrap();
        failures
            .iter()
            .map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Every message is acknowledged.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        assert_eq!(self.failed_ids(), Vec::<String>::new());
    }

    /// The report of an invocation that failed as a whole.
    pub fn error(&self) -> String {
        let Self::Error(error) = self else {
            panic!("no error: {self:?}")
        };
        error.to_string()
    }
}

/// What the function is to be invoked with.
pub(crate) struct Invocation {
    pub payload: String,
    /// The time from its delivery until the deadline.
    pub time: Duration,
    /// What the answer is answered with: 410 if Lambda has ended the invocation meanwhile.
    pub accepted: StatusCode,
}

/// The requests of the function to the Runtime API, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To register as an extension, with this number of kinds of events.
    Extension(usize),
    /// For the extension's next event.
    NextEvent,
    /// For the next invocation.
    Next,
}

/// The test's side of a Runtime API.
pub(crate) struct Served {
    pub address: SocketAddr,
    pub invocations: mpsc::UnboundedSender<Invocation>,
    pub outcomes: mpsc::UnboundedReceiver<Outcome>,
    pub asked: watch::Receiver<Vec<Asked>>,
}

/// Serves one environment until the test ends.
pub(crate) async fn serve(has_extensions: bool) -> Served {
    let (invocations, receiver) = mpsc::unbounded_channel();
    let (sender, outcomes) = mpsc::unbounded_channel();
    let (asking, asked) = watch::channel(Vec::new());
    let api = RuntimeApi {
        invocations: Mutex::new(receiver),
        outcomes: sender,
        asked: asking,
        delivered: AtomicU64::new(0),
        accepted: AtomicU16::new(0),
    };
    let extensions = if has_extensions {
        Router::new()
            .route("/2020-01-01/extension/register", post(register))
            .route("/2020-01-01/extension/event/next", get(next_event))
    } else {
        Router::new()
    };
    let routes = extensions
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route(
            "/2018-06-01/runtime/invocation/{id}/response",
            post(response),
        )
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .with_state(Arc::new(api));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    Served {
        address,
        invocations,
        outcomes,
        asked,
    }
}

struct RuntimeApi {
    invocations: Mutex<mpsc::UnboundedReceiver<Invocation>>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    asked: watch::Sender<Vec<Asked>>,
    /// The number of invocations so far.
    delivered: AtomicU64,
    /// What the next answer is answered with.
    accepted: AtomicU16,
}

impl RuntimeApi {
    fn invocation_id(&self) -> String {
        format!("invocation-{}", self.delivered.load(Ordering::SeqCst))
    }

    fn accepted(&self) -> StatusCode {
        StatusCode::from_u16(self.accepted.load(Ordering::SeqCst)).unwrap()
    }

    fn note(&self, asked: Asked) {
        self.asked.send_modify(|all| all.push(asked));
    }
}

async fn register(
    State(api): State<Arc<RuntimeApi>>,
    body: String,
) -> ([(&'static str, &'static str); 1], &'static str) {
    let body: Value = serde_json::from_str(&body).unwrap();
    api.note(Asked::Extension(body["events"].as_array().unwrap().len()));
    ([("lambda-extension-identifier", EXTENSION)], "{}")
}

/// There are no events for an extension without subscriptions.
async fn next_event(State(api): State<Arc<RuntimeApi>>, headers: HeaderMap) {
    assert_eq!(headers["lambda-extension-identifier"], EXTENSION);
    api.note(Asked::NextEvent);
    std::future::pending().await
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> Result<(HeaderMap, String), StatusCode> {
    api.note(Asked::Next);
    let invocation = api
        .invocations
        .lock()
        .await
        .recv()
        .await
        .ok_or(StatusCode::GONE)?;
    let accepted = invocation.accepted.as_u16();
    api.accepted.store(accepted, Ordering::SeqCst);
    let number = api.delivered.fetch_add(1, Ordering::SeqCst) + 1;
    let mut headers = HeaderMap::new();
    headers.insert(INVOCATION_ID, api.invocation_id().parse().unwrap());
    let trace = format!(
        "Root=1-5759e988-{number:024x};Parent=53995c3f42cd8ad8;Sampled=0;Lineage=1:fc3b4ff1:0"
    );
    headers.insert("lambda-runtime-trace-id", trace.parse().unwrap());
    headers.insert(
        "lambda-runtime-aws-request-id",
        "8476a536-e9f4-11e8-9739-2dfe598c3fcd".parse().unwrap(),
    );
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + invocation.time;
    headers.insert(
        "lambda-runtime-deadline-ms",
        deadline.as_millis().to_string().parse().unwrap(),
    );
    headers.insert(
        "lambda-runtime-invoked-function-arn",
        "arn:aws:lambda:eu-west-1:123456789012:function:sqs-to-postgres"
            .parse()
            .unwrap(),
    );
    Ok((headers, invocation.payload))
}

async fn response(
    State(api): State<Arc<RuntimeApi>>,
    Path(_): Path<String>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    assert_eq!(headers[INVOCATION_ID], api.invocation_id());
    api.outcomes
        .send(Outcome::Answer(serde_json::from_str(&body).unwrap()))
        .unwrap();
    api.accepted()
}

async fn error(
    State(api): State<Arc<RuntimeApi>>,
    Path(_): Path<String>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    assert_eq!(headers[INVOCATION_ID], api.invocation_id());
    api.outcomes
        .send(Outcome::Error(serde_json::from_str(&body).unwrap()))
        .unwrap();
    api.accepted()
}
