//! The Runtime API as Lambda serves it to one environment.
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::http::{self, Answer, Request};

/// The id that the Runtime API gives the function as an extension.
const EXTENSION: &str = "extension";

const REQUEST_ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

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
    /// The status with which the answer is answered: 410 if Lambda has ended the invocation meanwhile.
    pub accepted: u16,
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
    pub invocations: std::sync::mpsc::Sender<Invocation>,
    pub outcomes: mpsc::UnboundedReceiver<Outcome>,
    pub asked: watch::Receiver<Vec<Asked>>,
    pub handled: mpsc::UnboundedReceiver<Duration>,
}

/// Serves one environment.
pub(crate) fn serve(has_extensions: bool) -> Served {
    let (invocations, receiver) = std::sync::mpsc::channel();
    let (sender, outcomes) = mpsc::unbounded_channel();
    let (asking, asked) = watch::channel(Vec::new());
    let (handling, handled) = mpsc::unbounded_channel();
    let api = RuntimeApi {
        invocations: Mutex::new(receiver),
        outcomes: sender,
        asked: asking,
        handled: handling,
        current: Mutex::default(),
        has_extensions,
    };
    let api = Arc::new(api);
    let address = http::serve(move |request| api.answer(request));
    Served {
        address,
        invocations,
        outcomes,
        asked,
        handled,
    }
}

struct RuntimeApi {
    invocations: Mutex<std::sync::mpsc::Receiver<Invocation>>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    asked: watch::Sender<Vec<Asked>>,
    handled: mpsc::UnboundedSender<Duration>,
    current: Mutex<Current>,
    has_extensions: bool,
}

/// The invocation under way.
#[derive(Default)]
struct Current {
    /// The number of invocations so far.
    number: u64,
    accepted: u16,
    delivered: Option<Instant>,
}

impl RuntimeApi {
    fn answer(&self, request: &Request) -> Option<Answer> {
        match request.path() {
            "/2020-01-01/extension/register" if self.has_extensions => {
                let events = request.json()["events"].as_array().unwrap().len();
                self.note(Asked::Extension(events));
                Some(Answer::new(200, "{}").header("lambda-extension-identifier", EXTENSION))
            }
            // There are no events for an extension without subscriptions.
            "/2020-01-01/extension/event/next" if self.has_extensions => {
                let id = request.header("lambda-extension-identifier");
                assert_eq!(id, Some(EXTENSION));
                self.note(Asked::NextEvent);
                None
            }
            "/2018-06-01/runtime/invocation/next" => self.next(),
            path if path.ends_with("/response") => {
                Some(self.take(request, Outcome::Answer(request.json())))
            }
            path if path.ends_with("/error") => {
                Some(self.take(request, Outcome::Error(request.json())))
            }
            _ => Some(Answer::new(404, "")),
        }
    }

    fn note(&self, asked: Asked) {
        self.asked.send_modify(|all| all.push(asked));
    }

    /// `None` if the test ends before it invokes the function again.
    fn next(&self) -> Option<Answer> {
        if let Some(delivered) = self.current.lock().unwrap().delivered.take() {
            // Nobody waits for it at the end of a test.
            self.handled.send(delivered.elapsed()).ok();
        }
        self.note(Asked::Next);
        let invocation = self.invocations.lock().unwrap().recv().ok()?;
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + invocation.time;
        let mut current = self.current.lock().unwrap();
        let number = current.number + 1;
        *current = Current {
            number,
            accepted: invocation.accepted,
            delivered: Some(Instant::now()),
        };
        let trace = format!(
            "Root=1-5759e988-{number:024x};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:fc3b4ff1:0"
        );
        let function = "arn:aws:lambda:eu-west-1:123456789012:function:sqs-to-postgres";
        let answer = Answer::new(200, invocation.payload)
            .header(INVOCATION_ID, invocation_id(number))
            .header("lambda-runtime-trace-id", trace)
            .header("lambda-runtime-aws-request-id", REQUEST_ID)
            .header("lambda-runtime-deadline-ms", deadline.as_millis())
            .header("lambda-runtime-invoked-function-arn", function);
        Some(answer)
    }

    fn take(&self, request: &Request, outcome: Outcome) -> Answer {
        let current = self.current.lock().unwrap();
        let expected = invocation_id(current.number);
        assert_eq!(request.header(INVOCATION_ID), Some(expected.as_str()));
        self.outcomes.send(outcome).unwrap();
        Answer::new(current.accepted, "")
    }
}

fn invocation_id(number: u64) -> String {
    format!("invocation-{number}")
}
