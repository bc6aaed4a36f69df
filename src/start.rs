//! Settings → what a program of this library works with: the mapping, the mask key, the handler.
//!
//! What is wrong with any of them is found here, before the first message, and said in one sentence.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use thiserror::Error;
use tokio::time::Instant;

use crate::aws::Aws;
use crate::config::{ConfigError, MaskKeySettings, Settings};
use crate::database::{Database, DatabaseError, Remedy};
use crate::handler::Handler;
use crate::load::Loader;
use crate::mask::{MaskKey, MaskKeyError};
use crate::pipeline::{Pipeline, PipelineError, Problem};
use crate::queue::Queue;
use crate::secret::{SecretError, Secrets, Stage, parse_mask_key};
use crate::telemetry::Metrics;
use crate::transform::Transformer;

/// The mapping that is used unless `PIPELINE_FILE` names another.
const SHIPPED_PIPELINE: &str = include_str!("../pipeline.toml");

/// A server that is silent may not use up the ten seconds that Lambda gives a function to start.
const FIRST_CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a program cannot start.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum StartError {
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
}

/// A handler of what the settings say, in a program that `began` then. Fetches and connects at the same
/// time. What needs neither is checked before it waits for the first time, so that a mapping that cannot
/// work never sees a message.
///
/// # Errors
/// Something that a person has to mend.
pub async fn handler(
    settings: Settings,
    aws: Arc<Aws>,
    began: Instant,
) -> Result<Handler, StartError> {
    let (file, pipeline) = read_pipeline(settings.pipeline_file.as_deref())?;
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

/// The mapping of a file, or the one compiled in, and how errors call it.
///
/// # Errors
/// The file cannot be read, or the mapping cannot work.
pub fn read_pipeline(file: Option<&Path>) -> Result<(String, Pipeline), PipelineError> {
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

/// The key that keyed masks need, where one is set.
///
/// # Errors
/// It cannot be fetched, or is no key.
pub async fn mask_key(
    settings: Option<MaskKeySettings>,
    secrets: &Secrets,
) -> Result<Option<MaskKey>, StartError> {
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
