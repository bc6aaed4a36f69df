//! TLS in front of the local Postgres that accepts a login only with a token of IAM authentication, as RDS does.
//! Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html>. The signature is
//! verified by <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>, without
//! the code that signs it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use sha2::{Digest as _, Sha256};
use time::PrimitiveDateTime;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_native_tls::TlsAcceptor;
use tokio_native_tls::native_tls::{self, Identity};

use crate::server_address;

/// The keys that the tests use with LocalStack, too.
const ACCESS_KEY: &str = "test";
const SECRET_KEY: &str = "test";

/// How far clocks may be apart.
const MAX_SKEW_SECS: i64 = 300;

type Mac = Hmac<Sha256>;

/// The server, which runs until the test ends.
pub struct IamFront {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// The password of the roles in the local Postgres, which the client does not know.
    password: String,
    /// How far its clock is ahead.
    ahead_secs: i64,
    /// The tokens of all logins.
    tokens: Mutex<Vec<String>>,
    /// Tokens below this number are not accepted again.
    refused_below: AtomicUsize,
    /// Connections below this number are closed.
    cut_below: watch::Sender<usize>,
}

impl IamFront {
    pub async fn new(identity: Identity, password: &str, ahead_secs: i64) -> Self {
        let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
        let acceptor = Arc::new(TlsAcceptor::from(acceptor));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            password: password.to_owned(),
            ahead_secs,
            tokens: Mutex::default(),
            refused_below: AtomicUsize::new(0),
            cut_below: watch::Sender::new(0),
        });
        let store = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, shared) = (Arc::clone(&acceptor), Arc::clone(&store));
                tokio::spawn(async move { shared.serve(client, &acceptor, address).await });
            }
        });
        Self { address, shared }
    }

    /// The tokens of all logins so far.
    pub fn tokens(&self) -> Vec<String> {
        self.shared.tokens.lock().unwrap().clone()
    }

    /// No token that was used so far is accepted again.
    pub fn refuse_used(&self) {
        let used = self.tokens().len();
        self.shared.refused_below.store(used, Ordering::Relaxed);
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.shared.cut_below.send_replace(self.tokens().len());
    }
}

impl Shared {
    async fn serve(
        &self,
        mut client: TcpStream,
        acceptor: &TlsAcceptor,
        address: SocketAddr,
    ) -> io::Result<()> {
        client.read_exact(&mut [0; 8]).await?;
        client.write_all(b"S").await?;
        let mut client = acceptor.accept(client).await.map_err(io::Error::other)?;
        let len = client.read_u32().await?;
        let mut startup = vec![0; len as usize];
        startup[..4].copy_from_slice(&len.to_be_bytes());
        client.read_exact(&mut startup[4..]).await?;
        client.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]).await?;
        client.flush().await?;
        let (_, token) = message(&mut client).await?;
        let token = String::from_utf8(token)
            .unwrap()
            .trim_end_matches('\0')
            .to_owned();
        let number = {
            let mut tokens = self.tokens.lock().unwrap();
            tokens.push(token.clone());
            tokens.len()
        };
        let is_refused = {
            let refused_below = self.refused_below.load(Ordering::Relaxed);
            self.tokens.lock().unwrap()[..refused_below].contains(&token)
        };
        let user = user_of(&startup);
        let verified = match is_refused {
            true => Err("refused for the test"),
            false => self.verify(&token, &user, address.port()),
        };
        if let Err(reason) = verified {
            eprintln!("the token is refused: {reason}");
            let fields = "SFATAL\0C28000\0MPAM authentication failed for user\0\0";
            send(&mut client, b'E', fields.as_bytes()).await?;
            return client.shutdown().await;
        }
        let mut server = self.log_in(&startup).await?;
        send(&mut client, b'R', &[0; 4]).await?;
        let mut cut = self.cut_below.subscribe();
        tokio::select! {
            done = copy_bidirectional(&mut client, &mut server) => done.map(drop),
            _ = cut.wait_for(|below| number <= *below) => Ok(()),
        }
    }

    /// Logs in to the local Postgres with the password of the role.
    async fn log_in(&self, startup: &[u8]) -> io::Result<TcpStream> {
        let mut server = TcpStream::connect(server_address()).await?;
        server.write_all(startup).await?;
        let mut scram = ScramSha256::new(self.password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let (kind, content) = message(&mut server).await?;
            let (code, rest) = content.split_at(4);
            match (kind, code[3]) {
                (b'R', 0) => return Ok(server),
                (b'R', 10) => {
                    let first = scram.message();
                    let len = (first.len() as u32).to_be_bytes();
                    let answer = [b"SCRAM-SHA-256\0", &len[..], first].concat();
                    send(&mut server, b'p', &answer).await?;
                }
                (b'R', 11) => {
                    scram.update(rest)?;
                    let answer = scram.message().to_owned();
                    send(&mut server, b'p', &answer).await?;
                }
                (b'R', 12) => scram.finish(rest)?,
                _ => panic!("Postgres refused the role"),
            }
        }
    }

    fn verify(&self, token: &str, user: &str, port: u16) -> Result<(), &'static str> {
        let (place, query) = token.split_once("/?").ok_or("not a URL")?;
        let host = format!("localhost:{port}");
        let query: BTreeMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let value = |name| query.get(name).copied().unwrap_or_default();
        let date = value("X-Amz-Date");
        let scope = format!(
            "{}/eu-west-1/rds-db/aws4_request",
            date.get(..8).unwrap_or_default()
        );
        let expected = [
            (place, host.as_str()),
            (value("Action"), "connect"),
            (value("DBUser"), user),
            (value("X-Amz-Algorithm"), "AWS4-HMAC-SHA256"),
            (
                value("X-Amz-Credential"),
                &format!("{ACCESS_KEY}/{scope}").replace('/', "%2F"),
            ),
            (value("X-Amz-Expires"), "900"),
            (value("X-Amz-SignedHeaders"), "host"),
        ];
        if expected.iter().any(|(found, expected)| found != expected) {
            return Err("not for this login");
        }
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let date_time = PrimitiveDateTime::parse(date, format).map_err(|_| "no date")?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let age = now as i64 + self.ahead_secs - date_time.assume_utc().unix_timestamp();
        if !(-MAX_SKEW_SECS..=900).contains(&age) {
            return Err("expired, or signed in the future");
        }
        let signed = query.iter().filter(|(name, _)| **name != "X-Amz-Signature");
        let signed: Vec<String> = signed
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let canonical = format!(
            "GET\n/\n{}\nhost:{host}\n\nhost\n{}",
            signed.join("&"),
            sha256(b"")
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            sha256(canonical.as_bytes())
        );
        let key = scope
            .split('/')
            .fold(format!("AWS4{SECRET_KEY}").into_bytes(), |key, part| {
                hmac(&key, part)
            });
        let is_signed =
            base16ct::lower::encode_string(&hmac(&key, &text)) == value("X-Amz-Signature");
        is_signed.then_some(()).ok_or("signed with another key")
    }
}

fn sha256(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Mac::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The user in the first message of a client.
fn user_of(startup: &[u8]) -> String {
    let mut parts = startup[8..].split(|byte| *byte == 0);
    parts.by_ref().find(|part| *part == b"user");
    String::from_utf8(parts.next().unwrap().to_vec()).unwrap()
}

async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let kind = from.read_u8().await?;
    let len = from.read_u32().await?;
    let mut content = vec![0; len as usize - 4];
    from.read_exact(&mut content).await?;
    Ok((kind, content))
}

async fn send(to: &mut (impl AsyncWrite + Unpin), kind: u8, content: &[u8]) -> io::Result<()> {
    let len = (content.len() as u32 + 4).to_be_bytes();
    to.write_all(&[&[kind], &len[..], content].concat()).await?;
    to.flush().await
}
