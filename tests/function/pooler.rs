//! Poolers: the load works through PgBouncer in transaction mode, and sends nothing for which RDS
//! Proxy would pin a connection to its client.

use std::time::Duration;

use serde_json::json;
use tokio::join;

use crate::child_tables::{ORDERS, order, stored, with_orders};
use testkit::batch::{Batch, id, login, login_with};
use testkit::pgbouncer::PgBouncer;
use testkit::protocol::{Message, messages, named_text};
use testkit::proxy::Proxy;
use testkit::{Database, Mapping, Setup, server_address};

#[tokio::test]
async fn the_load_works_through_pgbouncer_in_transaction_mode() {
    const ROUNDS: usize = 20;
    let server = Proxy::before(server_address()).await;
    let Some(pooler) = PgBouncer::before(server.address).await else {
        return;
    };
    let database = Database::with_user_logins().await;
    database
        .execute("ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
        .await;
    let setup = || {
        Setup::on(&database)
            .set("DATABASE_URL", &pooler.url())
            .mapping(&Mapping::shipped().within(&database))
    };
    let (mut one, mut other) = join!(setup().start(), setup().start());
    for round in 0..ROUNDS {
        let batch = |function: &str| {
            let good = format!("{function}{round}");
            Batch::new()
                .body(&good, login())
                .body("bad", login_with("user_id", json!("refused")))
                .event()
        };
        let (batch_of_one, batch_of_other) = (batch("a"), batch("b"));
        let (first, second) = join!(one.invoke(&batch_of_one), other.invoke(&batch_of_other));
        assert_eq!(
            (first.failed_ids(), second.failed_ids()),
            (vec![id("bad")], vec![id("bad")])
        );
    }
    assert_eq!(database.count("user_logins").await as usize, 2 * ROUNDS);
    assert_eq!(server.opened(), 1, "both functions share one connection");
    let sent = server.sent();
    let mut named = messages(&sent[0]).into_iter().filter_map(named_text);
    assert_eq!(named.next(), None, "no statement is prepared");
    for function in [one, other] {
        assert!(!function.end().await.contains("retrying"));
    }
}

#[tokio::test]
async fn several_tables_are_stored_through_pgbouncer_in_transaction_mode() {
    const ROUNDS: i64 = 20;
    let Some(pooler) = PgBouncer::before(server_address()).await else {
        return;
    };
    let database = with_orders().await;
    let in_schema = |mapping: String, table: &&str| {
        let within = format!("\"{}.{table}\"", database.schema);
        let name = mapping.replace(&format!("name = \"{table}\""), &format!("name = {within}"));
        name.replace(
            &format!("parent = \"{table}\""),
            &format!("parent = {within}"),
        )
    };
    let tables = ["orders", "order_lines", "discounts"];
    let mapping = tables.iter().fold(ORDERS.to_owned(), in_schema);
    let setup = || {
        Setup::on(&database)
            .set("DATABASE_URL", &pooler.url())
            .mapping(&mapping)
    };
    let (mut one, mut other) = join!(setup().start(), setup().start());
    for round in 0..ROUNDS {
        let batch = |key: i64| {
            let good = order(key, round, &[("x", &[5]), ("y", &[])]);
            let bad = order(100 + key, round, &[("x", &[101])]);
            Batch::new().body("good", good).body("bad", bad).event()
        };
        let (batch_of_one, batch_of_other) = (batch(1), batch(2));
        let (first, second) = join!(one.invoke(&batch_of_one), other.invoke(&batch_of_other));
        assert_eq!(
            (first.failed_ids(), second.failed_ids()),
            (vec![id("bad")], vec![id("bad")])
        );
    }
    let rows = |key: i64| {
        let order = format!("{key} v{}", ROUNDS - 1);
        [
            order,
            format!("{key}.0 x"),
            format!("{key}.0.0 5%"),
            format!("{key}.1 y"),
        ]
    };
    let mut expected = [rows(1), rows(2)].concat();
    expected.sort();
    let mut found = stored(&database).await;
    found.sort();
    assert_eq!(found, expected);
}

/// Whether a pooler would pin the connection for this.
fn pins((kind, content): &Message<'_>) -> bool {
    const MOST_PINNED_BYTES: usize = 16 * 1024;
    match kind {
        // Parse: its name, then the text. RDS Proxy pins above 16 KB of text.
        'P' => {
            let text = String::from_utf8_lossy(&content[1..]).to_uppercase();
            let session = [
                "SET", "PREPARE", "LISTEN", "CREATE", "DECLARE", "DISCARD", "LOCK",
            ];
            content[0] != 0
                || text.len() > MOST_PINNED_BYTES
                || session.iter().any(|word| text.starts_with(word))
        }
        // Bind: its portal, then the statement.
        'B' => content[..2] != [0, 0],
        // Describe and Close: the kind, then the name.
        'D' | 'C' => content[1] != 0,
        // Execute: its portal.
        'E' => content[0] != 0,
        // A simple query; that of the connection test is empty.
        'Q' => *content != [0],
        // Sync, the end, and the answers to the server's questions for a password.
        'S' | 'X' | 'p' => false,
        _ => true,
    }
}

#[tokio::test]
async fn nothing_is_sent_for_which_rds_proxy_pins() {
    let database = Database::with_user_logins().await;
    database
        .execute("CREATE TYPE platform AS ENUM ('ios'); ALTER TABLE user_logins ALTER device_type TYPE platform USING NULL; ALTER TABLE user_logins ADD CHECK (user_id <> 'refused')")
        .await;
    let proxy = Proxy::before(server_address()).await;
    // By its name an endpoint of RDS Proxy, but with the address of this machine.
    let rds_proxy = format!(
        "logins.proxy-czz8vq.eu-central-1.rds.amazonaws.com:{}",
        proxy.address.port()
    );
    let url = database
        .url_through(proxy.address)
        .replace(&proxy.address.to_string(), &rds_proxy);
    let url = format!("{url}&hostaddr=127.0.0.1");
    let mut function = Setup::on(&database).set("DATABASE_URL", &url).start().await;
    let many = (0..2_000).fold(Batch::new(), |batch, number| {
        batch.body(&number.to_string(), login())
    });
    let many = many.body("bad", login_with("user_id", json!("refused")));
    assert_eq!(
        function.invoke(&many.event()).await.failed_ids(),
        [id("bad")]
    );
    let lock = database.lock("user_logins").await;
    let late = Batch::new().body("late", login()).event();
    let time = Duration::from_secs(10);
    assert_eq!(
        function.invoke_within(&late, time).await.failed_ids(),
        [id("late")]
    );
    drop(lock);
    function.invoke(&late).await.assert_none_failed();
    database
        .execute("ALTER TABLE user_logins DROP locale")
        .await;
    function.invoke(&late).await.error();
    let connections = proxy.sent();
    // A cancel request is a separate connection with no other message.
    let all: Vec<_> = connections.iter().flat_map(|sent| messages(sent)).collect();
    assert!(all.iter().filter(|(kind, _)| *kind == 'P').count() > 10);
    for message in &all {
        assert!(
            !pins(message),
            "{:?} {}",
            message.0,
            String::from_utf8_lossy(message.1)
        );
    }
}
