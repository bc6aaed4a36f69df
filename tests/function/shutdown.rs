//! What happens when Lambda ends an environment.

use std::time::Duration;

use testkit::batch::{Batch, login};
use testkit::proxy::Proxy;
use testkit::{Asked, Database, Setup, eventually, server_address};

/// The message with which a client of Postgres closes the connection.
/// Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html>.
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// Without it the session remains on the server until its keepalive fails.
#[tokio::test]
async fn an_environment_that_ends_closes_its_connection() {
    for has_extensions in [true, false] {
        let database = Database::with_user_logins().await;
        let proxy = Proxy::before(server_address()).await;
        let url = database.url_through(proxy.address);
        let setup = Setup::on(&database).set("DATABASE_URL", &url);
        let setup = match has_extensions {
            true => setup,
            false => setup.without_extensions(),
        };
        let mut function = setup.start().await;
        let event = Batch::new().body("a", login()).event();
        function.invoke(&event).await.assert_none_failed();
        function.signal("TERM").await;
        let status = function.ends().await;
        assert!(status.success(), "{status}");
        eventually("the server is told", async || {
            proxy.sent().last()?.ends_with(&TERMINATE).then_some(())
        })
        .await;
        let mine = format!("pg_stat_activity WHERE {}", proxy.backends());
        eventually("the server has ended the session", async || {
            (database.count(&mine).await == 0).then_some(())
        })
        .await;
    }
}

/// Without an extension Lambda ends a function without a signal.
#[tokio::test]
async fn the_function_is_an_extension_without_events_before_its_first_invocation() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    function.ready().await;
    eventually("the extension asks for an event", async || {
        function.asked().contains(&Asked::NextEvent).then_some(())
    })
    .await;
    assert_eq!(function.asked()[0], Asked::Extension(0));
    assert_eq!(function.asked().len(), 3);
}

/// The batch is not answered, and is delivered again.
#[tokio::test]
async fn an_end_in_the_middle_of_a_batch_is_quick_too() {
    let database = Database::with_user_logins().await;
    let mut function = Setup::on(&database).start().await;
    let lock = database.lock("user_logins").await;
    let event = Batch::new().body("a", login()).event();
    function.send(&event, Duration::from_secs(30));
    database.wait_for_waiting("user_logins", 1).await;
    function.signal("TERM").await;
    assert!(function.ends().await.success());
    drop(lock);
}
