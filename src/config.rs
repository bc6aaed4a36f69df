//! Every environment variable the function reads, in one place.
//!
//! From a look-up function (the process's environment, or a map in a test) to consistent [`Settings`], or to one
//! sentence with the variable and the fix. An empty variable counts as unset, so a template can always set it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;
use tokio_postgres::config::ChannelBinding;

/// Age after which credentials are read again for a new connection.
pub const DEFAULT_SECRET_TTL: Duration = Duration::from_secs(300);

/// The file of certificate authorities that `make build` packages with the function.
const PACKAGED_AUTHORITIES: &str = "ca.pem";

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
    /// `DB_SSLROOTCERT` and `DB_CHANNEL_BINDING`, or `DATABASE_URL`.
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
    /// `SECRET_TTL_SECS`: the age after which credentials are read again for a new connection.
    pub secret_ttl: Duration,
}

/// Where the database is.
#[derive(Debug)]
pub enum DatabaseSettings {
    /// A libpq URL, which holds a password.
    Url(SecretString),
    /// A secret, completed by the environment.
    Secret(DatabaseSecretSettings),
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
    /// connection, so that nobody in between can use it.
    pub channel_binding: ChannelBinding,
}

/// How messages that cannot be stored are handled.
#[derive(Debug)]
pub struct QueueSettings {
    /// `OUTAGE_BACKOFF_SECS`: the visibility timeout that an outage gives a message after its first delivery;
    /// it doubles with each further one, up to 900 seconds.
    pub outage_backoff: Duration,
    /// `DEAD_LETTER_QUEUE_URL`: the queue for messages that can never succeed. If it is unset, SQS moves them after
    /// `maxReceiveCount` deliveries.
    pub dead_letter_queue_url: Option<String>,
}

/// TLS settings of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The mode, if it is set.
    pub mode: Option<SslMode>,
    /// Which certificate authorities are trusted.
    pub authorities: Authorities,
}

impl TlsSettings {
    /// What is verified. The default is everything, except for a connection within this machine without a named
    /// authority, which needs no TLS.
    pub fn mode(&self, is_loopback: bool) -> SslMode {
        let default = match self.authorities {
            Authorities::System if is_loopback => SslMode::Prefer,
            _ => SslMode::VerifyFull,
        };
        self.mode.unwrap_or(default)
    }

    /// Whether an authority is missing: `verify-ca` with those of the system accepts any public certificate.
    pub(crate) fn lacks_authority(&self) -> bool {
        self.mode == Some(SslMode::VerifyCa) && self.authorities == Authorities::System
    }
}

/// The certificate authorities that are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Authorities {
    /// The authorities of the system.
    #[default]
    System,
    /// The authorities of a PEM file, and no others.
    Only(PathBuf),
    /// The authorities of the system and of the PEM file that is packaged with the function, only with
    /// `verify-full`: RDS has certificates of Amazon's own authorities, RDS Proxy of a public one.
    SystemAnd(PathBuf),
}

impl Authorities {
    /// The file, if one is named.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::System => None,
            Self::Only(file) | Self::SystemAnd(file) => Some(file),
        }
    }
}

/// libpq's `sslmode`. Source: <https://www.postgresql.org/docs/18/libpq-ssl.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server offers it, unverified.
    Prefer,
    /// TLS, unverified.
    Require,
    /// TLS with a certificate of a trusted authority, for any host name.
    VerifyCa,
    /// TLS with a certificate of a trusted authority for this host name.
    VerifyFull,
}

impl FromStr for SslMode {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "disable" => Self::Disable,
            "prefer" | "allow" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return Err(()),
        })
    }
}

/// Where the key of the masks is.
pub enum MaskKeySettings {
    /// `MASK_KEY`: the key itself, in base64.
    Key(SecretString),
    /// `MASK_SECRET_ID`: name or ARN of the secret `{"mask_key": "…"}`.
    Secret(String),
}

impl fmt::Debug for MaskKeySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(_) => f.write_str("Key([REDACTED])"),
            Self::Secret(id) => write!(f, "Secret({id:?})"),
        }
    }
}

/// The format and level of the log, as Lambda's logging configuration sets them.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// `AWS_LAMBDA_LOG_FORMAT`: `Text` for people at a terminal; JSON lines otherwise.
    pub format: LogFormat,
    /// `AWS_LAMBDA_LOG_LEVEL`: `TRACE` to `FATAL`; `INFO` if it is unset or unknown.
    pub level: tracing::Level,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For reading.
    Text,
}

impl LogSettings {
    /// Reads the settings. Never fails, because without a log nobody would see the error.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let is_text = lookup("AWS_LAMBDA_LOG_FORMAT")
            .is_some_and(|format| format.eq_ignore_ascii_case("text"));
        let level = match lookup("AWS_LAMBDA_LOG_LEVEL")
            .unwrap_or_default()
            .to_ascii_uppercase()
            .as_str()
        {
            "TRACE" => tracing::Level::TRACE,
            "DEBUG" => tracing::Level::DEBUG,
            "WARN" => tracing::Level::WARN,
            "ERROR" | "FATAL" => tracing::Level::ERROR,
            _ => tracing::Level::INFO,
        };
        Self {
            format: if is_text {
                LogFormat::Text
            } else {
                LogFormat::Json
            },
            level,
        }
    }
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
        "no database is set: set DB_SECRET_ID to the name of a secret in Secrets Manager, or set DATABASE_URL"
    )]
    NoDatabase,
    #[error("DB_SECRET_ID and DATABASE_URL are both set: keep one")]
    TwoDatabases,
    #[error("MASK_SECRET_ID and MASK_KEY are both set: keep one")]
    TwoMaskKeys,
    #[error("{0} is not a valid number: set a whole number or unset it")]
    NotANumber(&'static str),
    #[error(
        "{0} is not set, although Lambda sets it: this program is a Lambda function; outside of Lambda, run it with `make run` or `make watch`"
    )]
    NoRuntime(&'static str),
    #[error(
        "DB_SSLMODE has an unknown value: set verify-full, verify-ca, require, prefer or disable"
    )]
    UnknownSslMode,
    #[error(
        "DB_SSLMODE=verify-ca needs DB_SSLROOTCERT, because without it any public certificate is accepted: name the file of your own authority, or use verify-full"
    )]
    NoAuthority,
    #[error("DB_CHANNEL_BINDING has an unknown value: set require, prefer or disable")]
    UnknownChannelBinding,
}

impl Settings {
    /// All variables that are read, [`LogSettings`]' too, without those that Lambda sets for every function.
    pub const VARIABLES: [&str; 17] = [
        "DB_SECRET_ID",
        "DATABASE_URL",
        "DB_HOST",
        "DB_PORT",
        "DB_NAME",
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

fn tls(lookup: &impl Fn(&str) -> Option<String>) -> Result<TlsSettings, ConfigError> {
    let mode = lookup("DB_SSLMODE")
        .map(|mode| mode.parse().map_err(|()| ConfigError::UnknownSslMode))
        .transpose()?;
    let verifies_host = matches!(mode, None | Some(SslMode::VerifyFull));
    let packaged =
        lookup("LAMBDA_TASK_ROOT").map(|root| Path::new(&root).join(PACKAGED_AUTHORITIES));
    let authorities = match lookup("DB_SSLROOTCERT").map(PathBuf::from) {
        None => Authorities::System,
        Some(file) if verifies_host && packaged.as_ref() == Some(&file) => {
            Authorities::SystemAnd(file)
        }
        Some(file) => Authorities::Only(file),
    };
    let settings = TlsSettings { mode, authorities };
    if settings.lacks_authority() {
        return Err(ConfigError::NoAuthority);
    }
    Ok(settings)
}

fn channel_binding(
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<ChannelBinding, ConfigError> {
    match lookup("DB_CHANNEL_BINDING").as_deref() {
        None | Some("prefer") => Ok(ChannelBinding::Prefer),
        Some("require") => Ok(ChannelBinding::Require),
        Some("disable") => Ok(ChannelBinding::Disable),
        Some(_) => Err(ConfigError::UnknownChannelBinding),
    }
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let lookup = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Settings::read(lookup)
    }

    #[test]
    fn the_list_of_variables_is_what_is_read() {
        let read = RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            read.borrow_mut().insert(name.to_owned());
            (name == "DB_SECRET_ID").then(|| "s".to_owned())
        };
        assert!(Settings::read(lookup).is_ok());
        LogSettings::read(lookup);
        let runtime = |name: &String| RUNTIME_VARIABLES.contains(&name.as_str());
        let mut read = read.into_inner();
        read.retain(|name| !runtime(name));
        assert_eq!(read, Settings::VARIABLES.map(str::to_owned).into());
    }

    #[test]
    fn a_secret_is_completed_by_the_environment_and_verified_by_default() {
        let settings = read(&[
            ("DB_SECRET_ID", "rds!x"),
            ("DB_HOST", "db.internal"),
            ("DB_PORT", "6432"),
            ("DB_NAME", "analytics"),
        ])
        .unwrap();
        let DatabaseSettings::Secret(secret) = settings.database else {
            panic!("a secret is set")
        };
        assert_eq!(
            (secret.host.as_deref(), secret.port, secret.name.as_deref()),
            (Some("db.internal"), Some(6432), Some("analytics"))
        );
        assert_eq!(secret.tls, TlsSettings::default());
        assert_eq!(secret.tls.mode(false), SslMode::VerifyFull);
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let settings = read(&[
            ("DATABASE_URL", "postgresql://h/d"),
            ("DB_SECRET_ID", ""),
            ("MASK_KEY", ""),
            ("PIPELINE_FILE", ""),
            ("LAMBDA_TASK_ROOT", "/var/task"),
        ])
        .unwrap();
        assert!(matches!(settings.database, DatabaseSettings::Url(_)));
        assert!(settings.mask_key.is_none());
        let places = ["/var/task/pipeline.toml", "/opt/pipeline.toml"];
        assert_eq!(settings.pipeline_files, places.map(PathBuf::from));
    }

    #[test]
    fn contradictory_settings_are_refused() {
        let secret = ("DB_SECRET_ID", "s");
        assert_eq!(read(&[]).err(), Some(ConfigError::NoDatabase));
        assert_eq!(
            read(&[secret, ("DATABASE_URL", "postgresql://h/d")]).err(),
            Some(ConfigError::TwoDatabases)
        );
        assert_eq!(
            read(&[secret, ("MASK_KEY", "k"), ("MASK_SECRET_ID", "m")]).err(),
            Some(ConfigError::TwoMaskKeys)
        );
        assert_eq!(
            read(&[secret, ("DB_PORT", "70000")]).err(),
            Some(ConfigError::NotANumber("DB_PORT"))
        );
        assert_eq!(
            read(&[secret, ("SECRET_TTL_SECS", "5m")]).err(),
            Some(ConfigError::NotANumber("SECRET_TTL_SECS"))
        );
        assert_eq!(
            read(&[secret, ("DB_SSLMODE", "on")]).err(),
            Some(ConfigError::UnknownSslMode)
        );
        assert_eq!(
            read(&[secret, ("DB_SSLMODE", "verify-ca")]).err(),
            Some(ConfigError::NoAuthority)
        );
        assert_eq!(
            read(&[secret, ("DB_CHANNEL_BINDING", "on")]).err(),
            Some(ConfigError::UnknownChannelBinding)
        );
    }

    #[test]
    fn a_named_authority_is_the_only_one_unless_it_is_packaged_and_the_host_is_verified() {
        let only = |file: &str| Authorities::Only(file.into());
        let packaged = "/var/task/ca.pem";
        let cases = [
            (None, "", Authorities::System),
            (None, packaged, Authorities::SystemAnd(packaged.into())),
            (
                Some("verify-full"),
                packaged,
                Authorities::SystemAnd(packaged.into()),
            ),
            (Some("verify-ca"), packaged, only(packaged)),
            (Some("require"), packaged, only(packaged)),
            (None, "/var/task/own.pem", only("/var/task/own.pem")),
            (Some("verify-full"), "/opt/ca.pem", only("/opt/ca.pem")),
        ];
        for (mode, file, expected) in cases {
            let variables = [
                ("DB_SECRET_ID", "s"),
                ("LAMBDA_TASK_ROOT", "/var/task"),
                ("DB_SSLROOTCERT", file),
                ("DB_SSLMODE", mode.unwrap_or_default()),
            ];
            let DatabaseSettings::Secret(secret) = read(&variables).unwrap().database else {
                panic!("a secret is set")
            };
            assert_eq!(secret.tls.authorities, expected, "{mode:?} {file}");
        }
    }

    #[test]
    fn only_a_connection_within_this_machine_is_unverified_by_default() {
        let named = |mode, authorities| TlsSettings { mode, authorities };
        let file = Authorities::Only("ca.pem".into());
        let cases = [
            (named(None, Authorities::System), true, SslMode::Prefer),
            (named(None, Authorities::System), false, SslMode::VerifyFull),
            (named(None, file), true, SslMode::VerifyFull),
            (
                named(Some(SslMode::Require), Authorities::System),
                false,
                SslMode::Require,
            ),
        ];
        for (settings, is_loopback, expected) in cases {
            assert_eq!(settings.mode(is_loopback), expected, "{settings:?}");
        }
    }

    #[test]
    fn logs_are_json_at_info_unless_lambda_says_otherwise() {
        let log = |format: &str, level: &str| {
            LogSettings::read(|name| {
                Some(
                    if name == "AWS_LAMBDA_LOG_FORMAT" {
                        format
                    } else {
                        level
                    }
                    .to_owned(),
                )
            })
        };
        assert_eq!(
            LogSettings::read(|_| None),
            LogSettings {
                format: LogFormat::Json,
                level: tracing::Level::INFO
            }
        );
        assert_eq!(
            log("Text", "debug"),
            LogSettings {
                format: LogFormat::Text,
                level: tracing::Level::DEBUG
            }
        );
        assert_eq!(
            log("JSON", "FATAL"),
            LogSettings {
                format: LogFormat::Json,
                level: tracing::Level::ERROR
            }
        );
    }

    #[test]
    fn outside_of_lambda_the_missing_variable_is_named() {
        assert_eq!(
            check_runtime(|_| None),
            Err(ConfigError::NoRuntime("AWS_LAMBDA_RUNTIME_API"))
        );
        assert_eq!(check_runtime(|_| Some("128".to_owned())), Ok(()));
        assert_eq!(
            check_runtime(|_| Some("much".to_owned())),
            Err(ConfigError::NotANumber("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
        );
    }

    #[test]
    fn printing_settings_shows_no_secret() {
        let settings = read(&[
            ("DATABASE_URL", "postgresql://u:s3cret@h/d"),
            ("MASK_KEY", "s3cret"),
        ])
        .unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
