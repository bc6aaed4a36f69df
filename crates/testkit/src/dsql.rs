//! A proxy in front of the local Postgres that refuses what Aurora DSQL refuses, by AWS's documentation: there is no
//! DSQL here. Read in November 2026:
//! - limits of a transaction, with SQLSTATE 54000: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/CHAP_quotas.html>
//! - statements: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-postgresql-compatibility-supported-sql-features.html>,
//!   <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-postgresql-compatibility-unsupported-features.html>
//! - catalogs: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-systems-tables.html>
//! - conflicts, with SQLSTATE 40001 and OC000: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/working-with-concurrency-control.html>
//!
//! It is stricter where the documentation says nothing: no statement has a name.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::{Database, server_address, superuser};

/// Source: `CHAP_quotas.html`, as above.
const THROTTLED: Refusal = ("53400", "Unable to accept connection, rate exceeded.");

const MAX_ROWS: usize = 3_000;
const MAX_BYTES: usize = 10 * 1024 * 1024;

/// First words of statements that DSQL does not have.
const UNSUPPORTED: [&str; 9] = [
    "COPY",
    "LOCK",
    "SAVEPOINT",
    "TRUNCATE",
    "VACUUM",
    "PREPARE",
    "DO",
    "LISTEN",
    "ALTER SYSTEM",
];

/// Catalogs that DSQL does not have, of those that a loader might read.
const CATALOGS: [&str; 8] = [
    "PG_AUTHID",
    "PG_DATABASE",
    "PG_ENUM",
    "PG_EXTENSION",
    "PG_LANGUAGE",
    "PG_PARTITIONED_TABLE",
    "PG_POLICY",
    "PG_PROC",
];

/// The proxy, which runs until the test ends.
pub struct Dsql {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Why something was refused.
    refused: Mutex<Vec<&'static str>>,
    /// The text of each statement.
    statements: Mutex<Vec<String>>,
    /// The rows of each transaction that was let through.
    rows: Mutex<Vec<usize>>,
    /// How many of the next transactions have a conflict.
    conflicts: Mutex<usize>,
    /// How many of the next logins exceed the rate of new connections.
    throttled: Mutex<usize>,
}

impl Dsql {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let store = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&store).serve(client));
            }
        });
        Self { address, shared }
    }

    /// The URL of a schema of the local Postgres behind this proxy, under this host name.
    pub fn url(&self, database: &Database, host: &str) -> String {
        let (user, password) = superuser();
        let url = database.url_as(&user, &password, self.address);
        let address = self.address.to_string();
        let named = format!("{host}:{}", self.address.port());
        format!(
            "{}&hostaddr=127.0.0.1&sslmode=disable",
            url.replace(&address, &named)
        )
    }

    /// Why something was refused so far.
    pub fn refused(&self) -> Vec<&'static str> {
        self.shared.refused.lock().unwrap().clone()
    }

    /// The text of each statement so far, once.
    pub fn statements(&self) -> BTreeSet<String> {
        let statements = self.shared.statements.lock().unwrap();
        statements.iter().cloned().collect()
    }

    /// The rows of each transaction that wrote some.
    pub fn transactions(&self) -> Vec<usize> {
        self.shared.rows.lock().unwrap().clone()
    }

    /// The next logins exceed the rate of new connections.
    pub fn throttle(&self, logins: usize) {
        *self.shared.throttled.lock().unwrap() = logins;
    }

    /// The next transactions have a conflict with another one.
    pub fn conflict(&self, times: usize) {
        *self.shared.conflicts.lock().unwrap() = times;
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(server_address()).await else {
            return;
        };
        let (mut from_client, to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let to_client = Arc::new(tokio::sync::Mutex::new(to_client));
        let answers = Arc::clone(&to_client);
        tokio::spawn(async move {
            let mut buffer = [0; 16 * 1024];
            while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
                if answers
                    .lock()
                    .await
                    .write_all(&buffer[..count])
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        // Closed by one side.
        self.pass_on(&mut from_client, &mut to_server, &to_client)
            .await
            .ok();
    }

    /// Passes on what belongs together, up to the end of a pipeline, or refuses all of it.
    async fn pass_on(
        &self,
        client: &mut OwnedReadHalf,
        server: &mut OwnedWriteHalf,
        to_client: &tokio::sync::Mutex<OwnedWriteHalf>,
    ) -> io::Result<()> {
        let len = client.read_u32().await?;
        let mut startup = len.to_be_bytes().to_vec();
        startup.resize(len as usize, 0);
        client.read_exact(&mut startup[4..]).await?;
        if self.is_throttled() {
            let (code, reason) = THROTTLED;
            self.refused.lock().unwrap().push(reason);
            let answer = error("FATAL", code, reason);
            return to_client.lock().await.write_all(&answer).await;
        }
        server.write_all(&startup).await?;
        let (mut pipeline, mut refusal, mut rows) = (Vec::new(), None, 0);
        loop {
            let kind = client.read_u8().await?;
            let len = client.read_u32().await?;
            let mut content = vec![0; len as usize - 4];
            client.read_exact(&mut content).await?;
            let text = text_of(kind, &content);
            refusal = refusal.or_else(|| refuse(kind, &content, text.as_deref()?));
            self.statements.lock().unwrap().extend(text);
            if kind == b'B' {
                rows = rows.max(rows_of(&content));
            }
            pipeline.push(kind);
            pipeline.extend_from_slice(&len.to_be_bytes());
            pipeline.extend_from_slice(&content);
            if !matches!(kind, b'S' | b'Q' | b'p' | b'X') {
                continue;
            }
            let all = std::mem::take(&mut pipeline);
            let reason = refusal
                .take()
                .or_else(|| self.limits(std::mem::take(&mut rows), all.len()));
            match reason {
                None => server.write_all(&all).await?,
                Some((code, reason)) => {
                    self.refused.lock().unwrap().push(reason);
                    let ready = [b'Z', 0, 0, 0, 5, b'I'];
                    let answer = [&error("ERROR", code, reason)[..], &ready].concat();
                    to_client.lock().await.write_all(&answer).await?;
                }
            }
        }
    }

    fn is_throttled(&self) -> bool {
        let mut left = self.throttled.lock().unwrap();
        let is_throttled = *left > 0;
        *left = left.saturating_sub(1);
        is_throttled
    }

    fn limits(&self, rows: usize, bytes: usize) -> Option<Refusal> {
        if rows == 0 {
            return None;
        }
        let mut conflicts = self.conflicts.lock().unwrap();
        if *conflicts > 0 {
            *conflicts -= 1;
            return Some((
                "40001",
                "change conflicts with another transaction, please retry: (OC000)",
            ));
        }
        if rows > MAX_ROWS {
            return Some(("54000", "transaction row limit exceeded"));
        }
        if bytes > MAX_BYTES {
            return Some(("54000", "transaction size limit 10mb exceeded"));
        }
        self.rows.lock().unwrap().push(rows);
        None
    }
}

/// An SQLSTATE and a text.
type Refusal = (&'static str, &'static str);

/// An answer of the server.
fn error(severity: &str, code: &str, reason: &str) -> Vec<u8> {
    let fields = format!("S{severity}\0C{code}\0M{reason}\0\0");
    let len = (fields.len() as u32 + 4).to_be_bytes();
    [b"E", &len[..], fields.as_bytes()].concat()
}

/// The statement of a message, if it has one.
fn text_of(kind: u8, content: &[u8]) -> Option<String> {
    let mut texts = content.split(|byte| *byte == 0);
    let text = match kind {
        b'Q' => texts.next()?,
        b'P' => texts.nth(1)?,
        _ => return None,
    };
    Some(String::from_utf8_lossy(text).into_owned())
}

fn refuse(kind: u8, content: &[u8], text: &str) -> Option<Refusal> {
    if kind == b'P' && content.first() != Some(&0) {
        return Some(("0A000", "a statement has a name"));
    }
    let text = text.to_uppercase();
    let statement = text.trim_start();
    if UNSUPPORTED.iter().any(|word| statement.starts_with(word)) {
        return Some(("0A000", "unsupported statement"));
    }
    if CATALOGS.iter().any(|name| text.contains(name)) {
        return Some(("42501", "unsupported catalog"));
    }
    let isolation = text.split_once("ISOLATION LEVEL ");
    let is_other = isolation.is_some_and(|(_, level)| !level.starts_with("REPEATABLE READ"));
    is_other.then_some(("0A000", "unsupported isolation level"))
}

/// The elements of the longest array among the parameters.
/// Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html> (Bind).
fn rows_of(bind: &[u8]) -> usize {
    /// The length of a null.
    const NULL: usize = u32::MAX as usize;
    let mut names = bind.splitn(3, |byte| *byte == 0);
    let Some(mut rest) = names.nth(2) else {
        return 0;
    };
    let mut number = |bytes: usize| {
        let (number, after) = rest.split_at(bytes);
        rest = after;
        number
            .iter()
            .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let formats = number(2);
    (0..formats).for_each(|_| _ = number(2));
    let parameters = number(2);
    let mut longest = 0;
    for _ in 0..parameters {
        let len = match number(4) {
            NULL => 0,
            len => len,
        };
        // Dimensions (none if it is empty), whether there are nulls, the type, the length of the first dimension.
        let read = match number(len.min(4)) {
            1 if len >= 20 => {
                number(8);
                longest = longest.max(number(4));
                16
            }
            _ => len.min(4),
        };
        (read..len).for_each(|_| _ = number(1));
    }
    longest
}
