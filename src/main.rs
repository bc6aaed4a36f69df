//! The Lambda function: reads its settings, connects, and handles batches until Lambda ends it.

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use futures_util::FutureExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent, Runtime, service_fn};
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::config::{self, ConfigError, LogSettings, MaskKeySettings, Settings};
use sqs_to_postgres::database::{Database, DatabaseError, Remedy};
use sqs_to_postgres::extract::Event;
use sqs_to_postgres::handler::{Handler, time_budget};
use sqs_to_postgres::load::{LoadError, Loader};
use sqs_to_postgres::mask::{MaskKey, MaskKeyError};
use sqs_to_postgres::pipeline::{Pipeline, PipelineError, Problem};
use sqs_to_postgres::queue::Queue;
use sqs_to_postgres::secret::{SecretError, Secrets, Stage, parse_mask_key};
use sqs_to_postgres::telemetry::{self, Metrics};
use sqs_to_postgres::transform::Transformer;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;
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
    telemetry::init(LogSettings::read(variable));
    match run().await {
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

async fn run() -> Result<(), StartError> {
    let settings = Settings::read(variable)?;
    let handler = start(settings).await?;
    config::check_runtime(variable)?;
    serve(handler).await.map_err(StartError::Runtime)
}

/// Fetches, connects and reads the mapping at the same time.
async fn start(settings: Settings) -> Result<Handler, StartError> {
    let aws = Arc::new(Aws::default());
    let secrets = Arc::new(Secrets::new(Arc::clone(&aws)));
    let mut database = Database::new(settings.database, settings.secret_ttl, Arc::clone(&secrets))?;
    let file = settings.pipeline_file.as_deref();
    let (key, connected, pipeline) = tokio::join!(
        mask_key(settings.mask_key, &secrets),
        connect(&mut database),
        async { read_pipeline(file) }
    );
    let (file, pipeline) = pipeline?;
    let transformer = Transformer::new(&file, &pipeline, key?.as_ref())?;
    connected?;
    let pipeline = Arc::new(pipeline);
    let loader = Loader::new(Arc::clone(&pipeline), database);
    let queue = Queue::new(settings.queue, aws);
    let metrics = Metrics::new(settings.function_name, pipeline.table.to_string());
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
async fn connect(database: &mut Database) -> Result<(), DatabaseError> {
    match database
        .client(Instant::now() + FIRST_CONNECT_TIMEOUT)
        .await
    {
        Err(error) if error.remedy() == Remedy::GiveUp => Err(error),
        Err(error) => {
            tracing::warn!(reason = %error, "not connected yet");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

async fn serve(handler: Handler) -> Result<(), lambda_runtime::Error> {
    let handler = Arc::new(Mutex::new(handler));
    let service = service_fn(move |event: LambdaEvent<Event>| {
        let handler = Arc::clone(&handler);
        let span = tracing::info_span!("invocation", request_id = event.context.request_id);
        async move { answer(&handler, &event).await }.instrument(span)
    });
    Runtime::new(service).run().await
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

impl From<LoadError> for Failed {
    fn from(error: LoadError) -> Self {
        let error_type = match error {
            LoadError::Database(_) => "Database",
            LoadError::Table(_) => "Table",
        };
        Self {
            error_type,
            message: error.to_string(),
        }
    }
}

async fn answer(
    handler: &Mutex<Handler>,
    event: &LambdaEvent<Event>,
) -> Result<SqsBatchResponse, Failed> {
    let mut handler = handler.lock().await;
    let handled = handler.handle(&event.payload, time_budget(event.context.deadline));
    match std::panic::AssertUnwindSafe(handled).catch_unwind().await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failed {
            error_type: "Internal",
            message: "our own code failed: see the line with its place in the log".to_owned(),
        }),
    }
}
