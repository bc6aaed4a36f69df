//! Settings → the mapping and the handler that a program works with.
//!
//! Everything that can fail or takes time is done here, before the first message: Lambda gives a start a full
//! processor, and may freeze the function as soon as it has requested a message. An invalid setting ends the start with
//! one sentence. A system that does not respond is retried with the first batch.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mapping::{Pipeline, PipelineError, Problem};
use thiserror::Error;
use tokio::time::Instant;

use crate::aws::Aws;
use crate::backoff::retry;
use crate::config::{ConfigError, Settings};
use crate::database::{Database, DatabaseError};
use crate::handler::Handler;
use crate::load::Loader;
use crate::objects::Objects;
use crate::prepare::{Preparation, PrepareError};
use crate::refusal::RetryAction;
use crate::secret::Secrets;
use crate::sqs::Sqs;
use crate::telemetry::Metrics;
use crate::telemetry::messages::{MAPPING_DIGEST, MAPPING_READ};

/// How long a start waits for systems that do not respond. Lambda gives a function ten seconds.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html> (2026-11).
const START_TIME: Duration = Duration::from_secs(9);

/// Why a program cannot start.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// A handler with these settings, in a program that `began` then. Fetches secrets and connects concurrently, for at
/// most nine seconds.
///
/// # Errors
/// An error that only a person can fix.
pub async fn handler(
    settings: Settings,
    aws: Arc<Aws>,
    began: Instant,
) -> Result<Handler, StartError> {
    let until = began + START_TIME;
    let (file, pipeline) = read_pipeline(&settings.pipeline_files)?;
    let pipeline = Arc::new(pipeline);
    let secrets = Arc::new(Secrets::new(Arc::clone(&aws)));
    let mut database = Database::new(settings.database, settings.secret_ttl, Arc::clone(&secrets))?;
    let mut preparation = Preparation::new(
        file.clone(),
        Arc::clone(&pipeline),
        settings.mask_key,
        settings.secret_ttl,
        secrets,
    );
    tokio::try_join!(
        prepare(&mut preparation, until),
        connect(&mut database, until)
    )?;
    tracing::info!(file, { MAPPING_DIGEST } = pipeline.digest, "{MAPPING_READ}");
    let loader = Loader::new(Arc::clone(&pipeline), database);
    let objects = match pipeline.wrapping.s3_pointers.is_empty() {
        true => None,
        false => Some(Objects::new(Arc::clone(&aws)).await),
    };
    let sqs = Sqs::new(settings.queue, aws);
    let metrics = Metrics::new(settings.function_name, &pipeline);
    // Until now, not until the first answer: the first batch may come hours after the start.
    metrics.cold_start(began.elapsed());
    Ok(Handler::new(
        pipeline,
        preparation,
        objects,
        loader,
        sqs,
        metrics,
    ))
}

/// The mapping of the first of these files that exists, and its name in errors.
///
/// # Errors
/// None of them is there, the file cannot be read, or the mapping cannot work.
pub fn read_pipeline(files: &[PathBuf]) -> Result<(String, Pipeline), PipelineError> {
    for path in files {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => return Pipeline::parse(&file, &text).map(|pipeline| (file, pipeline)),
            Err(missing) if missing.kind() == ErrorKind::NotFound => {}
            Err(reason) => return Err(Problem::Unreadable(reason.to_string()).in_file(&file)),
        }
    }
    let tried = files.iter().map(|path| path.display().to_string());
    let tried: Vec<_> = tried.collect();
    Err(Problem::NoFile.in_file(&tried.join(" or ")))
}

async fn prepare(preparation: &mut Preparation, until: Instant) -> Result<(), StartError> {
    match preparation.compiled(until).await {
        Err(error) if error.is_transient() => {
            tracing::warn!(reason = %error, "mask key not available yet: will retry with the first batch");
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

async fn connect(database: &mut Database, until: Instant) -> Result<(), StartError> {
    let is_transient = |error: &DatabaseError| error.action() != RetryAction::Fail;
    let connect = async || database.client(until).await.map(|_| ());
    match retry(until, is_transient, connect).await {
        Err(error) if is_transient(&error) => {
            tracing::warn!(reason = %error, "database not available yet: will retry with the first batch");
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}
