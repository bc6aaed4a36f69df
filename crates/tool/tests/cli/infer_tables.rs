//! `infer`: several tables, for arrays of objects and for messages of different types.

use serde_json::{Value, json};

use crate::ddl::create;
use crate::infer::inferred;
use crate::tool::Tool;
use testkit::batch::Batch;
use testkit::{Database, Setup, assert_contains, assert_ends};

fn lines(messages: impl IntoIterator<Item = Value>) -> String {
    let lines: Vec<String> = messages
        .into_iter()
        .map(|message| message.to_string())
        .collect();
    lines.join("\n")
}

/// Orders with lines, and lines with discounts; some have none.
fn order(n: usize) -> Value {
    let discount = |code: usize| json!({"code": format!("D{code}"), "by": {"email": format!("{code}@example.org")}});
    let line = |at: usize| {
        let discounts: Vec<Value> = (0..(n + at) % 3).map(discount).collect();
        json!({"sku": format!("A-{at}"), "price": "12.50", "position": at + 1, "discounts": discounts, "tags": ["x"]})
    };
    let contact = json!({"name": "Anna", "phone": "+41 44 668 18 00"});
    let lines: Vec<Value> = (0..n % 4).map(line).collect();
    json!({"order_id": n, "customer": {"id": n % 3, "contacts": [contact]}, "lines": lines, "empty": [], "mixed": [1, {"a": 1}]})
}

/// Orders, invoices and their cancellations.
fn event(n: usize) -> Value {
    let of = |kind: &str, mut fields: Value| {
        fields["type"] = json!(kind);
        fields["id"] = json!(format!("5e0d8f2a-0000-4000-8000-{n:012}"));
        fields
    };
    let items: Vec<Value> = (0..n % 3).map(|at| json!({"sku": at})).collect();
    match n % 4 {
        0 => of(
            "order.created",
            json!({"order": n, "total": 1.5, "items": items, "note": "x"}),
        ),
        1 => of(
            "order.updated",
            json!({"order": n, "total": 2.5, "items": items}),
        ),
        2 => of(
            "Invoice Paid",
            json!({"invoice": {"number": n, "paid_at": "2026-11-21T00:00:00Z"}, "ip": "192.0.2.1"}),
        ),
        _ => of(
            "order.created",
            json!({"order": n, "total": 1.5, "items": [], "note": "y"}),
        ),
    }
}

fn on_eventbridge(n: usize) -> Value {
    let detail = event(n);
    let kind = detail["type"].clone();
    json!({"version": "0", "id": format!("5e0d8f2a-0000-4000-8000-{n:012}"), "detail-type": kind, "source": "shop", "account": "1",
        "time": "2026-11-21T00:00:00Z", "region": "eu-central-1", "resources": [], "detail": detail})
}

/// The tables of a mapping, each with its words before its columns, without comments.
fn tables(mapping: &str) -> Vec<String> {
    let tables = mapping.split("[[table]]\n").skip(1);
    let head = |table: &str| {
        let head = table.split("\ncolumn = [").next().unwrap().lines();
        let head = head.map(|line| line.split('#').next().unwrap().trim());
        head.filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("; ")
    };
    tables.map(head).collect()
}

/// Every table of Postgres has columns of these names.
#[tokio::test]
async fn fields_that_are_called_like_system_columns_are_stored() {
    let sample = json!({"xmax": 1, "boxes": [{"xmin": 1, "ymin": 2, "Xmax": 3, "tableoid": 4, "ctid": {"cmin": 5, "cmax": 6}}]});
    let mapping = inferred(&sample.to_string()).await;
    let database = Database::with_tables_of(&mapping).await;
    let mut function = Setup::on(&database).mapping(&mapping).start().await;
    let answer = function
        .invoke(&Batch::new().body("a", sample).event())
        .await;
    answer.assert_none_failed();
    let stored = "messages_boxes WHERE (xmin_2, ymin, xmax_2, tableoid_2, cmin_2, cmax_2) = (1, 2, 3, 4, 5, 6)";
    assert_eq!(database.count(stored).await, 1, "{mapping}");
}

/// Schema and table have 63 bytes each.
#[tokio::test]
async fn a_long_name_of_a_table_with_its_schema_is_kept() {
    let table = format!("{}.{}", "s".repeat(63), "t".repeat(63));
    let tool = Tool::bare().input("{\"lines\": [{\"sku\": \"x\"}]}");
    let mapping = tool.run(&format!("infer --table {table}")).await.out;
    assert_contains(&mapping, &format!("name = \"{table}\""));
    let child = format!("name = \"{}.{}_2\"", "s".repeat(63), "t".repeat(61));
    assert_contains(&mapping, &child);
}

#[tokio::test]
async fn arrays_of_objects_become_child_tables_with_their_personal_data_masked() {
    let mapping = inferred(&lines((1..=20).map(order))).await;
    assert_eq!(
        tables(&mapping),
        [
            "name = \"messages\"; key = [\"message_id\"]; on_conflict = \"ignore\"",
            "name = \"messages_contacts\"; parent = \"messages\"; each = \"customer.contacts\"; key = [\"message_id\", \"position\"]",
            "name = \"messages_lines\"; parent = \"messages\"; each = \"lines\"; key = [\"message_id\", \"lines_position\"]",
            "name = \"messages_lines_discounts\"; parent = \"messages_lines\"; each = \"discounts\"; \
             key = [\"message_id\", \"lines_position\", \"discounts_position\"]",
        ]
    );
    let child = |name: &str| {
        let (_, table) = mapping.split_once(&format!("name = \"{name}\"\n")).unwrap();
        table.split("\n[[table]]").next().unwrap().to_owned()
    };
    for (table, expected) in [
        ("messages_contacts", "name = \"masked_name\""),
        ("messages_contacts", "name = \"masked_phone\""),
        (
            "messages_lines",
            "# key = [\"order_id\", \"lines_position\"]",
        ),
        ("messages_lines", "type = \"numeric\""),
        ("messages_lines", "from = \"^.order_id\""),
        ("messages_lines_discounts", "from = \"^.^.order_id\""),
        ("messages_lines_discounts", "from = \"^.@index\""),
        ("messages_lines_discounts", "from = \"by.email\", mask"),
        ("messages", "name = \"mixed\", type = \"jsonb\""),
    ] {
        assert!(child(table).contains(expected), "{expected}: {mapping}");
    }
    assert_eq!(mapping.matches("mask = ").count(), 3, "{mapping}");
}

#[tokio::test]
async fn the_position_of_an_element_is_its_key_unless_arrays_may_be_too_long() {
    let with = |elements: usize| {
        let array: Vec<Value> = (0..elements).map(|n| json!({"n": n})).collect();
        json!({"array": array, "more": [{"array": array}]})
    };
    let tables_of = async |elements| tables(&inferred(&with(elements).to_string()).await).len();
    assert_eq!((tables_of(500).await, tables_of(1_001).await), (4, 2));
    let irregular = [
        json!([{"a": 1}, null]),
        json!([{"a": 1}, 7]),
        json!({"a": 1}),
        json!([[{"a": 1}]]),
    ];
    for array in irregular {
        let messages = [json!({"array": [{"a": 1}]}), json!({"array": array})];
        let mapping = inferred(&lines(messages)).await;
        assert!(
            mapping.contains("type = \"jsonb\"") && tables(&mapping).is_empty(),
            "{mapping}"
        );
    }
}

#[tokio::test]
async fn messages_of_types_with_different_fields_become_rows_of_different_tables() {
    let mapping = inferred(&lines((0..20).map(event))).await;
    let expected = [
        "name = \"messages_order\"; when = { \"type\" = [\"order.created\", \"order.updated\"] }; key = [\"message_id\"]; on_conflict = \"ignore\"",
        "name = \"messages_order_items\"; parent = \"messages_order\"; each = \"items\"; key = [\"message_id\", \"position\"]",
        "name = \"messages_invoice_paid\"; when = { \"type\" = [\"Invoice Paid\"] }; key = [\"message_id\"]; on_conflict = \"ignore\"",
    ];
    assert_eq!(tables(&mapping), expected);
    assert_contains(&mapping, "\nunmatched = \"reject\" ");
    assert_contains(&mapping, "masked_ip");
    let events = inferred(&lines((0..20).map(on_eventbridge))).await;
    let whens: Vec<_> = events
        .lines()
        .filter(|line| line.starts_with("when = "))
        .collect();
    assert!(
        whens.len() == 2 && whens[1].contains("{ \"$.detail-type\" = [\"Invoice Paid\"] }"),
        "{whens:?}"
    );
    assert_eq!(events.matches("\nkey = [\"id\"]").count(), 2, "{events}");
}

/// What is personal in messages of one type is masked in messages of other types, or omitted: a deleted row may have
/// only the key and nulls.
#[tokio::test]
async fn what_is_masked_in_one_table_is_not_stored_in_plaintext_in_another() {
    let change = |n: usize| {
        let row = json!({"id": n, "origin": if n % 3 == 1 { "192.0.2.1" } else { "web" }, "email": "a@example.org", "total": "1.50"});
        let (op, before, after) = match n % 3 {
            0 => ("c", Value::Null, row),
            1 => ("u", row.clone(), row),
            _ => ("d", row, Value::Null),
        };
        json!({"op": op, "before": before, "after": after, "source": if n.is_multiple_of(3) { json!("192.0.2.1") } else { json!("x") }})
    };
    let input = lines((0..30).map(change));
    let inferred = Tool::bare().input(&input).run("infer").await.exits(0);
    assert!(tables(&inferred.out).len() > 1, "{}", inferred.out);
    let sources = inferred.out.matches("name = \"masked_source\"").count();
    assert_eq!(sources, tables(&inferred.out).len(), "{}", inferred.out);
    let omitted = "omitted: \"after\", which seems to contain an e-mail address";
    assert_contains(&inferred.err, omitted);
    let tool = Tool::bare().mapping(&inferred.out).input(&input);
    tool.run("explain --summary").await.exits(0);
}

/// A field whose values are data, personal, unusual, or not in most messages; or types with the same fields.
#[tokio::test]
async fn a_field_that_does_not_name_a_type_does_not_divide_the_messages() {
    let two = |field: &'static str, a: Value, b: Value| {
        (0..20).map(move |n| match n % 2 {
            0 => json!({field: a, "a": 1, "b": 2}),
            _ => json!({field: b, "c": 1, "d": 2}),
        })
    };
    let divided = inferred(&lines(two("op", json!("c"), json!("d")))).await;
    assert_eq!(tables(&divided).len(), 2);
    let alike = (0..20)
        .map(|n| json!({"type": if n % 2 == 0 { "a" } else { "b" }, "a": 1, "b": 2, "c": n}));
    let own = (0..20).map(|n| match n % 2 {
        0 => json!({"type": format!("t{n}"), "a": 1, "b": 2}),
        _ => json!({"type": format!("t{n}"), "c": 1, "d": 2}),
    });
    for messages in [
        lines(two("status", json!("open"), json!("closed"))),
        lines(two("type", json!("a@example.org"), json!("192.0.2.1"))),
        lines(two("type", json!("x".repeat(61)), json!("b"))),
        lines(two("type", json!(1), json!(2))),
        lines(two("type", json!("a"), json!(null))),
        lines(alike),
        lines(own),
    ] {
        let mapping = inferred(&messages).await;
        let mut whens = mapping.lines().filter(|line| line.starts_with("when = "));
        // Which fields there are may still divide them.
        assert!(whens.all(|when| when.contains("exists")), "{mapping}");
        let is_divided = messages.contains("\"d\":2");
        assert_eq!(tables(&mapping).is_empty(), !is_divided, "{mapping}");
    }
    let untyped = two("op", json!("c"), json!("d")).chain([json!({"a": 1})]);
    let inferred = Tool::bare().input(&lines(untyped)).run("infer").await;
    let reason = "omitted: line 21: it does not name its type, unlike most samples\n";
    assert!(inferred.err.ends_with(reason), "{}", inferred.err);
}

#[tokio::test]
async fn messages_without_arrays_of_objects_and_of_one_shape_get_the_short_form() {
    let message = |n: usize| json!({"id": n, "type": if n == 1 { "a" } else { "b" }, "tags": ["x"], "who": {"ip": "192.0.2.1"}});
    let expected = r##"#:schema ./pipeline.schema.json
# Editors complete and check the mapping once `sqs-to-postgres schema > pipeline.schema.json` has written that file.
# Proposed by `sqs-to-postgres infer` for 2 messages: review it before you deploy it.
# Add required = true to what no row may lack.

table = "messages"
key = ["message_id"]             # SQS's id: a redelivered message is stored once
# key = ["id"]                   # or this: unique in all 2 messages
# key = ["type"]                 # or this: unique in all 2 messages
on_conflict = "ignore"           # or "update", best with newer = "sent_at"
envelope = "none"                # the body is the message
column = [
  { name = "message_id", type = "uuid", from = "@message_id" },  # SQS's id: a redelivered message is stored once
  { name = "id", type = "bigint", required = true },
  { name = "tags", type = "text[]" },
  { name = "type", type = "text" },
  { name = "masked_ip", type = "varchar(64)", from = "who.ip", mask = "hmac-sha256" },  # its name suggests an IP address, and 2 of 2 values look like one
  { name = "sent_at", type = "timestamptz", from = "@sent_at" },  # when SQS received it
  # { name = "rest", type = "jsonb", from = "@rest" },  # fields that have no column, in plaintext
]
"##;
    assert_eq!(inferred(&lines([message(1), message(2)])).await, expected);
}

/// The mapping with the first of the other keys that it names for each table.
fn with_other_keys(mapping: &str) -> String {
    let mut tables: Vec<String> = mapping.split("[[table]]\n").map(str::to_owned).collect();
    for table in &mut tables {
        let other = table.lines().find_map(|line| line.strip_prefix("# key = "));
        if let Some(other) = other.map(|other| format!("\nkey = {other}\n")) {
            let (before, after) = table.split_once("\nkey = ").unwrap();
            *table = format!("{before}{other}{}", after.split_once('\n').unwrap().1);
        }
    }
    tables.join("[[table]]\n")
}

/// What is proposed creates its tables, passes `check`, and stores the samples: each order with its lines and their
/// discounts. So does the other key, if it is chosen in all tables.
#[tokio::test]
async fn the_proposed_tables_store_the_samples() {
    type Make = fn(usize) -> Value;
    let samples: [(Make, &[(&str, i64)]); 3] = [
        (
            order,
            &[
                ("messages", 20),
                ("messages_contacts", 20),
                ("messages_lines", 30),
                ("messages_lines_discounts", 30),
            ],
        ),
        (
            event,
            &[
                ("messages_order", 15),
                ("messages_order_items", 10),
                ("messages_invoice_paid", 5),
            ],
        ),
        (
            on_eventbridge,
            &[
                ("messages_order", 15),
                ("messages_order_items", 10),
                ("messages_invoice_paid", 5),
            ],
        ),
    ];
    for (make, counts) in samples {
        let input = lines((0..20).map(make));
        let mapping = inferred(&input).await;
        let other = with_other_keys(&mapping);
        for mapping in [&mapping, &other] {
            let database = Database::new().await;
            let tool = Tool::on(&database).mapping(mapping).input(&input);
            let explained = tool.run("explain --summary").await;
            assert_eq!(
                explained.code, 0,
                "{}{}{mapping}",
                explained.out, explained.err
            );
            assert!(!explained.out.contains("warning"), "{}", explained.out);
            create(&tool, &database).await;
            let check = tool.run("check").await;
            assert_ends(&check.out, "\nready: 0 failures, 0 warnings\n");
            let mut function = Setup::on(&database).mapping(mapping).start().await;
            let batch = (0..20).fold(Batch::new(), |batch, n| {
                batch.body(&format!("m{n}"), make(n))
            });
            let answer = function.invoke(&batch.event()).await;
            assert_eq!(answer.failed_ids(), Vec::<String>::new());
            for (table, rows) in counts {
                assert_eq!(database.count(table).await, *rows, "{table}");
            }
        }
    }
}
