//! Which servers the function trusts: valid and invalid certificates of a private authority.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::join;
use tokio::net::TcpListener;

use testkit::aws::Secret;
use testkit::batch::{Batch, login};
use testkit::impostor::Impostor;
use testkit::tls_front::{Authority, front};
use testkit::{
    Database, Outcome, PATIENCE, Setup, assert_contains, database_name, eventually, server_address,
};

/// A database with its secret, and certificates of every kind.
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

    /// A function that connects to this server with the secret.
    fn setup(&self, server: SocketAddr, mode: Option<&str>, root: Option<&Authority>) -> Setup {
        let setup = Setup::bare()
            .on_aws()
            .set("MASK_KEY", testkit::MASK_KEY)
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

    /// A function that connects with a URL.
    fn url_setup(&self, server: SocketAddr, parameters: &str) -> Setup {
        let url = format!(
            "postgresql://{}:p@localhost:{}/{}?{parameters}",
            self.role,
            server.port(),
            database_name()
        );
        Setup::bare()
            .set("MASK_KEY", testkit::MASK_KEY)
            .set("DATABASE_URL", &url)
    }
}

/// The time of an invocation that is to fail.
const TIME: Duration = Duration::from_secs(12);

async fn stores(setup: Setup, name: &str) {
    store_within(setup, name, PATIENCE).await.expect(name);
}

/// Stores a message, or says why not.
async fn store(setup: Setup, name: &str) -> Result<(), String> {
    store_within(setup, name, TIME).await
}

async fn store_within(setup: Setup, name: &str, time: Duration) -> Result<(), String> {
    let mut function = setup.start().await;
    let event = Batch::new().body(name, login()).event();
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
            house.setup(valid, Some("verify-full"), None),
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
}

/// A stand-in, because a real server does not stop responding on request: it refuses TLS until the batch has tried,
/// and then only listens.
#[tokio::test]
async fn the_fault_of_a_server_is_reported_although_the_last_attempts_were_cut_short() {
    let house = House::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (refused, is_silent) = (AtomicUsize::new(0), AtomicBool::new(false));
    let server = async {
        let mut kept = Vec::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            if !is_silent.load(Ordering::Relaxed) {
                let mut ssl_request = [0; 8];
                client.read_exact(&mut ssl_request).await.unwrap();
                client.write_all(b"N").await.unwrap();
                refused.fetch_add(1, Ordering::Relaxed);
            }
            kept.push(client);
        }
    };
    let invocation = async {
        let mut function = house.url_setup(address, "sslmode=require").start().await;
        function.ready().await;
        let before = refused.load(Ordering::Relaxed);
        let event = Batch::new().body("silent", login()).event();
        let fall_silent = eventually("the batch is refused", async || {
            (refused.load(Ordering::Relaxed) > before)
                .then(|| is_silent.store(true, Ordering::Relaxed))
        });
        let (outcome, ()) = join!(function.invoke_within(&event, TIME), fall_silent);
        outcome.error()
    };
    let told = tokio::select! {
        told = invocation => told,
        _ = server => unreachable!("the server goes on"),
    };
    assert_contains(&told, "server does not support TLS");
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
    let cases = cases.map(async |(name, setup)| stores(setup, name).await);
    join_all(cases).await;
    assert_eq!(house.database.count("user_logins").await, count);
}

/// For this function the public authority is one of the system's.
fn trusting(public: &Authority, setup: Setup) -> Setup {
    setup.set("SSL_CERT_FILE", &public.path())
}

#[tokio::test]
async fn with_a_named_authority_a_server_with_a_public_certificate_gets_no_password() {
    let house = House::new().await;
    let (public, ours) = (Authority::public(), Some(&house.ours));
    let impostor = Impostor::with(Some(public.identity("localhost", 2100))).await;
    let named = format!("sslrootcert={}", house.ours.path());
    let url = |mode: &str| house.url_setup(impostor.address, &format!("sslmode={mode}&{named}"));
    let modes = ["require", "verify-ca", "verify-full"];
    let cases = modes.iter().flat_map(|mode| {
        let by_secret = house.setup(impostor.address, Some(mode), ours);
        [(*mode, by_secret), (*mode, url(mode))]
    });
    let cases = cases.map(async |(mode, setup)| {
        let refused = store(trusting(&public, setup), "m").await.expect_err(mode);
        assert!(refused.contains("certificate"), "{mode}: {refused}");
    });
    join_all(cases).await;
    assert_eq!(impostor.passwords(), [] as [&str; 0]);
    // The control: a function that trusts the public authority sends the password.
    let trusts_all = house.setup(impostor.address, Some("verify-full"), None);
    store(trusting(&public, trusts_all), "m").await.unwrap_err();
    assert_eq!(impostor.passwords(), ["p"]);
}

#[tokio::test]
async fn with_verify_full_the_packaged_authorities_add_to_those_of_the_system() {
    let house = House::new().await;
    let public = Authority::public();
    let by_public = front(public.identity("localhost", 2100)).await;
    let package = house.ours.packaged();
    let setup = |server, mode| {
        let setup = house.setup(server, mode, None);
        let setup = setup.set("PIPELINE_FILE", "pipeline.toml");
        let setup = setup.set("LAMBDA_TASK_ROOT", &package.path());
        let setup = setup.set("DB_SSLROOTCERT", &format!("{}/ca.pem", package.path()));
        trusting(&public, setup)
    };
    stores(setup(house.valid().await, None), "rds").await;
    stores(setup(by_public, Some("verify-full")), "proxy").await;
    let impostor = Impostor::with(Some(public.identity("localhost", 2100))).await;
    let weaker = ["require", "verify-ca"].map(async |mode| {
        let refused = store(setup(impostor.address, Some(mode)), "m").await;
        assert!(refused.unwrap_err().contains("certificate"), "{mode}");
    });
    join_all(weaker).await;
    assert_eq!(impostor.passwords(), [] as [&str; 0]);
}

/// Their keys are not available here: that they are trusted shows in what a forged one is refused for.
#[tokio::test]
async fn the_authorities_of_rds_are_trusted_beside_those_of_the_system() {
    let house = House::new().await;
    let forged = front(Authority::forged_rds().identity("localhost", 2100)).await;
    for setup in [
        house.setup(forged, Some("verify-full"), None),
        house.url_setup(forged, "sslmode=verify-full"),
    ] {
        let refused = store(setup, "forged").await.unwrap_err();
        assert_contains(&refused, "certificate signature failure");
    }
    let unknown = store(
        house.setup(house.valid().await, Some("verify-full"), None),
        "unknown",
    );
    let reason = unknown.await.unwrap_err();
    assert_contains(&reason, "unable to get local issuer certificate");
    let only = store(house.setup(forged, None, Some(&house.ours)), "only").await;
    let reason = only.unwrap_err();
    assert_contains(&reason, "unable to get local issuer certificate");
}

#[tokio::test]
async fn verify_ca_without_an_authority_is_refused_at_start() {
    let house = House::new().await;
    let server = house.valid().await;
    let cases = [
        (
            house.setup(server, Some("verify-ca"), None),
            "DB_SSLMODE=verify-ca needs DB_SSLROOTCERT",
        ),
        (
            house.url_setup(server, "sslmode=verify-ca"),
            "its sslmode verify-ca needs an sslrootcert",
        ),
    ];
    for (setup, sentence) in cases {
        let (status, log) = setup.fail_to_start().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert_contains(&log, sentence);
    }
}

#[tokio::test]
async fn without_sslmode_only_a_loopback_connection_is_unverified() {
    let house = House::new().await;
    let (impostor, plain) = (Impostor::with(None).await, server_address());
    let elsewhere = |server: SocketAddr| {
        let url = format!(
            "postgresql://{}:p@db.internal:{}/{}?hostaddr=127.0.0.1",
            house.role,
            server.port(),
            database_name()
        );
        Setup::bare()
            .set("MASK_KEY", testkit::MASK_KEY)
            .set("DATABASE_URL", &url)
    };
    for server in [impostor.address, plain] {
        let refused = store(elsewhere(server), "m").await.unwrap_err();
        assert_contains(&refused, "server does not support TLS");
    }
    assert_eq!(impostor.passwords(), [] as [&str; 0]);
    stores(house.url_setup(plain, ""), "url").await;
    stores(house.setup(plain, None, None), "secret").await;
    assert_eq!(house.database.count("user_logins").await, 2);
}

#[tokio::test]
async fn with_channel_binding_required_an_unverified_server_gets_no_password() {
    let house = House::new().await;
    let impostor = Impostor::with(Some(house.others.identity("anybody", 2100))).await;
    let by_secret = || house.setup(impostor.address, Some("require"), None);
    let cases = [
        by_secret().set("DB_CHANNEL_BINDING", "require"),
        house.url_setup(impostor.address, "sslmode=require&channel_binding=require"),
    ];
    let cases = cases.map(async |setup| {
        let refused = store(setup, "m").await.unwrap_err();
        assert_contains(&refused, "channel binding");
    });
    join_all(cases).await;
    assert_eq!(impostor.passwords(), [] as [&str; 0]);
    store(by_secret(), "m").await.unwrap_err();
    assert_eq!(impostor.passwords(), ["p"]);
    let valid = house.valid().await;
    for (name, binding) in [("with", "prefer"), ("without", "disable")] {
        let setup = house.setup(valid, Some("require"), None);
        stores(setup.set("DB_CHANNEL_BINDING", binding), name).await;
    }
    let unknown = by_secret().set("DB_CHANNEL_BINDING", "on");
    let (_, log) = unknown.fail_to_start().await;
    assert_contains(&log, "DB_CHANNEL_BINDING must be require");
}
