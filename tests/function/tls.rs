//! Whom the function takes for its database: certificates of an own authority, right and wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_native_tls::TlsAcceptor;
use tokio_native_tls::native_tls::{self, Identity};

use crate::aws::Secret;
use crate::batch::{Batch, login};
use crate::support::{Database, Outcome, Setup, TempFile, database_name, server_address};

/// What a client of Postgres asks before it begins with TLS.
/// Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html> (SSLRequest).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A certificate authority, and the file to trust it by.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: TempFile,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Every authority has this name, so that only their keys tell them apart.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "Authority of a test");
        let certificate = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            file: TempFile::new(&certificate.pem()),
        }
    }

    fn path(&self) -> String {
        self.file.0.display().to_string()
    }

    /// A server's certificate for this host that ends with this year.
    fn identity(&self, host: &str, last_year: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_after = date_time_ymd(last_year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pem = certificate.pem();
        Identity::from_pkcs8(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }
}

/// Puts TLS before the local Postgres, which was built without it.
async fn front(identity: Identity) -> SocketAddr {
    let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
    let acceptor = Arc::new(TlsAcceptor::from(acceptor));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, Arc::clone(&acceptor)));
        }
    });
    address
}

async fn serve(mut client: TcpStream, acceptor: Arc<TlsAcceptor>) -> Option<()> {
    let mut request = [0; SSL_REQUEST.len()];
    client.read_exact(&mut request).await.ok()?;
    if request != SSL_REQUEST {
        return None;
    }
    client.write_all(b"S").await.ok()?;
    let mut client = acceptor.accept(client).await.ok()?;
    let mut server = TcpStream::connect(server_address()).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

/// A database that is entered by a secret, and certificates of every kind.
struct House {
    database: Database,
    role: String,
    secret: Secret,
    ours: Authority,
    others: Authority,
}

impl House {
    async fn new() -> Self {
        let database = Database::with_user_logins().await;
        let role = database.role("p").await;
        Self {
            secret: Secret::of_role(&role, "p", json!({})).await,
            ours: Authority::new(),
            others: Authority::new(),
            database,
            role,
        }
    }

    async fn valid(&self) -> SocketAddr {
        front(self.ours.identity("localhost", 2100)).await
    }

    async fn expired(&self) -> SocketAddr {
        front(self.ours.identity("localhost", 2020)).await
    }

    async fn of_another_host(&self) -> SocketAddr {
        front(self.ours.identity("db.internal", 2100)).await
    }

    /// A function that finds the database there by its secret.
    fn setup(&self, server: SocketAddr, mode: Option<&str>, root: Option<&Authority>) -> Setup {
        let setup = Setup::bare()
            .on_aws()
            .set("MASK_KEY", crate::support::MASK_KEY)
            .set("DB_SECRET_ID", &self.secret.id)
            .set("DB_HOST", "localhost")
            .set("DB_PORT", &server.port().to_string())
            .set("DB_NAME", &database_name());
        let setup = match mode {
            Some(mode) => setup.set("DB_SSLMODE", mode),
            None => setup,
        };
        match root {
            Some(root) => setup.set("DB_SSLROOTCERT", &root.path()),
            None => setup,
        }
    }

    /// The same by a URL.
    fn url_setup(&self, server: SocketAddr, parameters: &str) -> Setup {
        let url = format!(
            "postgresql://{}:p@localhost:{}/{}?{parameters}",
            self.role,
            server.port(),
            database_name()
        );
        Setup::bare()
            .set("MASK_KEY", crate::support::MASK_KEY)
            .set("DATABASE_URL", &url)
    }

    async fn drop(self) {
        self.database.drop_role(&self.role).await;
        self.database.drop().await;
        self.secret.delete().await;
    }
}

/// Stores a message, or says why not.
async fn store(setup: Setup, name: &str) -> Result<(), String> {
    let mut function = setup.start().await;
    let event = Batch::new().body(name, login()).event();
    let time = Duration::from_millis(4_000);
    match function.invoke_within(&event, time).await {
        Outcome::Answer(answer) => {
            assert_eq!(answer, json!({"batchItemFailures": []}), "{name}");
            Ok(())
        }
        Outcome::Error(error) => Err(error["errorMessage"].as_str().unwrap().to_owned()),
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_who_it_is_gets_nothing() {
    let house = House::new().await;
    let (valid, expired) = (house.valid().await, house.expired().await);
    let (other_host, plain) = (house.of_another_host().await, server_address());
    let (ours, others) = (Some(&house.ours), Some(&house.others));
    let path = house.ours.path();
    let with_root = format!("sslmode=verify-full&sslrootcert={path}");
    let cases = [
        (
            "unknown",
            house.setup(valid, None, None),
            "unable to get local issuer certificate",
        ),
        (
            "wrongca",
            house.setup(valid, None, others),
            "certificate signature failure",
        ),
        (
            "host",
            house.setup(other_host, None, ours),
            "hostname mismatch",
        ),
        (
            "expired",
            house.setup(expired, None, ours),
            "certificate has expired",
        ),
        (
            "plain",
            house.setup(plain, None, ours),
            "server does not support TLS",
        ),
        (
            "reqplain",
            house.setup(plain, Some("require"), None),
            "server does not support TLS",
        ),
        (
            "caonly",
            house.setup(valid, Some("verify-ca"), others),
            "certificate",
        ),
        (
            "url",
            house.url_setup(valid, "sslmode=verify-full"),
            "certificate",
        ),
        (
            "urlhost",
            house.url_setup(other_host, &with_root),
            "hostname mismatch",
        ),
        (
            "urlplain",
            house.url_setup(plain, &with_root),
            "server does not support TLS",
        ),
    ];
    let cases = cases.map(async |(name, setup, reason)| {
        let refused = store(setup, name).await.expect_err(name);
        assert!(refused.contains(reason), "{name}: {refused}");
    });
    join_all(cases).await;
    assert_eq!(house.database.count("user_logins").await, 0);
    house.drop().await;
}

#[tokio::test]
async fn a_server_is_trusted_as_far_as_the_mode_asks() {
    let house = House::new().await;
    let (valid, expired) = (house.valid().await, house.expired().await);
    let other_host = house.of_another_host().await;
    let ours = Some(&house.ours);
    let with_root = format!("sslmode=verify-full&sslrootcert={}", house.ours.path());
    let cases = [
        ("default", house.setup(valid, None, ours)),
        ("full", house.setup(valid, Some("verify-full"), ours)),
        ("ca", house.setup(other_host, Some("verify-ca"), ours)),
        ("require", house.setup(valid, Some("require"), None)),
        ("reqhost", house.setup(other_host, Some("require"), None)),
        ("reqold", house.setup(expired, Some("require"), None)),
        ("url", house.url_setup(valid, &with_root)),
    ];
    let count = cases.len() as i64;
    let cases = cases.map(async |(name, setup)| store(setup, name).await.expect(name));
    join_all(cases).await;
    assert_eq!(house.database.count("user_logins").await, count);
    house.drop().await;
}
