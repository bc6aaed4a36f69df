//! The handler as a function of Lambda: the Runtime API, and the end of the environment.

mod extension;

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use aws_lambda_events::event::sqs::SqsBatchResponse;
use bytes::Bytes;
use futures_util::FutureExt as _;
use lambda_runtime::tower::layer::layer_fn;
use lambda_runtime::{
    Diagnostic, Error, LambdaEvent, LambdaInvocation, Runtime, Service, service_fn,
};
use sqs_to_postgres::deadline::TimeBudget;
use sqs_to_postgres::handler::{HandleError, Handler};
use sqs_to_postgres::load::LoadError;
use tokio::sync::Mutex;
use tracing::Instrument as _;

/// Handles one invocation after the other until the environment ends.
pub(crate) async fn serve(handler: Handler) -> Result<(), Error> {
    let handler = Arc::new(Mutex::new(handler));
    let end = extension::end_of_environment().await;
    tokio::select! {
        ended = run(Arc::clone(&handler)) => ended,
        () = end => {
            handler.lock().await.close().await;
            Ok(())
        }
    }
}

async fn run(handler: Arc<Mutex<Handler>>) -> Result<(), Error> {
    let payload = Payload::default();
    let taken = payload.clone();
    let mut is_first = true;
    let service = service_fn(move |event: LambdaEvent<()>| {
        let (handler, payload) = (Arc::clone(&handler), taken.replace(Bytes::new()));
        // Of the highest level, so that every line has it whatever the log level.
        let span = tracing::error_span!(
            "invocation",
            request_id = event.context.request_id,
            cold_start = std::mem::take(&mut is_first),
            batch_size = tracing::field::Empty,
        );
        async move {
            answer(
                &handler,
                &payload,
                TimeBudget::until(event.context.deadline),
            )
            .await
        }
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
}

/// Keeps `lambda_runtime` from parsing the payload: it would allocate the path of every value, and the handler could
/// not borrow from it.
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
            HandleError::Prepare(_) => "MaskKey",
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
    handler: &Mutex<Handler>,
    payload: &[u8],
    time: TimeBudget,
) -> Result<SqsBatchResponse, Failed> {
    let mut handler = handler.lock().await;
    let handled = handler.handle(payload, time);
    match std::panic::AssertUnwindSafe(handled).catch_unwind().await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            handler.disconnect();
            Err(Failed {
                error_type: "Internal",
                message: "internal error: see the log line with the location of the panic"
                    .to_owned(),
            })
        }
    }
}
