//! Keys of several tables that only Postgres knows to be equal, or that the table stores as others.

use serde_json::{Value, json};

use crate::child_tables::invoke;
use testkit::batch::{Batch, ids};
use testkit::{Database, Function, Setup, assert_contains};

/// Parents with children; `{k}` is the type of the key, `{settings}` the settings of the parent.
fn mapping(key_type: &str, settings: &str) -> String {
    format!(
        r#"
[[table]]
name = "parents"
key = ["k"]
{settings}
column = [
  {{ name = "k", type = "{key_type}", required = true }},
  {{ name = "v", type = "integer" }},
]

[[table]]
name = "children"
parent = "parents"
each = "children"
key = ["k", "child"]
column = [
  {{ name = "k", type = "{key_type}", from = "^.k", required = true }},
  {{ name = "child", type = "text", from = "name", required = true }},
]
"#
    )
}

fn parent(key: &str, v: i64, children: &[&str]) -> Value {
    let children: Vec<_> = children.iter().map(|name| json!({"name": name})).collect();
    json!({"k": key, "v": v, "children": children})
}

fn batch(bodies: &[Value]) -> Batch {
    let numbered = bodies.iter().enumerate();
    numbered.fold(Batch::new(), |batch, (number, body)| {
        batch.body(&number.to_string(), body.clone())
    })
}

async fn stored(database: &Database) -> Vec<String> {
    let rows = database
        .rows("SELECT k || ' v' || v FROM parents UNION ALL SELECT k || ' ' || child FROM children ORDER BY 1")
        .await;
    rows.into_iter().flatten().collect()
}

/// What is stored after a batch, and the messages of it that failed.
async fn after(ddl: &str, mapping: &str, bodies: &[Value]) -> (Vec<String>, Vec<String>) {
    let (database, mut function) = started(ddl, mapping).await;
    let failed = invoke(&mut function, batch(bodies)).await;
    (stored(&database).await, failed)
}

async fn started(ddl: &str, mapping: &str) -> (Database, Function) {
    let database = Database::with_tables_of(mapping).await;
    database.execute(ddl).await;
    let function = Setup::on(&database).mapping(mapping).start().await;
    (database, function)
}

/// `1.0` and `1.00` are one key to Postgres.
#[tokio::test]
async fn of_two_parents_whose_keys_only_postgres_knows_to_be_equal_one_counts_with_its_children() {
    let bodies = [parent("1.0", 1, &["a"]), parent("1.00", 2, &["b"])];
    let cases = [
        ("", ["1.0 a", "1.0 v1"]),
        ("on_conflict = \"update\"", ["1.0 v2", "1.00 b"]),
    ];
    for (settings, expected) in cases {
        let (stored, failed) = after("", &mapping("numeric", settings), &bodies).await;
        assert_eq!(
            (stored, failed),
            (expected.map(str::to_owned).to_vec(), ids(&[]))
        );
    }
}

/// The limit that GUARANTEES.md names: one row is stored, but not always the row of the first message.
#[tokio::test]
async fn of_equal_keys_in_one_batch_one_row_is_stored_under_ignore() {
    let mapping = "[[table]]\nname = \"t\"\nkey = [\"k\"]\ncolumn = [{ name = \"k\", type = \"numeric\", required = true }]";
    let (database, mut function) = started("", mapping).await;
    let bodies = ["1.00", "1.0", "1"].map(|key| json!({"k": key}));
    assert_eq!(invoke(&mut function, batch(&bodies)).await, ids(&[]));
    assert_eq!(
        database.rows("SELECT k::integer::text FROM t").await,
        [["1"]]
    );
}

#[tokio::test]
async fn a_deletion_after_a_row_whose_key_only_postgres_knows_to_be_equal_deletes_it() {
    let mut deletion = parent("1.00", 2, &[]);
    deletion["op"] = json!("d");
    let bodies = [parent("1.0", 1, &["a"]), deletion, parent("2", 1, &["b"])];
    for newer in ["", "newer = \"v\""] {
        let settings = format!("on_conflict = \"update\"\ndelete_when = {{ op = \"d\" }}\n{newer}");
        let (stored, failed) = after("", &mapping("numeric", &settings), &bodies).await;
        assert_eq!(
            (stored, failed),
            (vec!["2 b".into(), "2 v1".into()], ids(&[]))
        );
    }
}

/// Tables whose keys have another type than the mapped one.
fn with_keys_as(key_type: &str) -> String {
    format!(
        "ALTER TABLE children DROP CONSTRAINT children_k_fkey; \
         ALTER TABLE parents ALTER k TYPE {key_type}; ALTER TABLE children ALTER k TYPE {key_type}"
    )
}

const LOWERCASE: &str = "
    CREATE FUNCTION lowercase() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.k = lower(NEW.k); RETURN NEW; END $$;
    CREATE TRIGGER lowercase BEFORE INSERT ON parents FOR EACH ROW EXECUTE FUNCTION lowercase();
    CREATE TRIGGER lowercase BEFORE INSERT ON children FOR EACH ROW EXECUTE FUNCTION lowercase();";

#[tokio::test]
async fn a_parent_whose_key_the_table_changes_is_not_stored_without_its_children() {
    let cases = [
        ("double precision", with_keys_as("real"), ["0.1", "0.5"]),
        ("text", with_keys_as("varchar(1)"), ["b ", "a"]),
        ("text", LOWERCASE.to_owned(), ["B", "a"]),
    ];
    for (key_type, ddl, [changed, kept]) in cases {
        for settings in ["", "on_conflict = \"update\""] {
            let mapping = mapping(key_type, settings);
            let (database, mut function) = started(&ddl, &mapping).await;
            let bodies = [parent(changed, 1, &["x"]), parent(kept, 2, &["x"])];
            let failed = invoke(&mut function, batch(&bodies)).await;
            assert_eq!(failed, ids(&["0"]));
            assert_eq!(
                stored(&database).await,
                [format!("{kept} v2"), format!("{kept} x")]
            );
            let line = function.lines_of("message failed", 1).await.pop().unwrap();
            let reason = line["reason"].as_str().unwrap();
            assert_contains(&reason, "changed the key");
        }
    }
}

#[tokio::test]
async fn a_table_that_changes_every_key_is_named_and_no_message_is_blamed() {
    let (database, mut function) = started(LOWERCASE, &mapping("text", "")).await;
    let bodies: Vec<_> = ["A", "B", "C"].map(|key| parent(key, 1, &["x"])).into();
    let error = function.invoke(&batch(&bodies).event()).await.error();
    assert_contains(&error, "parents");
    assert_contains(&error, "changed the key");
    assert_eq!(stored(&database).await, ids(&[]));
}

/// A table without children takes any type in a text column; keys are compared.
#[tokio::test]
async fn a_key_that_is_text_in_the_table_and_mapped_as_another_type_is_named() {
    let mapping = mapping("uuid", "");
    let (_database, mut function) = started(&with_keys_as("text"), &mapping).await;
    let body = parent("6f1c1b5e-6f1c-4b5e-8f1c-6f1c1b5e6f1c", 1, &["x"]);
    let error = function.invoke(&batch(&[body]).event()).await.error();
    assert_contains(&error, "is text but mapped as uuid");
}

/// The limit that GUARANTEES.md names: bisecting does not divide a message.
#[tokio::test]
async fn elements_of_one_message_whose_keys_only_postgres_knows_to_be_equal_refuse_it_under_update()
{
    let table =
        "[[table]]\nname = \"t\"\neach = \"rows\"\nkey = [\"k\"]\non_conflict = \"update\"\n";
    let mapping = format!(
        "{table}column = [{{ name = \"k\", type = \"numeric\", required = true }}, {{ name = \"v\", type = \"text\" }}]"
    );
    let (database, mut function) = started("", &mapping).await;
    let rows = |keys: &[&str]| {
        let rows: Vec<_> = keys.iter().map(|key| json!({"k": key})).collect();
        json!({"rows": rows})
    };
    let bodies = [rows(&["1.0", "1.00"]), rows(&["2.0", "2.0"])];
    assert_eq!(invoke(&mut function, batch(&bodies)).await, ids(&["0"]));
    assert_eq!(database.rows("SELECT k::text FROM t").await, [["2.0"]]);
}

/// In a table without a parent, several elements may be changes of one row.
#[tokio::test]
async fn elements_with_one_key_in_a_table_without_a_parent_count_like_messages() {
    let table = "[[table]]\nname = \"t\"\neach = \"rows\"\nkey = [\"k\"]\n";
    let columns = "column = [{ name = \"k\", type = \"text\", required = true }, { name = \"v\", type = \"integer\" }]";
    let rows = json!({"rows": [{"k": "a", "v": 1}, {"k": "a", "v": 3}, {"k": "a", "v": 2}]});
    let update = "on_conflict = \"update\"\n";
    let newer = format!("{update}newer = \"v\"\n");
    for (settings, expected) in [("", "1"), (update, "2"), (&newer, "3")] {
        let mapping = format!("{table}{settings}{columns}");
        let (database, mut function) = started("", &mapping).await;
        let failed = invoke(&mut function, batch(std::slice::from_ref(&rows))).await;
        assert_eq!(failed, ids(&[]));
        assert_eq!(database.rows("SELECT v::text FROM t").await, [[expected]]);
    }
}
