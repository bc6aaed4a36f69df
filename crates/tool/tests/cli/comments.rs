//! `ddl --comments`: what the tables and columns hold, where the catalog shows it.

use crate::tool::Tool;
use testkit::{Database, assert_contains};

const MAPPING: &str = r#"
[[table]]
name = "orders"
when = { kind = "order" }
key = ["order_id"]
on_conflict = "update"
newer = "sent_at"
column = [
  { name = "order_id", type = "bigint", required = true },
  { name = "sent_at", type = "timestamptz", unit = "ms", from = "t" },
  { name = "email", type = "text", from = ["customer.email", "email"], transform = ["trim", "lowercase"], mask = "hmac-sha256" },
  { name = "the \"customer\"", type = "jsonb", from = "customer", clear = true },
  { name = "it's", type = "text", from = "back\\slash.'quote'.\"two\nlines\".\u202E\u0000", default = "o'clock" },
]
[[table]]
name = "lines"
parent = "orders"
each = "lines"
key = ["order_id", "line"]
column = [
  { name = "order_id", type = "bigint", from = "^.order_id", required = true },
  { name = "line", type = "integer", from = "@index" },
  { name = "total", type = "numeric", jq = ".price * .quantity", clear = true },
]
[[table]]
name = "pings"
when = { kind = "ping" }
key = ["id"]
column = [ { name = "id", type = "uuid", from = "@message_id" } ]
"#;

#[tokio::test]
async fn the_catalog_shows_where_each_column_comes_from_and_how_it_is_masked() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(MAPPING);
    database.execute(&tool.run("ddl").await.exits(0).out).await;
    let comments = tool.run("ddl --comments").await.exits(0).out;
    for settings in ["on", "off"] {
        database
            .execute(&format!(
                "SET standard_conforming_strings = {settings}; {comments}"
            ))
            .await;
    }
    let columns = "SELECT c.relname || '.' || a.attname, pg_catalog.col_description(c.oid, a.attnum) FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attnum > 0 ORDER BY c.oid, a.attnum";
    assert_eq!(
        database.rows(columns).await,
        [
            ["orders.order_id", "from order_id"],
            ["orders.sent_at", "from t, unit ms, newer"],
            [
                "orders.email",
                "from customer.email or email, trim, lowercase, hmac-sha256"
            ],
            ["orders.the \"customer\"", "from customer, clear"],
            [
                "orders.it's",
                "from back\\slash.'quote'.two\\nlines.\\u{202e}\\0, default \"o'clock\""
            ],
            ["lines.order_id", "from ^.order_id"],
            ["lines.line", "from @index"],
            ["lines.total", "from jq .price * .quantity, clear"],
            ["pings.id", "from @message_id"],
        ]
    );
    let tables = "SELECT relname::text, pg_catalog.obj_description(oid, 'pg_class') FROM pg_class
         WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY oid";
    assert_eq!(
        database.rows(tables).await,
        [
            [
                "orders",
                "filled by sqs-to-postgres, a row per message; key order_id; the newest message by sent_at counts"
            ],
            [
                "lines",
                "filled by sqs-to-postgres, a row per element of lines; key order_id, line; rows belong to orders"
            ],
            [
                "pings",
                "filled by sqs-to-postgres, a row per message; key id; the first message counts"
            ],
        ]
    );
}

#[tokio::test]
async fn comments_and_views_are_printed_together_and_change_no_table() {
    let database = Database::new().await;
    let mapping = include_str!("../../../../examples/history.toml").replace("\"shop.", "\"");
    let tool = Tool::on(&database).mapping(&mapping);
    database.execute(&tool.run("ddl").await.exits(0).out).await;
    let both = tool.run("ddl --history --comments").await.exits(0).out;
    assert!(!both.contains("CREATE TABLE"), "{both}");
    database.execute(&both).await;
    let difference = tool.run("ddl --diff").await.exits(0);
    assert_eq!(difference.out, "");
    assert_contains(&difference.err, "fits the mapping");
}
