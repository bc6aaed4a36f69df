//! IAM authentication: a token for the connections of ten minutes, and what is said if AWS or Postgres refuses it.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::{Value, json};

use testkit::batch::{Batch, login};
use testkit::http::{Answer, serve};
use testkit::iam_front::IamFront;
use testkit::impostor::Impostor;
use testkit::tls_front::Authority;
use testkit::{
    Database, MASK_KEY, Setup, assert_contains, assert_starts, database_name, eventually,
};

/// A database behind a front that accepts only tokens.
struct House {
    database: Database,
    role: String,
    authority: Authority,
}

/// The password that the role has in Postgres; the function does not know it.
const PASSWORD: &str = "unknown to the function";

/// The time of an invocation that is to fail.
const TIME: Duration = Duration::from_secs(6);

impl House {
    async fn new() -> Self {
        let database = Database::with_user_logins().await;
        Self {
            role: database.role(PASSWORD).await,
            database,
            authority: Authority::new(),
        }
    }

    async fn front(&self, ahead_secs: i64) -> IamFront {
        let identity = self.authority.identity("localhost", 2100);
        IamFront::new(identity, PASSWORD, ahead_secs).await
    }

    fn setup(&self, port: u16) -> Setup {
        Setup::bare()
            .set("MASK_KEY", MASK_KEY)
            .set("DB_AUTH", "iam")
            .set("DB_HOST", "localhost")
            .set("DB_PORT", &port.to_string())
            .set("DB_NAME", &database_name())
            .set("DB_USER", &self.role)
            .set("DB_SSLROOTCERT", &self.authority.path())
            .set("AWS_ACCESS_KEY_ID", "test")
            .set("AWS_SECRET_ACCESS_KEY", "test")
    }
}

/// The error of a batch.
async fn refused(setup: Setup) -> String {
    let mut function = setup.start().await;
    let event = Batch::new().body("m", login()).event();
    let error = function.invoke_within(&event, TIME).await.error();
    let error: Value = serde_json::from_str(&error).unwrap();
    error["errorMessage"].as_str().unwrap().to_owned()
}

fn second() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}

#[tokio::test]
async fn new_connections_reuse_the_token_and_it_is_never_logged() {
    let house = House::new().await;
    let front = house.front(0).await;
    let setup = house.setup(front.address.port());
    let mut function = setup.set("AWS_LAMBDA_LOG_LEVEL", "TRACE").start().await;
    let event = |name| Batch::new().body(name, login()).event();
    function.invoke(&event("one")).await.assert_none_failed();
    // A token names its second.
    let first = second();
    eventually("the next second", async || (second() > first).then_some(())).await;
    front.cut();
    function.invoke(&event("two")).await.assert_none_failed();
    assert_eq!(house.database.count("user_logins").await, 2);
    let tokens = front.tokens();
    assert!(tokens.len() > 1);
    assert_eq!(tokens.first(), tokens.last());
    let log = function.end().await;
    for token in tokens {
        let (_, signature) = token.rsplit_once("X-Amz-Signature=").unwrap();
        assert!(!log.contains(signature), "{log}");
    }
}

#[tokio::test]
async fn a_token_that_was_refused_is_replaced_within_the_batch_and_not_used_again() {
    let house = House::new().await;
    let front = house.front(0).await;
    let mut function = house.setup(front.address.port()).start().await;
    let event = |name| Batch::new().body(name, login()).event();
    function.invoke(&event("one")).await.assert_none_failed();
    let first = front.tokens();
    front.refuse_used();
    for name in ["two", "three"] {
        front.cut();
        function.invoke(&event(name)).await.assert_none_failed();
    }
    assert_eq!(house.database.count("user_logins").await, 3);
    let mut tokens = front.tokens();
    assert_eq!(tokens[first.len()], first[0], "it was reused");
    // Until the next second a new token is the same.
    tokens.dedup();
    assert_eq!(tokens.len(), 2);
}

#[tokio::test]
async fn a_token_that_postgres_refuses_is_explained() {
    let house = House::new().await;
    let cases = [
        ("expired", 16 * 60, "test"),
        ("signed in the future", -10 * 60, "test"),
        ("other keys", 0, "another"),
    ];
    let cases = cases.map(async |(name, ahead_secs, secret)| {
        let front = house.front(ahead_secs).await;
        let setup = house.setup(front.address.port());
        let error = refused(setup.set("AWS_SECRET_ACCESS_KEY", secret)).await;
        let sentence = format!(
            "Postgres refused the IAM token of user {:?} (SQLSTATE 28000): grant it rds_iam, allow rds-db:connect on it, \
             check that the AWS credentials have not expired and that this machine's clock is correct, and look at RDS's \
             metric IamDbAuthConnectionFailureThrottling, because RDS gives the same answer to logins that it throttles",
            house.role
        );
        assert_eq!(error, sentence, "{name}");
    });
    join_all(cases).await;
    assert_eq!(house.database.count("user_logins").await, 0);
}

/// A stand-in for the agents that issue credentials to containers.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>.
fn issuer_of_expired_credentials() -> String {
    let answer = json!({"AccessKeyId": "test", "SecretAccessKey": "test", "Token": "t", "Expiration": "2020-01-01T00:00:00Z"});
    let address = serve(move |_| Some(Answer::new(200, &answer)));
    format!("http://{address}/")
}

#[tokio::test]
async fn credentials_that_cannot_sign_are_explained() {
    let house = House::new().await;
    let front = house.front(0).await;
    let setup = || house.setup(front.address.port());
    let without_keys = || {
        setup()
            .without("AWS_ACCESS_KEY_ID")
            .without("AWS_SECRET_ACCESS_KEY")
    };
    let (_, log) = without_keys().fail_to_start().await;
    assert_contains(&log, "no AWS credentials can be loaded: set AWS_PROFILE");
    let (_, log) = setup().without("AWS_DEFAULT_REGION").fail_to_start().await;
    assert_contains(&log, "no AWS region is set: set AWS_REGION");
    let issuer = issuer_of_expired_credentials();
    let expired = without_keys().set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &issuer);
    let error = refused(expired).await;
    assert_starts(
        &error,
        "AWS credentials cannot be loaded (they have expired): check the role of the task",
    );
    assert_eq!(front.tokens(), [] as [&str; 0]);
}

#[tokio::test]
async fn an_unverified_server_gets_no_token() {
    let house = House::new().await;
    let impostor = Impostor::with(Some(Authority::new().identity("localhost", 2100))).await;
    let error = refused(house.setup(impostor.address.port())).await;
    assert_contains(&error, "certificate");
    let plain = Impostor::with(None).await;
    let error = refused(house.setup(plain.address.port())).await;
    assert_contains(&error, "server does not support TLS");
    for (name, value) in [("DB_SSLMODE", "prefer"), ("DB_CHANNEL_BINDING", "require")] {
        let weaker = house.setup(impostor.address.port()).set(name, value);
        let (_, log) = weaker.fail_to_start().await;
        let sentence = format!("anyone who intercepts the token can log in with it: unset {name}");
        assert_contains(&log, &sentence);
    }
    assert_eq!((impostor.passwords(), plain.passwords()), (vec![], vec![]));
}
