//! Every environment variable the function reads, in one place.
//!
//! From a look-up function (the process's environment, or a map in a test) to consistent [`Settings`], or to one
//! sentence with the variable and the fix. An empty variable counts as unset, so a template can always set it.

mod log;
#[cfg(test)]
mod tests;
mod tls;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;
use tokio_postgres::config::ChannelBinding;

pub use log::LogSettings;
pub use tls::{Authorities, SslMode, TlsSettings};
use tls::{channel_binding, tls};

/// Age after which credentials are read again for a new connection.
pub const DEFAULT_SECRET_TTL: Duration = Duration::from_secs(300);

/// The file of the mapping, beside the function or in a layer.
const PIPELINE_FILE: &str = "pipeline.toml";

/// Where the files of layers are.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html> (2026-11).
const LAYERS: &str = "/opt";

/// Visibility timeout that an outage gives a message after its first delivery.
const DEFAULT_OUTAGE_BACKOFF: Duration = Duration::from_secs(60);

/// The settings of the function.
#[derive(Debug)]
pub struct Settings {
    /// Where the rows go: `DB_SECRET_ID` with `DB_HOST`, `DB_PORT`, `DB_NAME`, `DB_SSLMODE`,
    /// `DB_SSLROOTCERT` and `DB_CHANNEL_BINDING`, or `DB_AUTH=iam` with `DB_HOST`, `DB_PORT`, `DB_NAME`, `DB_USER` and
    /// `DB_SSLROOTCERT`, or `DATABASE_URL`.
    pub database: DatabaseSettings,
    /// Where the mask key is: `MASK_SECRET_ID` or `MASK_KEY`.
    pub mask_key: Option<MaskKeySettings>,
    /// How messages that cannot be stored are handled.
    pub queue: QueueSettings,
    /// `AWS_LAMBDA_FUNCTION_NAME`: the name of the function in metrics; Lambda sets it.
    pub function_name: String,
    /// Where the mapping is, in the order of looking: the file of `PIPELINE_FILE`, or else `pipeline.toml` beside the
    /// function (`LAMBDA_TASK_ROOT`) or in a layer.
    pub pipeline_files: Vec<PathBuf>,
    /// `SECRET_TTL_SECS`: the age after which credentials are read again for a new connection, and mask keys for a
    /// batch.
    pub secret_ttl: Duration,
}

/// Where the database is.
#[derive(Debug)]
pub enum DatabaseSettings {
    /// A libpq URL, which holds a password.
    Url(SecretString),
    /// A secret, completed by the environment.
    Secret(DatabaseSecretSettings),
    /// A signed token instead of a password.
    Iam(DatabaseIamSettings),
}

/// A database that authenticates by AWS IAM (`DB_AUTH=iam`).
#[derive(Debug)]
pub struct DatabaseIamSettings {
    /// `DB_HOST`: the name that the token is signed for.
    pub host: String,
    /// `DB_PORT`.
    pub port: Option<u16>,
    /// `DB_NAME`.
    pub name: String,
    /// `DB_USER`: the role of Postgres.
    pub user: String,
    /// `DB_SSLROOTCERT`; the mode is always `verify-full`, because whoever receives a token can log in with it.
    pub tls: TlsSettings,
}

/// A database whose credentials are in Secrets Manager.
#[derive(Debug)]
pub struct DatabaseSecretSettings {
    /// `DB_SECRET_ID`: name or ARN of the secret.
    pub id: String,
    /// `DB_HOST`: overrides the secret's `host`.
    pub host: Option<String>,
    /// `DB_PORT`: overrides the secret's `port`.
    pub port: Option<u16>,
    /// `DB_NAME`: overrides the secret's `dbname`.
    pub name: Option<String>,
    /// `DB_SSLMODE` and `DB_SSLROOTCERT`.
    pub tls: TlsSettings,
    /// `DB_CHANNEL_BINDING`: if required, the password is sent only as a SCRAM proof that is bound to the TLS
    /// connection, so that an attacker in between cannot use it.
    pub channel_binding: ChannelBinding,
}

/// How messages that cannot be stored are handled.
#[derive(Debug)]
pub struct QueueSettings {
    /// `OUTAGE_BACKOFF_SECS`: the visibility timeout that an outage gives a message after its first delivery;
    /// it doubles with each further one, up to 900 seconds, and is longer by up to half at random, up to 1,080.
    pub outage_backoff: Duration,
    /// `DEAD_LETTER_QUEUE_URL`: the queue for messages that can never succeed. If it is unset, SQS moves them after
    /// `maxReceiveCount` deliveries.
    pub dead_letter_queue_url: Option<String>,
}

/// Where the key of the masks is.
#[derive(Debug)]
pub enum MaskKeySettings {
    /// `MASK_KEY`: the key itself, in base64.
    Key(SecretString),
    /// `MASK_SECRET_ID`: name or ARN of the secret.
    Secret(String),
}

/// Variables that Lambda sets for every function.
const RUNTIME_VARIABLES: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
];

/// Checks for the variables without which the Lambda runtime client panics.
///
/// # Errors
/// A variable that Lambda sets for every function is missing.
pub fn check_runtime(lookup: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    match RUNTIME_VARIABLES
        .into_iter()
        .find(|name| lookup(name).is_none())
    {
        Some(missing) => Err(ConfigError::NoRuntime(missing)),
        None => number::<i32>(&lookup, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE").map(|_| ()),
    }
}

/// A mistake in the settings.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum ConfigError {
    #[error(
        "no database is set: set DB_SECRET_ID to the name of a secret in Secrets Manager, or DB_AUTH=iam, or DATABASE_URL"
    )]
    NoDatabase,
    #[error("DB_SECRET_ID and DATABASE_URL are both set: keep one")]
    TwoDatabases,
    #[error("DB_AUTH must be password or iam")]
    UnknownAuth,
    #[error(
        "DB_AUTH=iam cannot be combined with {0}: unset {0}, and set DB_HOST, DB_NAME and DB_USER"
    )]
    IamAndPassword(&'static str),
    #[error("DB_AUTH=iam needs {0}: set it")]
    IamNeeds(&'static str),
    #[error(
        "DB_AUTH=iam requires verify-full, because anyone who intercepts the token can log in with it: unset {0}"
    )]
    IamIsVerified(&'static str),
    #[error("MASK_SECRET_ID and MASK_KEY are both set: keep one")]
    TwoMaskKeys,
    #[error("{0} is not a valid number: set a whole number or unset it")]
    NotANumber(&'static str),
    #[error(
        "{0} is not set: this program runs only on Lambda; to run it locally, use `make run` or `make watch`"
    )]
    NoRuntime(&'static str),
    #[error("DB_SSLMODE must be verify-full, verify-ca, require, prefer or disable")]
    UnknownSslMode,
    #[error(
        "DB_SSLMODE=verify-ca needs DB_SSLROOTCERT, because without it any public certificate is accepted: set it to your own CA file, or use verify-full"
    )]
    NoAuthority,
    #[error("DB_CHANNEL_BINDING must be require, prefer or disable")]
    UnknownChannelBinding,
}

impl Settings {
    /// All variables that are read, [`LogSettings`]' too, without those that Lambda sets for every function.
    pub const VARIABLES: [&str; 19] = [
        "DB_SECRET_ID",
        "DATABASE_URL",
        "DB_AUTH",
        "DB_HOST",
        "DB_PORT",
        "DB_NAME",
        "DB_USER",
        "DB_SSLMODE",
        "DB_SSLROOTCERT",
        "DB_CHANNEL_BINDING",
        "SECRET_TTL_SECS",
        "MASK_SECRET_ID",
        "MASK_KEY",
        "PIPELINE_FILE",
        "OUTAGE_BACKOFF_SECS",
        "DEAD_LETTER_QUEUE_URL",
        "AWS_LAMBDA_LOG_LEVEL",
        "AWS_LAMBDA_LOG_FORMAT",
        "LAMBDA_TASK_ROOT",
    ];

    /// Reads the settings through `lookup`, which returns the value of a variable.
    ///
    /// # Errors
    /// A setting is missing, contradicts another or cannot be read.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        Ok(Self {
            database: DatabaseSettings::read(&lookup)?,
            mask_key: MaskKeySettings::read(&lookup)?,
            queue: QueueSettings {
                outage_backoff: number(&lookup, "OUTAGE_BACKOFF_SECS")?
                    .map_or(DEFAULT_OUTAGE_BACKOFF, Duration::from_secs),
                dead_letter_queue_url: lookup("DEAD_LETTER_QUEUE_URL"),
            },
            function_name: lookup("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
            pipeline_files: pipeline_files(&lookup),
            secret_ttl: number(&lookup, "SECRET_TTL_SECS")?
                .map_or(DEFAULT_SECRET_TTL, Duration::from_secs),
        })
    }
}

impl DatabaseSettings {
    /// Reads where the database is, through a `lookup` that returns no empty values.
    ///
    /// # Errors
    /// No database is set, or two are, or a value cannot be read.
    pub fn read(lookup: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        match lookup("DB_AUTH").as_deref() {
            None | Some("password") => {}
            Some("iam") => return DatabaseIamSettings::read(lookup).map(Self::Iam),
            Some(_) => return Err(ConfigError::UnknownAuth),
        }
        match (lookup("DATABASE_URL"), lookup("DB_SECRET_ID")) {
            (None, None) => Err(ConfigError::NoDatabase),
            (Some(_), Some(_)) => Err(ConfigError::TwoDatabases),
            (Some(url), None) => Ok(Self::Url(url.into())),
            (None, Some(id)) => Ok(Self::Secret(DatabaseSecretSettings {
                id,
                host: lookup("DB_HOST"),
                port: number(lookup, "DB_PORT")?,
                name: lookup("DB_NAME"),
                tls: tls(lookup)?,
                channel_binding: channel_binding(lookup)?,
            })),
        }
    }
}

impl DatabaseIamSettings {
    fn read(lookup: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let passwords = ["DATABASE_URL", "DB_SECRET_ID"];
        if let Some(set) = passwords.into_iter().find(|name| lookup(name).is_some()) {
            return Err(ConfigError::IamAndPassword(set));
        }
        let need = |name| lookup(name).ok_or(ConfigError::IamNeeds(name));
        let tls = tls(lookup)?;
        if !matches!(tls.mode, None | Some(SslMode::VerifyFull)) {
            return Err(ConfigError::IamIsVerified("DB_SSLMODE"));
        }
        if channel_binding(lookup)? == ChannelBinding::Require {
            return Err(ConfigError::IamIsVerified("DB_CHANNEL_BINDING"));
        }
        Ok(Self {
            host: need("DB_HOST")?,
            port: number(lookup, "DB_PORT")?,
            name: need("DB_NAME")?,
            user: need("DB_USER")?,
            tls: TlsSettings {
                mode: Some(SslMode::VerifyFull),
                ..tls
            },
        })
    }
}

fn pipeline_files(lookup: &impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    if let Some(file) = lookup("PIPELINE_FILE") {
        return vec![file.into()];
    }
    let folders = lookup("LAMBDA_TASK_ROOT")
        .into_iter()
        .chain([LAYERS.to_owned()]);
    folders
        .map(|folder| Path::new(&folder).join(PIPELINE_FILE))
        .collect()
}

impl MaskKeySettings {
    /// Reads where the key is, if there is one, through a `lookup` that returns no empty values.
    ///
    /// # Errors
    /// The key is set twice.
    pub fn read(lookup: &impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        match (lookup("MASK_KEY"), lookup("MASK_SECRET_ID")) {
            (Some(_), Some(_)) => Err(ConfigError::TwoMaskKeys),
            (Some(key), None) => Ok(Some(Self::Key(key.into()))),
            (None, id) => Ok(id.map(Self::Secret)),
        }
    }
}

fn number<T: FromStr>(
    lookup: &impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<T>, ConfigError> {
    lookup(name)
        .map(|value| value.parse().map_err(|_| ConfigError::NotANumber(name)))
        .transpose()
}
