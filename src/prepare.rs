//! Mapping and mask keys → the compiled mapping.
//!
//! The mask keys may be in Secrets Manager, which may be unavailable for longer than a start may take. Then every
//! batch tries to fetch them until one succeeds. After that they are read again from time to time, so that a new key
//! comes into use without a deployment.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mapping::{Compiled, KeyError, KeyRing, MaskKey, Pipeline, PipelineError};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use tokio::time::Instant;

use crate::backoff::retry_in_time;
use crate::config::MaskKeySettings;
use crate::secret::{MaskSecret, SecretError, Secrets, Stage};
use crate::telemetry::messages::MASK_KEYS_NOT_REFRESHED;

/// Why there is no compiled mapping.
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

/// A batch waits this long at most for keys that may have changed.
const REFRESH_TIME: Duration = Duration::from_secs(3);

/// The compiled mapping, or everything needed to make it.
pub struct Preparation {
    /// The name of the mapping in errors.
    file: String,
    pipeline: Arc<Pipeline>,
    mask_key: Option<MaskKeySettings>,
    /// The age after which a secret is read again.
    secret_ttl: Duration,
    secrets: Arc<Secrets>,
    made: Option<Made>,
}

struct Made {
    compiled: Arc<Compiled>,
    /// By the wall clock: the monotonic clock may stop while the environment is frozen.
    at: SystemTime,
}

impl Preparation {
    /// Does not fetch anything yet. `file` is the name of the mapping in errors.
    pub fn new(
        file: String,
        pipeline: Arc<Pipeline>,
        mask_key: Option<MaskKeySettings>,
        secret_ttl: Duration,
        secrets: Arc<Secrets>,
    ) -> Self {
        Self {
            file,
            pipeline,
            mask_key,
            secret_ttl,
            secrets,
            made: None,
        }
    }

    /// The compiled mapping. Fetches its mask keys until then, unless that was done not long ago. If they cannot be fetched
    /// again, or no longer fit, the earlier ones remain in use.
    ///
    /// # Errors
    /// There are no keys yet, and they cannot be read, or do not fit the mapping.
    pub async fn compiled(&mut self, until: Instant) -> Result<Arc<Compiled>, PrepareError> {
        let compiled = match &self.made {
            None => Arc::new(self.make(until).await?),
            Some(made) if !self.is_old(made) => return Ok(Arc::clone(&made.compiled)),
            Some(made) => match self.make(until.min(Instant::now() + REFRESH_TIME)).await {
                Ok(compiled) => Arc::new(compiled),
                Err(error) => {
                    tracing::warn!(reason = %error, "{MASK_KEYS_NOT_REFRESHED}");
                    Arc::clone(&made.compiled)
                }
            },
        };
        self.made = Some(Made {
            compiled: Arc::clone(&compiled),
            at: SystemTime::now(),
        });
        Ok(compiled)
    }

    fn is_old(&self, made: &Made) -> bool {
        let is_secret = matches!(self.mask_key, Some(MaskKeySettings::Secret(_)));
        is_secret && !made.at.elapsed().is_ok_and(|age| age < self.secret_ttl)
    }

    async fn make(&self, until: Instant) -> Result<Compiled, PrepareError> {
        let fetch = async || mask_keys(self.mask_key.as_ref(), &self.secrets).await;
        let is_transient = PrepareError::is_transient;
        let keys = retry_in_time(until, is_transient, self.no_answer(), fetch).await?;
        Ok(Compiled::new(&self.file, &self.pipeline, keys.as_ref())?)
    }

    fn no_answer(&self) -> PrepareError {
        let id = match &self.mask_key {
            Some(MaskKeySettings::Secret(id)) => id.clone(),
            Some(MaskKeySettings::Key(_)) | None => String::new(),
        };
        let reason = "no response in time".to_owned();
        SecretError::Unavailable { id, reason }.into()
    }
}

/// The mask keys, if any are set.
///
/// # Errors
/// They cannot be fetched, or are not keys.
pub async fn mask_keys(
    settings: Option<&MaskKeySettings>,
    secrets: &Secrets,
) -> Result<Option<KeyRing>, PrepareError> {
    let of_one = |text: &SecretString| MaskKey::from_base64(text.expose_secret());
    Ok(Some(match settings {
        None => return Ok(None),
        Some(MaskKeySettings::Key(text)) => of_one(text)?.into(),
        Some(MaskKeySettings::Secret(id)) => {
            match MaskSecret::parse(id, &secrets.fetch(id, Stage::Current).await?)? {
                MaskSecret::Key { mask_key } => of_one(&mask_key)?.into(),
                MaskSecret::Ring { mask_keys, current } => {
                    KeyRing::from_base64(&mask_keys, &current)?
                }
            }
        }
    }))
}
