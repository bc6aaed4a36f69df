//! The Lambda function: reads its settings, connects, and handles batches until Lambda ends it.

use std::env;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use aws_lambda_events::event::sqs::SqsBatchResponse;
use bytes::Bytes;
use futures_util::FutureExt as _;
use lambda_runtime::tower::layer::layer_fn;
use lambda_runtime::{Diagnostic, LambdaEvent, LambdaInvocation, Runtime, Service, service_fn};
use sqs_to_postgres::config::{self, LogSettings, Settings};
use sqs_to_postgres::handler::{HandleError, Handler, time_budget};
use sqs_to_postgres::load::{LoadError, TimeBudget};
use sqs_to_postgres::start::{self, StartError};
use sqs_to_postgres::telemetry;
use thiserror::Error;
use tokio::sync::{Mutex, SetOnce};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

/// Why the function ended.
#[derive(Debug, Error)]
enum MainError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the Lambda Runtime API ended: {0}")]
    Runtime(lambda_runtime::Error),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let began = Instant::now();
    telemetry::init(LogSettings::read(variable));
    match run(began).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = match error {
                MainError::Start(_) => "cannot start",
                MainError::Runtime(_) => "cannot go on",
            };
            tracing::error!(reason = %error, "{message}");
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// Asks for the first invocation while it fetches and connects, which is most of a start.
async fn run(began: Instant) -> Result<(), MainError> {
    let settings = Settings::read(variable).map_err(StartError::from)?;
    config::check_runtime(variable).map_err(StartError::from)?;
    let handler = Arc::new(SetOnce::new());
    let starting = start::handler(settings, Arc::default(), began);
    let serving = serve(Arc::clone(&handler));
    tokio::pin!(starting, serving);
    tokio::select! {
        biased;
        started = &mut starting => { _ = handler.set(Mutex::new(started?)); }
        ended = &mut serving => return ended.map_err(MainError::Runtime),
    }
    serving.await.map_err(MainError::Runtime)
}

/// The handler, once the function has started; for one invocation at a time.
type Started = SetOnce<Mutex<Handler>>;

async fn serve(handler: Arc<Started>) -> Result<(), lambda_runtime::Error> {
    let payload = Payload::default();
    let taken = payload.clone();
    let mut is_first = true;
    let service = service_fn(move |event: LambdaEvent<()>| {
        let (handler, payload) = (Arc::clone(&handler), taken.take());
        // Of the highest level, so that every line has it whatever the level.
        let span = tracing::error_span!(
            "invocation",
            request_id = event.context.request_id,
            cold_start = std::mem::take(&mut is_first),
            batch_size = tracing::field::Empty,
        );
        async move { answer(&handler, &payload, time_budget(event.context.deadline)).await }
            .instrument(span)
    });
    let unread = |service| Unread {
        service,
        payload: payload.clone(),
    };
    Runtime::new(service).layer(layer_fn(unread)).run().await
}

/// The payload of the invocation under way, as Lambda sent it.
#[derive(Clone, Default)]
struct Payload(Arc<std::sync::Mutex<Bytes>>);

impl Payload {
    fn replace(&self, payload: Bytes) -> Bytes {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut kept, payload)
    }

    fn take(&self) -> Bytes {
        self.replace(Bytes::new())
    }
}

/// Keeps the payload from `lambda_runtime`, which would read it with an allocation for the path to
/// every value, and could lend nothing of it to the handler.
struct Unread<S> {
    service: S,
    payload: Payload,
}

impl<S: Service<LambdaInvocation>> Service<LambdaInvocation> for Unread<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut invocation: LambdaInvocation) -> S::Future {
        let nothing = Bytes::from_static(b"null");
        self.payload
            .replace(std::mem::replace(&mut invocation.body, nothing));
        self.service.call(invocation)
    }
}

/// An invocation that failed as a whole.
struct Failed {
    error_type: &'static str,
    message: String,
}

/// The runtime prints this.
impl std::fmt::Debug for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

impl From<Failed> for Diagnostic {
    fn from(failed: Failed) -> Self {
        Self {
            error_type: failed.error_type.to_owned(),
            error_message: failed.message,
        }
    }
}

impl From<HandleError> for Failed {
    fn from(error: HandleError) -> Self {
        let error_type = match error {
            HandleError::Payload(_) => "Payload",
            HandleError::Load(LoadError::Database(_)) => "Database",
            HandleError::Load(LoadError::Table(_)) => "Table",
        };
        Self {
            error_type,
            message: error.to_string(),
        }
    }
}

async fn answer(
    handler: &Started,
    payload: &[u8],
    time: TimeBudget,
) -> Result<SqsBatchResponse, Failed> {
    let not_started = |_| Failed {
        error_type: "Start",
        message: "the function has not started in time: see the log for what does not answer"
            .to_owned(),
    };
    let handler = timeout_at(time.answer_by, handler.wait())
        .await
        .map_err(not_started)?;
    let mut handler = handler.lock().await;
    let handled = handler.handle(payload, time);
    match std::panic::AssertUnwindSafe(handled).catch_unwind().await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            handler.disconnect();
            Err(Failed {
                error_type: "Internal",
                message: "our own code failed: see the line with its place in the log".to_owned(),
            })
        }
    }
}
