//! Mapping and mask key → the transformer.
//!
//! The mask key may be in Secrets Manager, which may be unavailable for longer than a start may take. Then every
//! batch tries to fetch it until one succeeds.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::backoff::retry;
use crate::config::MaskKeySettings;
use crate::mask::{KeyError, MaskKey};
use crate::pipeline::{Pipeline, PipelineError};
use crate::secret::{SecretError, Secrets, Stage, parse_mask_key};
use crate::transform::Transformer;

/// Why there is no transformer.
#[derive(Debug, Error, PartialEq)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum PrepareError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    MaskKey(#[from] KeyError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl PrepareError {
    /// Whether another attempt may succeed although nobody fixes anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Secret(error) if error.is_transient())
    }
}

/// The transformer of a mapping, or everything needed to make it.
pub struct Preparation {
    /// The name of the mapping in errors.
    file: String,
    pipeline: Arc<Pipeline>,
    mask_key: Option<MaskKeySettings>,
    secrets: Arc<Secrets>,
    transformer: Option<Arc<Transformer>>,
}

impl Preparation {
    /// Does not fetch anything yet. `file` is the name of the mapping in errors.
    pub fn new(
        file: String,
        pipeline: Arc<Pipeline>,
        mask_key: Option<MaskKeySettings>,
        secrets: Arc<Secrets>,
    ) -> Self {
        Self {
            file,
            pipeline,
            mask_key,
            secrets,
            transformer: None,
        }
    }

    /// The transformer. Fetches its mask key until then, unless an earlier call has done so.
    ///
    /// # Errors
    /// The key cannot be read, or does not fit the mapping.
    pub async fn transformer(&mut self, until: Instant) -> Result<Arc<Transformer>, PrepareError> {
        let transformer = match self.transformer.take() {
            Some(transformer) => transformer,
            None => Arc::new(self.make(until).await?),
        };
        Ok(Arc::clone(self.transformer.insert(transformer)))
    }

    async fn make(&self, until: Instant) -> Result<Transformer, PrepareError> {
        let fetch = async || {
            let fetched = timeout_at(until, mask_key(self.mask_key.as_ref(), &self.secrets)).await;
            fetched.unwrap_or_else(|_| Err(self.no_answer()))
        };
        let key = retry(until, PrepareError::is_transient, fetch).await?;
        Ok(Transformer::new(&self.file, &self.pipeline, key.as_ref())?)
    }

    fn no_answer(&self) -> PrepareError {
        let id = match &self.mask_key {
            Some(MaskKeySettings::Secret(id)) => id.clone(),
            _ => String::new(),
        };
        let reason = "no response in time".to_owned();
        SecretError::Unavailable { id, reason }.into()
    }
}

/// The mask key, if one is set.
///
/// # Errors
/// It cannot be fetched, or is not a key.
pub async fn mask_key(
    settings: Option<&MaskKeySettings>,
    secrets: &Secrets,
) -> Result<Option<MaskKey>, PrepareError> {
    let fetched;
    let text = match settings {
        None => return Ok(None),
        Some(MaskKeySettings::Key(text)) => text,
        Some(MaskKeySettings::Secret(id)) => {
            fetched = parse_mask_key(id, &secrets.fetch(id, Stage::Current).await?)?;
            &fetched
        }
    };
    Ok(Some(MaskKey::from_base64(text.expose_secret())?))
}
