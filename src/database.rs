//! The connection: credentials, TLS, reconnecting, and what an error of Postgres means.
//!
//! One connection per execution environment, kept across invocations. It knows nothing of rows:
//! it gives a client that works, or an error that says what must happen next.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use native_tls::{Certificate, TlsConnector};
use percent_encoding::percent_decode_str;
use postgres_native_tls::MakeTlsConnector;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::SslMode as Negotiation;
use tokio_postgres::{Client, Config};

use crate::config::{DatabaseSecretSettings, DatabaseSettings, SslMode, TlsSettings};
use crate::secret::{DatabaseSecret, SecretError, Secrets, Stage};

const DEFAULT_PORT: u16 = 5432;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that dropped out silently is noticed this long after something was sent to it.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// After this long without use the environment may have been frozen and the peer may be gone
/// without a word, so that the connection is tried before a batch is given to it.
const TRUSTED_IDLE: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Asking the server to stop a statement that ran out of time may not cost the answer.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(250);

/// What must happen after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The row is at fault: find it and set it aside.
    Isolate,
    /// Another try may succeed on the same connection.
    Retry,
    /// Another try may succeed on a new connection.
    Reconnect,
    /// The credentials were refused: read them again.
    Reauthenticate,
    /// Only a person can mend it.
    GiveUp,
}

impl Remedy {
    /// What an SQLSTATE asks for.
    ///
    /// Besides the data exceptions (22) and constraint violations (23), a row alone can be refused
    /// by a view (44), by a limit such as the size of an index entry (54) and by a trigger (P0).
    /// Source: <https://www.postgresql.org/docs/18/errcodes-appendix.html>.
    pub fn of_sqlstate(code: &str) -> Self {
        match code.get(..2).unwrap_or_default() {
            "22" | "23" | "44" | "54" | "P0" => Self::Isolate,
            "28" => Self::Reauthenticate,
            "40" | "55" => Self::Retry,
            "08" | "53" | "58" | "XX" => Self::Reconnect,
            // A cancelled statement left its connection whole.
            "57" if code == "57014" => Self::Retry,
            "57" => Self::Reconnect,
            // Read-only: the server was demoted by a failover, and its name leads elsewhere now.
            "25" if code == "25006" => Self::Reconnect,
            _ => Self::GiveUp,
        }
    }
}

/// What Postgres said, without the texts of its messages, which quote rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// Five characters.
    pub sqlstate: String,
    /// The table, where one is named.
    pub table: Option<String>,
    /// The column, where one is named.
    pub column: Option<String>,
    /// The constraint, where one is named.
    pub constraint: Option<String>,
}

/// An error on the way to Postgres or from it; no variant holds a value of a row.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum DatabaseError {
    #[error("Postgres cannot be reached ({0}): check host, port, security groups and TLS")]
    Unreachable(String),
    #[error("the connection to Postgres was lost ({0}): a new one is tried")]
    Lost(String),
    #[error("Postgres answered with SQLSTATE {}: look it up in the appendix of its manual", .0.sqlstate)]
    Server(ServerError),
    #[error("Postgres refused user or password (SQLSTATE {0}): correct the secret or the role")]
    Credentials(String),
    #[error(
        "Postgres refused user or password of DATABASE_URL (SQLSTATE {0}): correct the URL or the role"
    )]
    UrlCredentials(String),
    #[error(
        "database {0:?} does not exist: create it, or correct the name in the secret, DB_NAME or DATABASE_URL"
    )]
    NoDatabase(String),
    #[error(
        "DATABASE_URL cannot be read ({0}): write postgresql://user:password@host:port/database?sslmode=verify-full"
    )]
    Url(&'static str),
    #[error(
        "DB_SSLROOTCERT {path:?} cannot be used ({reason}): name a readable PEM file of certificates"
    )]
    RootCert { path: String, reason: String },
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl DatabaseError {
    /// What must happen next.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Unreachable(_) | Self::Lost(_) => Remedy::Reconnect,
            Self::Server(error) => Remedy::of_sqlstate(&error.sqlstate),
            Self::Credentials(_) => Remedy::Reauthenticate,
            Self::Secret(error) if error.is_transient() => Remedy::Reconnect,
            Self::UrlCredentials(_)
            | Self::NoDatabase(_)
            | Self::Url(_)
            | Self::RootCert { .. }
            | Self::Secret(_) => Remedy::GiveUp,
        }
    }
}

/// An error after the connection was made.
impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            None => Self::Lost(causes(&error)),
            Some(answer) => Self::Server(ServerError {
                sqlstate: answer.code().code().to_owned(),
                table: answer.table().map(str::to_owned),
                column: answer.column().map(str::to_owned),
                constraint: answer.constraint().map(str::to_owned),
            }),
        }
    }
}

/// The whole chain of an error that did not come from the server, so that it quotes no row.
fn causes(error: &tokio_postgres::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let text = source.to_string();
        if !sentence.ends_with(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = source.source();
    }
    sentence
}

/// A connection that is made when it is needed, and made anew when it broke.
pub struct Database {
    credentials: Credentials,
    secret_ttl: Duration,
    secrets: Arc<Secrets>,
    session: Option<Session>,
    /// By the wall clock: the monotonic one may stand still while the environment is frozen.
    last_used: SystemTime,
    connections: u64,
}

/// A client and the task that moves its bytes, which ends with it: left alone it would wait for the
/// answer to a statement that was given up.
struct Session {
    client: Client,
    connection: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

enum Credentials {
    Url(Target),
    Secret {
        settings: DatabaseSecretSettings,
        cached: Option<(Target, Instant)>,
    },
}

/// Where to connect, as whom, and how it is protected.
#[derive(Clone)]
struct Target {
    config: Config,
    tls: MakeTlsConnector,
}

impl Database {
    /// Reads the settings; nothing is connected yet.
    ///
    /// # Errors
    /// The URL or the file of certificates cannot be read.
    pub fn new(
        settings: DatabaseSettings,
        secret_ttl: Duration,
        secrets: Arc<Secrets>,
    ) -> Result<Self, DatabaseError> {
        let credentials = match settings {
            DatabaseSettings::Url(url) => Credentials::Url(target_of_url(&url)?),
            DatabaseSettings::Secret(settings) => {
                // Read now as well, so that a wrong file stops the function at start.
                tls_connector(&settings.tls)?;
                Credentials::Secret {
                    settings,
                    cached: None,
                }
            }
        };
        Ok(Self {
            credentials,
            secret_ttl,
            secrets,
            session: None,
            last_used: SystemTime::UNIX_EPOCH,
            connections: 0,
        })
    }

    /// A client whose connection works as far as can be told.
    ///
    /// # Errors
    /// No connection could be made.
    pub async fn client(&mut self) -> Result<&Client, DatabaseError> {
        if !self.works().await {
            self.session = None;
            self.session = Some(self.connect().await?);
            self.connections += 1;
        }
        self.last_used = SystemTime::now();
        self.session
            .as_ref()
            .map(|session| &session.client)
            .ok_or_else(|| DatabaseError::Lost("closed at once".to_owned()))
    }

    /// The same, if it can be had in time.
    ///
    /// # Errors
    /// No connection could be made until then.
    pub async fn client_before(&mut self, until: Instant) -> Result<&Client, DatabaseError> {
        let late = |_| DatabaseError::Unreachable("no connection in time".to_owned());
        timeout_at(until, self.client()).await.map_err(late)?
    }

    async fn works(&self) -> bool {
        let Some(client) = self
            .session
            .as_ref()
            .map(|session| &session.client)
            .filter(|client| !client.is_closed())
        else {
            return false;
        };
        // A clock that was set back tells nothing, so that the connection is tried then too.
        let is_trusted = self
            .last_used
            .elapsed()
            .is_ok_and(|idle| idle < TRUSTED_IDLE);
        is_trusted
            || matches!(
                timeout(PROBE_TIMEOUT, client.check_connection()).await,
                Ok(Ok(()))
            )
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Gives the connection up, so that the next use makes a new one.
    pub fn disconnect(&mut self) {
        self.session = None;
    }

    /// Gives up a connection whose statement ran out of time, and asks the server to stop it, so
    /// that abandoned statements do not pile up behind a lock. Best effort, and short.
    pub async fn abandon(&mut self) {
        let (Some(session), Some(tls)) = (self.session.take(), self.tls()) else {
            return;
        };
        let cancel = session.client.cancel_token();
        if let Ok(Err(error)) = timeout(CANCEL_TIMEOUT, cancel.cancel_query(tls)).await {
            tracing::debug!(
                reason = causes(&error),
                "the statement could not be cancelled"
            );
        }
    }

    fn tls(&self) -> Option<MakeTlsConnector> {
        match &self.credentials {
            Credentials::Url(target) => Some(target.tls.clone()),
            Credentials::Secret { cached, .. } => {
                cached.as_ref().map(|(target, _)| target.tls.clone())
            }
        }
    }

    /// Connects with the credentials at hand; where they are refused, with those that a rotation
    /// has put or is about to put in their place.
    async fn connect(&mut self) -> Result<Session, DatabaseError> {
        match (self.target().await?.connect().await, &self.credentials) {
            (Err(DatabaseError::Credentials(code)), Credentials::Url(_)) => {
                return Err(DatabaseError::UrlCredentials(code));
            }
            (Err(DatabaseError::Credentials(_)), Credentials::Secret { .. }) => {}
            (connected, _) => return connected,
        }
        match self.connect_afresh(Stage::Current).await {
            Err(error) if error.remedy() == Remedy::Reauthenticate => {
                // While nothing rotates there is no pending version; the refusal is the better answer.
                self.connect_afresh(Stage::Pending).await.map_err(|_| error)
            }
            connected => connected,
        }
    }

    async fn target(&mut self) -> Result<Target, DatabaseError> {
        match &self.credentials {
            Credentials::Url(target) => Ok(target.clone()),
            Credentials::Secret {
                cached: Some((target, read_at)),
                ..
            } if read_at.elapsed() < self.secret_ttl => Ok(target.clone()),
            Credentials::Secret { settings, .. } => {
                let target = self.fetch_target(settings, Stage::Current).await?;
                self.remember(target.clone());
                Ok(target)
            }
        }
    }

    async fn connect_afresh(&mut self, stage: Stage) -> Result<Session, DatabaseError> {
        let Credentials::Secret { settings, .. } = &self.credentials else {
            return Err(DatabaseError::Credentials("28000".to_owned()));
        };
        let target = self.fetch_target(settings, stage).await?;
        let session = target.connect().await?;
        self.remember(target);
        Ok(session)
    }

    async fn fetch_target(
        &self,
        settings: &DatabaseSecretSettings,
        stage: Stage,
    ) -> Result<Target, DatabaseError> {
        let json = self.secrets.fetch(&settings.id, stage).await?;
        target_of_secret(settings, &DatabaseSecret::parse(&settings.id, &json)?)
    }

    fn remember(&mut self, target: Target) {
        if let Credentials::Secret { cached, .. } = &mut self.credentials {
            *cached = Some((target, Instant::now()));
        }
    }
}

impl Target {
    async fn connect(&self) -> Result<Session, DatabaseError> {
        let (client, connection) = self
            .config
            .connect(self.tls.clone())
            .await
            .map_err(|error| self.explain(error))?;
        let moving_bytes = tokio::spawn(async move {
            // The client learns of the end of its connection by itself, and reports it.
            if let Err(error) = connection.await {
                let reason = error
                    .as_db_error()
                    .map_or_else(|| causes(&error), |answer| answer.code().code().to_owned());
                tracing::debug!(reason, "connection ended");
            }
        });
        Ok(Session {
            client,
            connection: moving_bytes.abort_handle(),
        })
    }

    /// What an error means while connecting.
    fn explain(&self, error: tokio_postgres::Error) -> DatabaseError {
        let Some(answer) = error.as_db_error() else {
            return DatabaseError::Unreachable(causes(&error));
        };
        match answer.code().code() {
            "3D000" => {
                DatabaseError::NoDatabase(self.config.get_dbname().unwrap_or_default().to_owned())
            }
            code @ ("28P01" | "28000") => DatabaseError::Credentials(code.to_owned()),
            _ => error.into(),
        }
    }
}

fn target_of_secret(
    settings: &DatabaseSecretSettings,
    secret: &DatabaseSecret,
) -> Result<Target, DatabaseError> {
    let missing = |field, variable| SecretError::MissingField {
        id: settings.id.clone(),
        field,
        variable,
    };
    let host = settings
        .host
        .as_ref()
        .or(secret.host.as_ref())
        .ok_or_else(|| missing("host", "DB_HOST"))?;
    let name = settings
        .name
        .as_ref()
        .or(secret.dbname.as_ref())
        .ok_or_else(|| missing("dbname", "DB_NAME"))?;
    let mut config = Config::new();
    config
        .host(host)
        .port(settings.port.or(secret.port).unwrap_or(DEFAULT_PORT))
        .dbname(name);
    config
        .user(&secret.username)
        .password(secret.password.expose_secret());
    target(config, &settings.tls)
}

/// Reads a libpq URL. tokio-postgres does not know the TLS parameters, so they are taken out first.
/// Source: <https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNSTRING-URIS>.
fn target_of_url(url: &SecretString) -> Result<Target, DatabaseError> {
    let (base, query) = url
        .expose_secret()
        .split_once('?')
        .unwrap_or((url.expose_secret(), ""));
    if !base.starts_with("postgresql://") && !base.starts_with("postgres://") {
        return Err(DatabaseError::Url("it does not begin with postgresql://"));
    }
    let mut tls = TlsSettings {
        mode: SslMode::Prefer,
        root_cert: None,
    };
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => {
                tls.mode = mode
                    .parse()
                    .map_err(|()| DatabaseError::Url("its sslmode is unknown"))?
            }
            Some(("sslrootcert", path)) => {
                tls.root_cert = Some(
                    percent_decode_str(path)
                        .decode_utf8_lossy()
                        .into_owned()
                        .into(),
                )
            }
            _ => rest.push(parameter),
        }
    }
    let config = format!("{base}?{}", rest.join("&"))
        .parse()
        .map_err(|_| DatabaseError::Url("a part of it is malformed"))?;
    target(config, &tls)
}

fn target(mut config: Config, tls: &TlsSettings) -> Result<Target, DatabaseError> {
    config
        .application_name(env!("CARGO_PKG_NAME"))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .keepalives_idle(KEEPALIVE_IDLE)
        .ssl_mode(match tls.mode {
            SslMode::Disable => Negotiation::Disable,
            SslMode::Prefer => Negotiation::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Negotiation::Require,
        });
    Ok(Target {
        config,
        tls: MakeTlsConnector::new(tls_connector(tls)?),
    })
}

fn tls_connector(tls: &TlsSettings) -> Result<TlsConnector, DatabaseError> {
    let mut builder = TlsConnector::builder();
    builder
        .danger_accept_invalid_certs(!matches!(tls.mode, SslMode::VerifyCa | SslMode::VerifyFull));
    builder.danger_accept_invalid_hostnames(tls.mode != SslMode::VerifyFull);
    for certificate in tls
        .root_cert
        .as_deref()
        .map(root_certs)
        .transpose()?
        .unwrap_or_default()
    {
        builder.add_root_certificate(certificate);
    }
    builder
        .build()
        .map_err(|error| DatabaseError::Unreachable(error.to_string()))
}

fn root_certs(path: &Path) -> Result<Vec<Certificate>, DatabaseError> {
    let refused = |reason: String| DatabaseError::RootCert {
        path: path.display().to_string(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    match Certificate::stack_from_pem(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(refused("no certificate in it".to_owned())),
        Err(error) => Err(refused(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<Target, DatabaseError> {
        target_of_url(&text.into())
    }

    #[test]
    fn every_class_of_sqlstate_has_its_remedy() {
        let cases = [
            (
                Remedy::Isolate,
                vec![
                    "22001", "22P02", "23502", "23503", "23505", "23514", "23P01", "44000",
                    "54000", "P0001",
                ],
            ),
            (Remedy::Retry, vec!["40001", "40P01", "55P03", "57014"]),
            (
                Remedy::Reconnect,
                vec![
                    "08006", "25006", "53300", "57P01", "57P02", "57P03", "58030", "XX000",
                ],
            ),
            (Remedy::Reauthenticate, vec!["28P01", "28000"]),
            (
                Remedy::GiveUp,
                vec!["42P01", "42703", "42501", "3D000", "0A000", "", "é"],
            ),
        ];
        for (remedy, codes) in cases {
            for code in codes {
                assert_eq!(Remedy::of_sqlstate(code), remedy, "{code}");
            }
        }
    }

    #[test]
    fn a_libpq_url_is_understood_with_its_tls_parameters() {
        let target = url(
            "postgresql://u:p%40ss@db.internal:6432/analytics?sslmode=require&connect_timeout=3",
        )
        .unwrap();
        assert_eq!(target.config.get_user(), Some("u"));
        assert_eq!(target.config.get_password(), Some("p@ss".as_bytes()));
        assert_eq!(target.config.get_ports(), [6432]);
        assert_eq!(target.config.get_dbname(), Some("analytics"));
        assert_eq!(target.config.get_ssl_mode(), Negotiation::Require);
        assert_eq!(
            url("postgres://u@h/d").unwrap().config.get_ssl_mode(),
            Negotiation::Prefer
        );
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_without_its_password() {
        for text in [
            "mysql://u:hunter2@h/d",
            "hunter2",
            "postgresql://u:hunter2@h:port/d",
            "postgresql://u:hunter2@h/d?sslmode=on",
            "postgresql://u:hunter2@h/d?colour=red",
        ] {
            let error = url(text).err().expect(text);
            assert!(matches!(error, DatabaseError::Url(_)), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        for path in ["/nowhere.pem", "Cargo.toml"] {
            let refused = url(&format!("postgresql://u@h/d?sslrootcert={path}"))
                .err()
                .unwrap();
            assert!(
                matches!(refused, DatabaseError::RootCert { .. }),
                "{refused}"
            );
        }
    }

    #[test]
    fn what_a_managed_secret_lacks_is_named_with_its_variable() {
        let tls = TlsSettings {
            mode: SslMode::Disable,
            root_cert: None,
        };
        let settings = DatabaseSecretSettings {
            id: "rds!x".into(),
            host: None,
            port: None,
            name: Some("d".into()),
            tls,
        };
        let secret =
            DatabaseSecret::parse("rds!x", &r#"{"username": "u", "password": "p"}"#.into())
                .unwrap();
        let error = target_of_secret(&settings, &secret).err().unwrap();
        assert_eq!(
            error.to_string(),
            "secret \"rds!x\" has no host: add it, or set DB_HOST"
        );
        let target = target_of_secret(
            &DatabaseSecretSettings {
                host: Some("h".into()),
                ..settings
            },
            &secret,
        )
        .unwrap();
        assert_eq!(
            (target.config.get_ports(), target.config.get_dbname()),
            (&[5432][..], Some("d"))
        );
    }
}
