//! Credentials that rotate: cached, and read again when they are old or refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_postgres::Config;

use super::DatabaseError;
use super::target::config_of_secret;
use crate::config::DatabaseSecretSettings;
use crate::secret::{DatabaseSecret, SecretError, Secrets, Stage};

/// The secret of the database. This copy of its password is wiped when it is dropped; the copies in the driver and in
/// Secrets Manager's response are not.
pub(super) struct RotatingSecret {
    pub(super) settings: DatabaseSecretSettings,
    pub(super) secrets: Arc<Secrets>,
    pub(super) ttl: Duration,
    /// With the wall-clock time at which it was read.
    pub(super) cached: Option<(DatabaseSecret, SystemTime)>,
    /// How often it was read again.
    pub(super) refreshes: u64,
}

impl RotatingSecret {
    /// The connection settings of the secret, read again if the cached one is too old. While Secrets Manager is
    /// unavailable an old one is used: if it was revoked, Postgres refuses it.
    pub(super) async fn config(&mut self) -> Result<Config, DatabaseError> {
        if let Some((secret, read_at)) = &self.cached
            && read_at.elapsed().is_ok_and(|age| age < self.ttl)
        {
            return self.config_of(secret);
        }
        match (self.read(Stage::Current).await, &self.cached) {
            (Ok(secret), _) => {
                let config = self.config_of(&secret)?;
                self.remember(secret);
                Ok(config)
            }
            (Err(error), Some((secret, _))) if error.is_transient() => {
                tracing::warn!(reason = %error, "cannot refresh the database secret: using the cached one");
                self.config_of(secret)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Reads a version of the secret.
    pub(super) async fn read(&mut self, stage: Stage) -> Result<DatabaseSecret, SecretError> {
        let text = self.secrets.fetch(&self.settings.id, stage).await?;
        self.refreshes += u64::from(self.cached.is_some());
        DatabaseSecret::parse(&self.settings.id, &text)
    }

    /// How often it was read again since the last call.
    pub(super) fn take_refreshes(&mut self) -> u64 {
        std::mem::take(&mut self.refreshes)
    }

    pub(super) fn config_of(&self, version: &DatabaseSecret) -> Result<Config, DatabaseError> {
        config_of_secret(&self.settings, version)
    }

    pub(super) fn remember(&mut self, secret: DatabaseSecret) {
        self.cached = Some((secret, SystemTime::now()));
    }
}
