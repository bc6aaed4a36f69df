//! The connection: credentials, TLS, reconnecting, and what an error of Postgres means.
//!
//! One connection per execution environment, kept across invocations. It does not know about rows: it returns a
//! client that works, or an error that says what must happen next.

mod canceller;
mod credentials;
mod error;
mod facts;
mod prepared;
mod server;
mod target;
mod tls;
mod token;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{Client, Config};

use crate::causes::causes;
use crate::config::{DatabaseSettings, SslMode, TlsSettings};
use crate::counts::Recovery;
use crate::secret::{Secrets, Stage};
pub use canceller::Canceller;
use credentials::RotatingSecret;
pub use error::DatabaseError;
pub use facts::{Durability, ServerFacts};
use prepared::Prepared;
pub use server::Server;
pub(crate) use server::TransactionLimit;
pub use target::is_loopback;
use target::{config_of_url, is_behind_rds_proxy, mode_of};
use tls::{Tls, TlsOfMode};
use token::Iam;

/// After this long without use the environment may have been frozen and the server may be gone silently, so the
/// connection is tested before a batch uses it.
const TRUSTED_IDLE: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// A stalled handshake must leave time for another attempt, because after a failover the name may resolve elsewhere:
/// it gets this share of the time left, within these bounds. They are enough for a server that resumes from a pause,
/// and for a busy one.
const HANDSHAKE_SHARE: u32 = 3;
const SHORTEST_HANDSHAKE: Duration = Duration::from_secs(1);
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);

/// Lambda kills an environment half a second after SIGTERM.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// For how long a statement that does not end is cancelled again and again, and how often.
const MAX_CANCELLING: Duration = Duration::from_secs(5);
const CANCEL_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A connection that is made when it is needed, and replaced when it breaks.
pub struct Database {
    credentials: Credentials,
    tls: Arc<Tls>,
    session: Option<Session>,
    /// Connections made since the last call of `take_recovery_counts`, without the first of all.
    reconnects: u64,
    was_connected: bool,
    server: Server,
    /// By the wall clock: the monotonic clock may stop while the environment is frozen.
    last_used: SystemTime,
}

enum Credentials {
    Url(SecretString),
    Secret(Box<RotatingSecret>),
    Iam(Box<Iam>),
}

/// A client, its prepared statements, and the task that moves its bytes.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) prepared: Prepared,
    /// By the wall clock, as above.
    made: SystemTime,
    tls: TlsOfMode,
    is_new: bool,
    /// Aborted when it is dropped: otherwise it would wait for the answer to an abandoned statement.
    connection: JoinSet<()>,
}

impl Session {
    /// Whether nothing was read of the tables on this connection.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Notes that the tables are known.
    pub(crate) fn set_known(&mut self) {
        self.is_new = false;
    }

    fn canceller(&self) -> Canceller {
        Canceller {
            token: self.client.cancel_token(),
            tls: self.tls.clone(),
        }
    }

    /// Cancels the statement in progress until it has ended, for some seconds at most: a request that reaches the
    /// server before the statement has no effect.
    async fn cancel_again(self) {
        let canceller = self.canceller();
        let give_up = Instant::now() + MAX_CANCELLING;
        // Answered after the statement.
        let mut ended = pin!(self.client.simple_query(""));
        while Instant::now() < give_up {
            if timeout(CANCEL_AGAIN_AFTER, &mut ended).await.is_ok() {
                return;
            }
            canceller.cancel(give_up).await;
        }
    }
}

impl Database {
    /// Reads the settings, and does not connect yet. `secret_ttl` is the age after which a secret is read again for a
    /// new connection.
    ///
    /// # Errors
    /// The URL or the file of certificates cannot be read.
    pub fn new(
        settings: DatabaseSettings,
        secret_ttl: Duration,
        secrets: Arc<Secrets>,
    ) -> Result<Self, DatabaseError> {
        let (credentials, tls, server) = match settings {
            DatabaseSettings::Url(url) => {
                let (config, tls) = config_of_url(&url)?;
                (Credentials::Url(url), tls, Server::of(&config))
            }
            DatabaseSettings::Iam(settings) => {
                let tls = settings.tls.clone();
                let server = Server::at(&settings.host);
                let iam = Iam {
                    settings,
                    secrets,
                    token: None,
                };
                (Credentials::Iam(Box::new(iam)), tls, server)
            }
            DatabaseSettings::Secret(settings) => {
                let tls = settings.tls.clone();
                let secret = RotatingSecret {
                    settings,
                    secrets,
                    ttl: secret_ttl,
                    cached: None,
                    refreshes: 0,
                };
                // DSQL has no passwords that could be stored.
                (Credentials::Secret(Box::new(secret)), tls, Server::Postgres)
            }
        };
        Ok(Self {
            credentials,
            tls: Arc::new(Tls::new(tls)?),
            session: None,
            reconnects: 0,
            was_connected: false,
            server,
            last_used: SystemTime::UNIX_EPOCH,
        })
    }

    /// A client whose connection works, as far as can be known.
    ///
    /// # Errors
    /// No connection could be made by then.
    pub async fn client(&mut self, until: Instant) -> Result<&Client, DatabaseError> {
        let session = self.session(until).await?;
        Ok(&session.client)
    }

    /// A connection that works, as far as can be known, with its prepared statements.
    pub(crate) async fn session(&mut self, until: Instant) -> Result<&mut Session, DatabaseError> {
        timeout_at(until, self.working_session(until))
            .await
            .map_err(|_| DatabaseError::Late)?
    }

    async fn working_session(&mut self, until: Instant) -> Result<&mut Session, DatabaseError> {
        // Before it is tested or made: a freeze in the middle of that could have broken it since.
        let asked = SystemTime::now();
        if !self.works().await {
            self.session = None;
            self.session = Some(self.connect(until).await?);
            self.reconnects += u64::from(self.was_connected);
            self.was_connected = true;
        }
        self.last_used = asked;
        self.session
            .as_mut()
            .ok_or_else(|| DatabaseError::Lost("closed at once".to_owned()))
    }

    /// The server, by its host.
    pub fn server(&self) -> Server {
        self.server
    }

    async fn works(&self) -> bool {
        let session = self.session.as_ref();
        let Some(session) = session.filter(|session| !session.client.is_closed()) else {
            return false;
        };
        if self.server.closes(session.made, SystemTime::now()) {
            return false;
        }
        let client = &session.client;
        // After the clock was set back the age is unknown, so the connection is tested then too.
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

    /// Host and port of the server.
    ///
    /// # Errors
    /// The secret that names them cannot be read, or the URL does not name a host.
    pub async fn address(&mut self) -> Result<(String, u16), DatabaseError> {
        facts::address(&self.config().await?)
    }

    /// The database connected to, and the role connected as.
    ///
    /// # Errors
    /// The secret that names them cannot be read.
    pub async fn name_and_role(&mut self) -> Result<[String; 2], DatabaseError> {
        let config = self.config().await?;
        let role = config.get_user().unwrap_or_default();
        Ok([config.get_dbname().unwrap_or(role), role].map(str::to_owned))
    }

    async fn config(&mut self) -> Result<Config, DatabaseError> {
        match &mut self.credentials {
            Credentials::Url(url) => Ok(config_of_url(url)?.0),
            Credentials::Secret(secret) => secret.config().await,
            Credentials::Iam(iam) => Ok(iam.config()),
        }
    }

    /// How much of the connection is verified.
    ///
    /// # Errors
    /// The secret that names the host cannot be read.
    pub async fn ssl_mode(&mut self) -> Result<SslMode, DatabaseError> {
        let config = self.config().await?;
        Ok(mode_of(&config, &self.tls.settings))
    }

    /// The TLS settings of the connection.
    pub fn tls_settings(&self) -> &TlsSettings {
        &self.tls.settings
    }

    /// The server's certificate in DER, read over a separate connection; `None` if it does not offer TLS.
    ///
    /// # Errors
    /// The server is unavailable, or the settings do not trust its certificate.
    pub async fn certificate(&mut self) -> Result<Option<Vec<u8>>, DatabaseError> {
        let config = self.config().await?;
        let tls = self.tls.of(&config);
        let shown = tokio::task::spawn_blocking(move || facts::certificate(&config, &tls));
        shown
            .await
            .map_err(|_| DatabaseError::Lost("internal error".to_owned()))?
    }

    /// Reconnects and secret refreshes since the last call; the caller counts statements.
    pub fn take_recovery_counts(&mut self) -> Recovery {
        let secret_refreshes = match &mut self.credentials {
            Credentials::Url(_) | Credentials::Iam(_) => 0,
            Credentials::Secret(secret) => secret.take_refreshes(),
        };
        Recovery {
            retries: 0,
            reconnects: std::mem::take(&mut self.reconnects),
            secret_refreshes,
        }
    }

    /// Drops the connection, so that the next use makes a new one.
    pub fn disconnect(&mut self) {
        self.session = None;
    }

    /// Ends the connection properly, so that the server need not find out that the environment has gone.
    pub async fn close(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let Session {
            client,
            mut connection,
            ..
        } = session;
        drop(client);
        let closed = timeout(CLOSE_TIMEOUT, connection.join_next()).await;
        if closed.is_err() {
            tracing::debug!("connection not closed in time");
        }
    }

    /// Drops a connection whose statement ran out of time, and asks the server to cancel it, so that abandoned
    /// statements do not pile up behind a lock. Best effort, and short; in the background the request is repeated until
    /// the statement has ended.
    pub async fn abandon(&mut self, until: Instant) {
        let Some(session) = self.session.take() else {
            return;
        };
        session.canceller().cancel(until).await;
        tokio::spawn(session.cancel_again());
    }

    /// What cancels the statements of the connection; `None` if there is none.
    pub fn canceller(&self) -> Option<Canceller> {
        self.session.as_ref().map(Session::canceller)
    }

    /// Connects with the known credentials; if they are refused, with those with which a rotation has replaced them
    /// or is about to.
    async fn connect(&mut self, until: Instant) -> Result<Session, DatabaseError> {
        let secret = match &mut self.credentials {
            Credentials::Url(url) => {
                return match open(config_of_url(url)?.0, &self.tls, until).await {
                    Err(DatabaseError::Credentials(code)) => {
                        Err(DatabaseError::UrlCredentials(code))
                    }
                    opened => opened,
                };
            }
            Credentials::Iam(iam) => {
                let opened = open(iam.config_with_token().await?, &self.tls, until).await;
                return opened.map_err(|error| iam.refused(error));
            }
            Credentials::Secret(secret) => secret,
        };
        match open(secret.config().await?, &self.tls, until).await {
            Err(DatabaseError::Credentials(_)) => {}
            opened => return opened,
        }
        match open_version(secret, Stage::Current, &self.tls, until).await {
            Err(DatabaseError::Credentials(code)) => {
                // Without a rotation there is no pending version; then the refusal is the better error.
                let refused = |_| DatabaseError::Credentials(code);
                open_version(secret, Stage::Pending, &self.tls, until)
                    .await
                    .map_err(refused)
            }
            opened => opened,
        }
    }
}

/// Reads a version of the secret, connects with it, and keeps it if that succeeds.
async fn open_version(
    secret: &mut RotatingSecret,
    stage: Stage,
    tls: &Arc<Tls>,
    until: Instant,
) -> Result<Session, DatabaseError> {
    let version = secret.read(stage).await?;
    let session = open(secret.config_of(&version)?, tls, until).await?;
    secret.remember(version);
    Ok(session)
}

async fn open(config: Config, tls: &Arc<Tls>, until: Instant) -> Result<Session, DatabaseError> {
    let left = until.saturating_duration_since(Instant::now());
    let handshake = (left / HANDSHAKE_SHARE).clamp(SHORTEST_HANDSHAKE, LONGEST_HANDSHAKE);
    let tls = tls.of(&config);
    let (client, connection) = timeout(handshake, config.connect(tls.clone()))
        .await
        .map_err(|_| DatabaseError::Late)?
        .map_err(|error| explain(&config, error))?;
    let mut moving_bytes = JoinSet::new();
    moving_bytes.spawn(async move {
        // The client notices the end of its connection by itself, and reports it.
        if let Err(error) = connection.await {
            tracing::debug!(reason = %DatabaseError::from(error), "connection ended");
        }
    });
    Ok(Session {
        client,
        prepared: match Server::of(&config) {
            Server::Postgres if is_behind_rds_proxy(&config) => Prepared::Unsupported,
            Server::Postgres => Prepared::Unknown,
            Server::Dsql => Prepared::Unsupported,
        },
        made: SystemTime::now(),
        tls,
        is_new: true,
        connection: moving_bytes,
    })
}

/// The meaning of an error while connecting.
fn explain(config: &Config, error: tokio_postgres::Error) -> DatabaseError {
    let Some(answer) = error.as_db_error() else {
        return DatabaseError::Unreachable(causes(&error));
    };
    match answer.code().code() {
        "3D000" => DatabaseError::NoDatabase(config.get_dbname().unwrap_or_default().to_owned()),
        code @ ("28P01" | "28000") => DatabaseError::Credentials(code.to_owned()),
        "53300" => DatabaseError::Full,
        "53400" => DatabaseError::Throttled,
        _ => error.into(),
    }
}
