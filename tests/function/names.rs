//! A statement gets a name where it lasts, so that Postgres plans it once, and nothing that is promised
//! changes. That poolers see no such names: `pooler`.

use serde_json::Value;

use crate::batch::{Batch, login};
use crate::pooler::{messages, named_text};
use crate::proxy::Proxy;
use crate::support::{Database, Setup, server_address};

const NOTHING: [String; 0] = [];

/// So many that each statement had a name long before the last.
const BATCHES: usize = 12;

fn batch(number: usize) -> Value {
    Batch::new().body(&number.to_string(), login()).event()
}

#[tokio::test]
async fn postgres_plans_the_statement_of_a_batch_once_a_connection() {
    let database = Database::with_user_logins().await;
    let proxy = Proxy::before(server_address()).await;
    let url = database.url_through(proxy.address);
    let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
    for connection in 0..2 {
        for number in 0..BATCHES {
            let batch = batch(BATCHES * connection + number);
            assert_eq!(function.invoke(&batch).await.failed_ids(), NOTHING);
        }
        let sent = &proxy.sent()[connection];
        let messages = messages(sent);
        let executed = messages.iter().filter(|(kind, _)| *kind == 'E').count();
        let named: Vec<_> = messages.into_iter().filter_map(named_text).collect();
        assert!(executed >= BATCHES, "{executed}");
        assert_eq!(named.len(), 1, "{named:?}");
        assert!(named[0].starts_with("INSERT INTO"), "{named:?}");
        proxy.cut();
    }
    assert_eq!(database.count("user_logins").await as usize, 2 * BATCHES);
    database.drop().await;
}

/// Whatever takes the name away: here a trigger.
#[tokio::test]
async fn a_statement_that_lost_its_name_costs_no_message() {
    let database = Database::with_user_logins().await;
    database
        .execute(
            "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 EXECUTE 'DEALLOCATE ALL'; RETURN NULL; END $$; \
             CREATE TRIGGER forget AFTER INSERT ON user_logins FOR EACH STATEMENT EXECUTE FUNCTION forget()",
        )
        .await;
    let mut function = Setup::on(&database).start().await;
    for number in 0..BATCHES {
        assert_eq!(function.invoke(&batch(number)).await.failed_ids(), NOTHING);
    }
    assert_eq!(database.count("user_logins").await as usize, BATCHES);
    let log = function.end().await;
    assert!(
        log.contains("26000") && log.contains("trying again"),
        "{log}"
    );
    database.drop().await;
}
