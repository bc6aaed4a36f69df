//! Properties of a server that `check` reports, and whether a pooler is in between.

use std::future::{Ready, ready};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
};
use tokio_postgres::config::Host;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config};

use super::DatabaseError;
use super::server::Server;
use super::target::DEFAULT_PORT;
use super::tls::TlsOfMode;
use crate::causes::causes;

/// Asks the server whether it speaks TLS; it answers with one byte.
/// Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html> (SSLRequest).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const SSL_ACCEPTED: u8 = b'S';

/// A cancel request: its length, its code, and then the process id that was announced at the start of the connection.
const CANCEL_REQUEST_BYTES: usize = 16;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The server at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// For example `18.1`.
    pub version: String,
    /// The database connected to.
    pub database: String,
    /// The role connected as.
    pub role: String,
    /// A standby, or a read-only server.
    pub is_read_only: bool,
    /// How many connections it allows for roles like this one.
    pub connections: i64,
    /// Whether a pooler announced a process id other than the server's.
    pub is_pooled: bool,
    /// What commits of this role wait for, and so survive.
    pub durability: Durability,
    /// Schemas of the role's search path in which other roles may create objects, each with one of those roles; both
    /// quoted.
    pub open_schemas: Vec<(String, String)>,
    /// The timeouts that are set for this role, by their names.
    pub timeouts: Vec<(String, Duration)>,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The disk.
    Full,
    /// Nothing: `synchronous_commit` is off.
    NotSynchronous,
    /// The operating system: `fsync` is off.
    NotFlushed,
}

impl ServerFacts {
    /// Asks the server.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn read(client: &Client, server: Server) -> Result<Self, DatabaseError> {
        let reserved = "(SELECT coalesce(pg_catalog.sum(setting::bigint), 0)::bigint FROM pg_catalog.pg_settings \
            WHERE name IN ('superuser_reserved_connections', 'reserved_connections'))";
        let sql = format!(
            "SELECT pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1), pg_catalog.current_database()::pg_catalog.text, current_user::pg_catalog.text, \
             pg_catalog.current_setting('transaction_read_only')::boolean, \
             pg_catalog.current_setting('max_connections')::bigint - {reserved}, \
             pg_catalog.current_setting('synchronous_commit') = 'off', pg_catalog.current_setting('fsync') = 'off'"
        );
        let row = client.query_typed_one(&sql, &[]).await?;
        Ok(Self {
            version: row.try_get(0)?,
            database: row.try_get(1)?,
            role: row.try_get(2)?,
            is_read_only: row.try_get(3)?,
            connections: row.try_get(4)?,
            durability: match (row.try_get(5)?, row.try_get(6)?) {
                (_, true) => Durability::NotFlushed,
                (true, false) => Durability::NotSynchronous,
                (false, false) => Durability::Full,
            },
            is_pooled: !is_direct(client).await?,
            open_schemas: match server.has_full_catalog() {
                true => open_schemas(client).await?,
                false => Vec::new(),
            },
            timeouts: timeouts(client).await?,
        })
    }
}

/// The owner of a schema, and superusers, may do so anyway.
/// Source: <https://www.postgresql.org/docs/18/ddl-schemas.html#DDL-SCHEMAS-PATTERNS>.
async fn open_schemas(client: &Client) -> Result<Vec<(String, String)>, DatabaseError> {
    let sql = "SELECT pg_catalog.quote_ident(n.nspname), CASE WHEN r.rolname IS NULL THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END \
               FROM pg_catalog.pg_namespace n \
               CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) AS a \
               LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee \
               WHERE n.nspname = ANY (pg_catalog.current_schemas(false)) AND a.privilege_type = 'CREATE' \
               AND a.grantee <> n.nspowner AND r.rolsuper IS NOT TRUE AND r.rolname IS DISTINCT FROM current_user ORDER BY 1, 2";
    let rows = client.query_typed(sql, &[]).await?;
    let schemas = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    schemas.collect()
}

/// The timeouts that can stop a batch, in milliseconds; 0 means none and is omitted.
/// Source: <https://www.postgresql.org/docs/18/runtime-config-client.html>.
async fn timeouts(client: &Client) -> Result<Vec<(String, Duration)>, DatabaseError> {
    let sql = "SELECT name, setting::bigint FROM pg_catalog.pg_settings WHERE setting <> '0' AND name IN \
               ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout') \
               ORDER BY name";
    let mut timeouts = Vec::new();
    for row in client.query_typed(sql, &[]).await? {
        let millis: i64 = row.try_get(1)?;
        timeouts.push((
            row.try_get(0)?,
            Duration::from_millis(millis.unsigned_abs()),
        ));
    }
    Ok(timeouts)
}

/// Whether the process that answers has the announced process id. A pooler announces an id of its own.
pub(super) async fn is_direct(client: &Client) -> Result<bool, DatabaseError> {
    let answering = client.query_typed_one("SELECT pg_catalog.pg_backend_pid()", &[]);
    let answering: i32 = answering.await?.try_get(0)?;
    Ok(announced_process(client).await == Some(answering))
}

/// The process id that was announced when the connection was made. The client does not expose it, so it is read from
/// a cancel request that is never sent.
async fn announced_process(client: &Client) -> Option<i32> {
    let (ours, mut theirs) = tokio::io::duplex(CANCEL_REQUEST_BYTES);
    let cancel = client.cancel_token();
    let answer = async {
        let mut request = [0; CANCEL_REQUEST_BYTES];
        let (start, rest) = request.split_at_mut(SSL_REQUEST.len());
        theirs.read_exact(start).await.ok()?;
        if *start == SSL_REQUEST {
            theirs.write_all(&[SSL_ACCEPTED]).await.ok()?;
            theirs.read_exact(start).await.ok()?;
        }
        theirs.read_exact(rest).await.ok()?;
        let [a, b, c, d, ..] = *rest else { return None };
        Some(i32::from_be_bytes([a, b, c, d]))
    };
    let (_, process) = tokio::join!(cancel.cancel_query_raw(ours, Plain), answer);
    process
}

/// Replaces TLS for a request that is not sent.
struct Plain;

struct PlainStream(DuplexStream);

impl TlsConnect<DuplexStream> for Plain {
    type Stream = PlainStream;
    type Error = io::Error;
    type Future = Ready<io::Result<PlainStream>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        ready(Ok(PlainStream(stream)))
    }
}

impl TlsStream for PlainStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, into)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

/// The server's certificate in DER; `None` if it does not offer TLS.
pub(super) fn certificate(
    config: &Config,
    tls: &TlsOfMode,
) -> Result<Option<Vec<u8>>, DatabaseError> {
    let (host, port) = address(config)?;
    let mut stream = dial((&host, port)).map_err(unreachable)?;
    stream.write_all(&SSL_REQUEST).map_err(unreachable)?;
    let mut answer = [0];
    stream.read_exact(&mut answer).map_err(unreachable)?;
    if answer != [SSL_ACCEPTED] {
        return Ok(None);
    }
    let connector = tls.connector().map_err(unreachable)?;
    let stream = connector.connect(&host, stream).map_err(unreachable)?;
    let certificate = stream.peer_certificate().map_err(unreachable)?;
    let der = certificate.map(|shown| shown.to_der()).transpose();
    der.map_err(unreachable)
}

fn unreachable(error: impl std::error::Error) -> DatabaseError {
    DatabaseError::Unreachable(causes(&error))
}

/// The first host and port; a URL may name several.
pub(super) fn address(config: &Config) -> Result<(String, u16), DatabaseError> {
    let Some(Host::Tcp(host)) = config.get_hosts().first() else {
        return Err(DatabaseError::Url("it does not name a host"));
    };
    let port = config.get_ports().first().copied();
    Ok((host.clone(), port.unwrap_or(DEFAULT_PORT)))
}

/// A name may resolve to several addresses, and the server may listen on only one.
fn dial(address: (&str, u16)) -> io::Result<TcpStream> {
    let mut result = Err(io::Error::other("its name does not resolve"));
    for found in address.to_socket_addrs()? {
        result = TcpStream::connect_timeout(&found, TIMEOUT);
        if result.is_ok() {
            break;
        }
    }
    let stream = result?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}
