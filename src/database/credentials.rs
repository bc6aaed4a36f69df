//! Credentials that rotate: kept for a while, read again when they are old or refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_postgres::Config;

use super::DatabaseError;
use super::target::config_of_secret;
use crate::config::DatabaseSecretSettings;
use crate::secret::{DatabaseSecret, SecretError, Secrets, Stage};

/// The secret of the database. This copy of its password is wiped when it is dropped; those of the driver and
/// of the answer of Secrets Manager are not.
pub(super) struct RotatingSecret {
    settings: DatabaseSecretSettings,
    secrets: Arc<Secrets>,
    ttl: Duration,
    /// With the time of the wall clock at which it was read.
    cached: Option<(DatabaseSecret, SystemTime)>,
    /// How often it was read, but for the first time.
    refreshes: u64,
}

impl RotatingSecret {
    pub(super) fn new(
        settings: DatabaseSecretSettings,
        secrets: Arc<Secrets>,
        ttl: Duration,
    ) -> Self {
        Self {
            settings,
            secrets,
            ttl,
            cached: None,
            refreshes: 0,
        }
    }

    /// Where the secret leads to, as it was last read, or read anew when that is long ago. While
    /// Secrets Manager is unavailable an old one is used: if it was revoked, Postgres will
    /// say so.
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
                tracing::warn!(reason = %error, "an old secret is used");
                self.config_of(secret)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// A version of the secret, as Secrets Manager has it now.
    pub(super) async fn read(&mut self, stage: Stage) -> Result<DatabaseSecret, SecretError> {
        let text = self.secrets.fetch(&self.settings.id, stage).await?;
        self.refreshes += u64::from(self.cached.is_some());
        DatabaseSecret::parse(&self.settings.id, &text)
    }

    /// How often it was read again since this was last asked.
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
