//! The Lambda function: reads its settings, connects, and handles batches until Lambda ends it.

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use bytes::Bytes;
use futures_util::FutureExt as _;
use lambda_runtime::tower::layer::layer_fn;
use lambda_runtime::{Diagnostic, LambdaEvent, LambdaInvocation, Runtime, Service, service_fn};
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::config::{self, ConfigError, LogSettings, MaskKeySettings, Settings};
use sqs_to_postgres::database::{Database, DatabaseError, Remedy};
use sqs_to_postgres::handler::{HandleError, Handler, time_budget};
use sqs_to_postgres::load::{LoadError, Loader, TimeBudget};
use sqs_to_postgres::mask::{MaskKey, MaskKeyError};
use sqs_to_postgres::pipeline::{Pipeline, PipelineError, Problem};
use sqs_to_postgres::queue::Queue;
use sqs_to_postgres::secret::{SecretError, Secrets, Stage, parse_mask_key};
use sqs_to_postgres::telemetry::{self, Metrics};
use sqs_to_postgres::transform::Transformer;
use thiserror::Error;
use tokio::sync::{Mutex, SetOnce};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

/// The mapping that is used unless `PIPELINE_FILE` names another.
const SHIPPED_PIPELINE: &str = include_str!("../pipeline.toml");

/// A server that is silent may not use up the ten seconds that Lambda gives a function to start.
const FIRST_CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Why the function cannot start.
#[derive(Debug, Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    MaskKey(#[from] MaskKeyError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
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
            eprintln!("sqs-to-postgres cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// Asks for the first invocation while it fetches and connects, which is most of a start.
async fn run(began: Instant) -> Result<(), StartError> {
    let settings = Settings::read(variable)?;
    config::check_runtime(variable)?;
    let handler = Arc::new(SetOnce::new());
    let starting = start(settings, began);
    let serving = serve(Arc::clone(&handler));
    tokio::pin!(starting, serving);
    tokio::select! {
        biased;
        started = &mut starting => { _ = handler.set(Mutex::new(started?)); }
        ended = &mut serving => return ended.map_err(StartError::Runtime),
    }
    serving.await.map_err(StartError::Runtime)
}

/// Fetches and connects at the same time. What needs neither is checked before it waits for the first
/// time, so that a mapping that cannot work never sees a message.
async fn start(settings: Settings, began: Instant) -> Result<Handler, StartError> {
    let (file, pipeline) = read_pipeline(settings.pipeline_file.as_deref())?;
    let aws = Arc::new(Aws::default());
    let secrets = Arc::new(Secrets::new(Arc::clone(&aws)));
    let mut database = Database::new(settings.database, settings.secret_ttl, Arc::clone(&secrets))?;
    let transformer = async {
        let key = mask_key(settings.mask_key, &secrets).await?;
        Ok(Transformer::new(&file, &pipeline, key.as_ref())?)
    };
    let (transformer, ()) = tokio::try_join!(transformer, connect(&mut database))?;
    let pipeline = Arc::new(pipeline);
    let loader = Loader::new(Arc::clone(&pipeline), database);
    let queue = Queue::new(settings.queue, aws);
    let metrics = Metrics::new(settings.function_name, &pipeline.table.to_string());
    // Until now, not until the first answer: a batch may come minutes after the start.
    metrics.cold_start(began.elapsed());
    Ok(Handler::new(pipeline, transformer, loader, queue, metrics))
}

fn read_pipeline(file: Option<&Path>) -> Result<(String, Pipeline), PipelineError> {
    let Some(path) = file else {
        return Ok((
            "pipeline.toml".to_owned(),
            Pipeline::parse("pipeline.toml", SHIPPED_PIPELINE)?,
        ));
    };
    let file = path.display().to_string();
    let unreadable = |error: std::io::Error| PipelineError {
        file: file.clone(),
        column: None,
        problem: Problem::Unreadable(error.to_string()),
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let pipeline = Pipeline::parse(&file, &text)?;
    Ok((file, pipeline))
}

async fn mask_key(
    settings: Option<MaskKeySettings>,
    secrets: &Secrets,
) -> Result<Option<MaskKey>, StartError> {
    use secrecy::ExposeSecret as _;
    let text = match settings {
        None => return Ok(None),
        Some(MaskKeySettings::Key(text)) => text,
        Some(MaskKeySettings::Secret(id)) => {
            parse_mask_key(&id, &secrets.fetch(&id, Stage::Current).await?)?
        }
    };
    Ok(Some(MaskKey::from_base64(text.expose_secret())?))
}

/// A database that is away may be back before the first batch, so that only an error that a person
/// has to mend stops the start.
async fn connect(database: &mut Database) -> Result<(), StartError> {
    match database
        .client(Instant::now() + FIRST_CONNECT_TIMEOUT)
        .await
    {
        Err(error) if error.remedy() == Remedy::GiveUp => Err(error.into()),
        Err(error) => {
            tracing::warn!(reason = %error, "not connected yet");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
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
        Err(_) => Err(Failed {
            error_type: "Internal",
            message: "our own code failed: see the line with its place in the log".to_owned(),
        }),
    }
}
