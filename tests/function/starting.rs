//! The systems that a start waits for, and those that it leaves to the first batch.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::join;

use testkit::aws::Queue;
use testkit::batch::{Batch, login};
use testkit::metrics::counted;
use testkit::proxy::Proxy;
use testkit::secrets_manager::{MASK_SECRET, Mood, SecretsManager};
use testkit::{
    Asked, Database, Function, Setup, assert_contains, database_name, database_url, server_address,
};

/// How long a start waits.
const START_TIME: Duration = Duration::from_secs(9);

/// The time of an invocation that waits for an unavailable system, and then has three seconds for SQS.
const TIME: Duration = Duration::from_secs(9);

async fn stored(function: &mut Function, name: &str) {
    let event = Batch::new().body(name, login()).event();
    function.invoke(&event).await.assert_none_failed();
}

/// The number of systems that a start has left to the first batch.
fn left(function: &Function) -> usize {
    let lines = function.log();
    lines.matches("retry with the first batch").count()
}

#[tokio::test]
async fn everything_is_done_concurrently_before_the_first_invocation_is_requested() {
    let database = Database::with_user_logins().await;
    let role = database.role("p").await;
    let server = server_address();
    let secret = json!({"username": role, "password": "p", "host": server.ip().to_string(),
        "port": server.port(), "dbname": database_name()});
    let secrets = SecretsManager::with(Mood::Holds, &[("database", secret)]);
    let setup = Setup::bare()
        .on_aws()
        .mask_secret_at(secrets.address)
        .set("DB_SECRET_ID", "database")
        .set("DB_SSLMODE", "disable");
    let mut function = setup.start().await;
    let mut asked = secrets.asked(2).await;
    asked.sort();
    assert_eq!(asked, ["database", MASK_SECRET]);
    assert!(!function.asked().contains(&Asked::Next));
    secrets.is(Mood::Answers);
    function.ready().await;
    let backends = format!("pg_stat_activity WHERE usename = '{role}'");
    assert_eq!(database.count(&backends).await, 1);
    counted(&function, "ColdStartMillis").await;
    stored(&mut function, "a").await;
    assert_eq!(secrets.asked(0).await.len(), 2);
}

#[tokio::test]
async fn an_attempt_that_is_never_answered_is_repeated_during_startup() {
    let database = Database::with_user_logins().await;
    let proxy = Proxy::before(server_address()).await;
    proxy.freeze_next();
    let secrets = SecretsManager::new(Mood::Stalls);
    let mut function = Setup::on(&database)
        .set("DATABASE_URL", &database.url_through(proxy.address))
        .on_aws()
        .mask_secret_at(secrets.address)
        .start()
        .await;
    secrets.asked(1).await;
    secrets.is(Mood::Answers);
    function.ready().await;
    assert_eq!(left(&function), 0, "{}", function.log());
    stored(&mut function, "a").await;
}

#[tokio::test]
async fn a_system_that_does_not_answer_in_nine_seconds_is_left_to_the_first_batch() {
    let database = Database::with_user_logins().await;
    let proxy = Proxy::before(server_address()).await;
    proxy.freeze_all();
    let secrets = SecretsManager::new(Mood::Stalls);
    let began = Instant::now();
    let mut function = Setup::on(&database)
        .set("DATABASE_URL", &database.url_through(proxy.address))
        .on_aws()
        .mask_secret_at(secrets.address)
        .start()
        .await;
    function.ready().await;
    assert!(began.elapsed() >= START_TIME - Duration::from_secs(1));
    assert_eq!(left(&function), 2, "{}", function.log());
    secrets.is(Mood::Answers);
    proxy.thaw_all();
    stored(&mut function, "a").await;
}

/// Nothing can be stored until the mask key is available; then it turns out that nothing was lost.
#[tokio::test]
async fn a_mask_secret_that_is_throttled_at_startup_is_retried_by_the_first_batch() {
    let database = Database::with_user_logins().await;
    let secrets = SecretsManager::new(Mood::Throttles);
    let setup = Setup::on(&database).on_aws();
    let mut function = setup.mask_secret_at(secrets.address).start().await;
    function.ready().await;
    assert_eq!(left(&function), 1, "{}", function.log());
    let before = secrets.asked(0).await.len();
    join!(stored(&mut function, "a"), async {
        secrets.asked(before + 4).await;
        secrets.is(Mood::Answers);
    });
    let after = secrets.asked(0).await.len();
    stored(&mut function, "b").await;
    assert_eq!(secrets.asked(0).await.len(), after, "the key is kept");
    assert_eq!(database.count("user_logins").await, 2);
}

#[tokio::test]
async fn a_mask_secret_that_cannot_be_read_in_time_backs_the_batch_off_and_the_function_continues()
{
    let cases = [Mood::Throttles, Mood::Stalls].map(async |mood| {
        let database = Database::with_user_logins().await;
        let (queue, secrets) = (Queue::new().await, SecretsManager::new(mood));
        queue.send(&login().to_string()).await;
        let message = &queue.receive_all(1).await[0];
        let batch = Batch::new().record(queue.record(message)).event();
        let setup = Setup::on(&database).on_aws();
        let mut function = setup.mask_secret_at(secrets.address).start().await;
        let (outcome, line) = function.invoke_until_backed_off(&batch, TIME).await;
        assert_contains(&outcome.error(), "secret \\\"mask\\\" could not be read");
        assert_eq!(line["messages"], 1);
        let failed = &function.lines_of("batch failed", 1).await[0];
        assert_eq!(
            (&failed["received"], &failed["stored"]),
            (&json!(1), &json!(0))
        );
        secrets.is(Mood::Answers);
        function.invoke(&batch).await.assert_none_failed();
        assert_eq!(database.count("user_logins").await, 1);
    });
    join_all(cases).await;
}

/// An event that is not from SQS is refused as such, with or without a mask key.
#[tokio::test]
async fn an_event_that_is_not_from_sqs_is_refused_even_without_the_mask_key() {
    let database = Database::with_user_logins().await;
    let secrets = SecretsManager::new(Mood::Throttles);
    let setup = Setup::on(&database).on_aws();
    let mut function = setup.mask_secret_at(secrets.address).start().await;
    let error = function.invoke_within(&json!({"a": 1}), TIME).await.error();
    assert_contains(&error, "not an SQS event");
}

/// For example one that is being restored under its name.
#[tokio::test]
async fn a_database_that_is_created_after_startup_is_connected_to_by_the_first_batch() {
    let maintenance = Database::with_user_logins().await;
    let (name, template) = (
        format!("{}_db", maintenance.schema),
        format!("{}_new", maintenance.schema),
    );
    let url = database_url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let mut function = Setup::on(&maintenance)
        .set("DATABASE_URL", &format!("{server}/{name}?sslmode=disable"))
        .start()
        .await;
    function.ready().await;
    assert!(function.log().contains("does not exist"));
    maintenance
        .execute(&format!("CREATE DATABASE {template}"))
        .await;
    let (client, connection) =
        tokio_postgres::connect(&format!("{server}/{template}"), tokio_postgres::NoTls)
            .await
            .unwrap();
    let connected = tokio::spawn(connection);
    client
        .batch_execute(include_str!("../../localstack/schema.sql"))
        .await
        .unwrap();
    drop(client);
    connected.await.unwrap().unwrap();
    let event = Batch::new().body("a", login()).event();
    let error = function.invoke_within(&event, TIME).await.error();
    assert_contains(&error, "does not exist");
    maintenance
        .execute(&format!("ALTER DATABASE {template} RENAME TO {name}"))
        .await;
    stored(&mut function, "a").await;
    function.end().await;
}
