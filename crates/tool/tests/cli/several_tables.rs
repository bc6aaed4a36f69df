//! Several tables: what `ddl`, `check` and `explain` make of such a mapping.

use serde_json::{Value, json};

use crate::ddl::create;
use crate::tool::Tool;
use testkit::batch::Batch;
use testkit::{Database, Setup, assert_contains, assert_ends};

/// The mapping of the reference: orders with lines.
pub(crate) fn reference() -> &'static str {
    const PAGE: &str = include_str!("../../../../docs/MAPPING.md");
    let (_, section) = PAGE.split_once("## Several tables").unwrap();
    let (_, block) = section.split_once("```toml\n").unwrap();
    block.split_once("```").unwrap().0
}

#[tokio::test]
async fn ddl_creates_all_tables_with_their_foreign_keys_and_check_finds_them() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(reference());
    create(&tool, &database).await;
    assert_eq!(tool.run("ddl --diff").await.out, "");
    database
        .execute("INSERT INTO orders VALUES (7, 1); INSERT INTO order_lines VALUES (7, 0, 'x'); DELETE FROM orders")
        .await;
    assert_eq!(database.count("order_lines").await, 0);
    let check = tool.run("check").await.exits(0);
    for table in ["\"orders\"", "\"order_lines\""] {
        assert_contains(&check.out, table);
    }
    database.execute("DROP TABLE order_lines").await;
    let missing = tool.run("ddl --diff").await.out;
    assert_contains(
        &missing,
        "FOREIGN KEY (\"order_id\") REFERENCES \"orders\" (\"order_id\") ON DELETE CASCADE",
    );
    assert_eq!(tool.run("check").await.code, 2);
    database.execute(&missing).await;
    assert_eq!(tool.run("check").await.code, 0);
}

#[tokio::test]
async fn explain_shows_all_rows_of_a_message_as_a_tree() {
    let database = Database::new().await;
    let order = json!({"type": "order", "order_id": 7, "version": 2, "lines": [{"sku": "A-1"}, {"sku": "B-2"}]});
    let bad = json!({"type": "order", "order_id": 8, "lines": [{"sku": "A-1"}, {}]});
    let deleted = json!({"type": "order.deleted", "order_id": 7, "version": 3});
    let other = json!({"type": "invoice"});
    let input = format!("{order}\n{bad}\n{deleted}\n{other}\n");
    let tool = Tool::on(&database).mapping(reference()).input(&input);
    let explained = tool.run("explain --show-values").await.exits(1);
    let heads: Vec<_> = explained
        .out
        .lines()
        .filter(|line| line.contains("row of"))
        .collect();
    assert_eq!(
        heads[..4],
        [
            "line 1: a row of \"orders\"",
            "    line 1: a row of \"order_lines\"",
            "    line 1: a row of \"order_lines\"",
            "line 3: deletes the row of \"orders\"",
        ]
    );
    for expected in [
        "table \"order_lines\", column \"sku\" from \"lines[1].sku\"",
        "line 4: no row",
        "4 messages: 4 rows, 1 rejected, 1 without a row",
    ] {
        assert!(
            explained.out.contains(expected),
            "{expected}: {}",
            explained.out
        );
    }
    let json = tool.run("explain --json --show-values").await.json();
    assert_eq!(json[0]["rows"][2]["table"], "order_lines");
    assert_eq!(json[0]["rows"][2]["columns"][1]["value"], "1");
    assert_eq!(
        (&json[1]["table"], &json[1]["path"]),
        (&json!("order_lines"), &json!("lines[1].sku"))
    );
    assert_eq!(json[2]["rows"][0]["deleted"], true);
    assert_eq!(json[3]["rows"], json!([]));
}

#[tokio::test]
async fn explain_names_the_paths_that_no_column_reads_and_counts_messages() {
    let line = |more: Value| {
        let mut line = json!({"sku": "c4n4ry"});
        line.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        line
    };
    let messages = [
        json!({"type": "order", "order_id": 7, "version": 2, "note": "c4n4ry", "lines": [line(json!({"discount": 1})), line(json!({"discount": 2, "gift": {"to": 1}}))]}),
        json!({"type": "order", "order_id": 8, "note": null, "lines": [line(json!({"discount": null, "a.b": [1, {"c": 1}]}))]}),
        json!({"type": "order.deleted", "order_id": 7, "by": {"a@example.org": "c4n4ry"}, "a@example.org": 1}),
    ];
    let input = messages.map(|message| message.to_string()).join("\n") + "\nno JSON\n";
    let tool = Tool::bare().mapping(reference()).input(&input);
    let unmapped = tool.run("explain --unmapped").await;
    let expected = "paths that no column reads
  *                 1 of 4 messages
  by                1 of 4 messages
  lines[].\"a.b\"     1 of 4 messages
  lines[].discount  1 of 4 messages
  lines[].gift      1 of 4 messages
  note              1 of 4 messages

4 messages: 6 paths that no column reads
";
    assert_eq!((unmapped.code, unmapped.out.as_str()), (1, expected));
    let json = tool.run("explain --unmapped --json").await.json();
    assert_eq!((json.len(), &json[0]["messages"]), (1, &json!(4)));
    assert_eq!(
        json[0]["unmapped"][5],
        json!({"path": "note", "messages": 1})
    );
}

/// What a column reads, it reads with all that is in it; `@rest` reads what no path touches, and `@body` everything.
#[tokio::test]
async fn what_is_stored_within_another_value_is_mapped() {
    let message = json!({"id": 1, "op": "u", "payload": "{\"tree\": {\"a\": [1]}, \"tags\": [\"x\", \"y\"], \"client\": {\"ip\": 1, \"os\": 2}, \"new\": 3, \"own\": 4}"});
    let with = |columns: &str| {
        let columns = columns.split(';').map(|column| {
            let (name, column_type, rest) = (|| {
                let mut words = column.split('|');
                Some((
                    words.next()?,
                    words.next()?,
                    words.next().unwrap_or_default(),
                ))
            })()
            .unwrap();
            format!("[[table.column]]\nname = \"{name}\"\ntype = \"{column_type}\"\n{rest}\n")
        });
        format!(
            "root = \"payload\"\n[[table]]\nname = \"t\"\nkey = [\"id\"]\nwhen = {{ \"$.op\" = \"u\" }}\n\
             [[table.column]]\nname = \"id\"\ntype = \"bigint\"\nfrom = \"$.id\"\nrequired = true\n{}",
            columns.collect::<String>()
        )
    };
    for (columns, expected) in [
        (
            "tree|jsonb",
            vec![
                "payload.client",
                "payload.new",
                "payload.own",
                "payload.tags",
            ],
        ),
        (
            "tree|jsonb;tag|text|from = \"tags.0\"",
            vec![
                "payload.client",
                "payload.new",
                "payload.own",
                "payload.tags[]",
            ],
        ),
        ("rest|jsonb|from = \"@rest\"", vec![]),
        (
            "os|integer|from = [\"client.os\", \"os\"];rest|jsonb|from = \"@rest\"\nexcept = [\"own\"]",
            vec!["payload.client.ip", "payload.own"],
        ),
        ("body|text|from = \"@body\"", vec![]),
        ("digest|text|from = \"@body_sha256\"", vec!["payload"]),
    ] {
        let tool = Tool::bare()
            .mapping(&with(columns))
            .input(&message.to_string());
        let unmapped = tool.run("explain --unmapped --json").await.exits(0);
        let json = unmapped.json().remove(0);
        let paths = json["unmapped"].as_array().unwrap().iter();
        let paths: Vec<&str> = paths.map(|path| path["path"].as_str().unwrap()).collect();
        assert_eq!(paths, expected, "{columns}");
    }
}

/// The table of the lines as `ddl` does not create it: with these constraints.
async fn with_lines(tool: &Tool, database: &Database, constraints: &str) {
    create(tool, database).await;
    database
        .execute(&format!(
            "DROP TABLE order_lines; CREATE TABLE order_lines (order_id bigint NOT NULL, line integer NOT NULL, sku text NOT NULL{constraints})"
        ))
        .await;
}

#[tokio::test]
async fn check_and_ddl_find_a_missing_foreign_key_and_a_missing_index_on_the_key_of_the_parent() {
    let foreign_key =
        "FOREIGN KEY (\"order_id\") REFERENCES \"orders\" (\"order_id\") ON DELETE CASCADE";
    let add = format!("ALTER TABLE \"order_lines\" ADD {foreign_key};");
    let index = "CREATE INDEX CONCURRENTLY ON \"order_lines\" (\"order_id\");";
    let unique = "CREATE UNIQUE INDEX CONCURRENTLY ON \"order_lines\" (\"order_id\", \"line\");";
    let part_of_it =
        ", PRIMARY KEY (order_id, line), FOREIGN KEY (order_id) REFERENCES orders NOT ENFORCED";
    let partial = ", UNIQUE (line, order_id), FOREIGN KEY (order_id) REFERENCES orders); \
        CREATE INDEX ON order_lines (order_id) WHERE line > 0; CREATE INDEX ON order_lines USING hash (order_id";
    for (constraints, code, fixes) in [
        ("", 2, vec![unique, &add]),
        (", PRIMARY KEY (order_id, line)", 0, vec![&add]),
        (part_of_it, 0, vec![&add]),
        (partial, 0, vec![index]),
        (
            ", UNIQUE (line) INCLUDE (order_id), PRIMARY KEY (line, order_id)",
            0,
            vec![&add, index],
        ),
    ] {
        let database = Database::new().await;
        let tool = Tool::on(&database).mapping(reference());
        with_lines(&tool, &database, constraints).await;
        let check = tool.run("check").await;
        assert_eq!(check.code, code, "{}{}", check.out, check.err);
        let json = tool.run("check --json").await.json();
        let bad: Vec<_> = json.iter().filter(|line| line["status"] != "ok").collect();
        let found: Vec<_> = bad
            .iter()
            .map(|line| line["fix"].as_str().unwrap())
            .collect();
        assert_eq!(found, fixes, "{constraints}");
        assert!(
            bad.iter().all(|line| line["table"] == "order_lines"),
            "{bad:?}"
        );
        for fix in fixes {
            let line = check.out.lines().find(|line| line.ends_with(fix)).unwrap();
            assert_contains(&line, "  \"order_lines\": ");
        }
        let diff = tool.run("ddl --diff").await;
        assert_eq!(diff.err, "\"orders\" fits the mapping\n");
        for statement in diff.out.split_inclusive(";\n") {
            database.execute(statement).await;
        }
        assert_eq!(tool.run("ddl --diff").await.out, "");
        let check = tool.run("check").await;
        assert_ends(&check.out, "\nready: 0 failures, 0 warnings\n");
    }
}

/// The statement of a batch deletes children before Postgres checks the foreign key, at its end.
#[tokio::test]
async fn check_names_a_key_that_the_table_stores_as_text_or_changes() {
    for (key_type, expected) in [
        ("text", "Postgres cannot compare them"),
        ("real", "too narrow for bigint: Postgres rounds"),
    ] {
        let database = Database::new().await;
        let tool = Tool::on(&database).mapping(reference());
        create(&tool, &database).await;
        database
            .execute(&format!(
                "DROP TABLE order_lines; CREATE TABLE order_lines \
                 (order_id {key_type}, line integer, sku text NOT NULL, PRIMARY KEY (order_id, line))"
            ))
            .await;
        let check = tool.run("check --json").await.exits(2);
        let lines = check.json();
        let column = lines
            .iter()
            .find(|line| line["status"] == "failure")
            .unwrap();
        assert!(
            column["text"].as_str().unwrap().contains(expected),
            "{column}"
        );
    }
}

#[tokio::test]
async fn a_foreign_key_that_does_not_cascade_is_fine() {
    for action in ["NO ACTION", "RESTRICT", "SET NULL"] {
        let database = Database::new().await;
        let tool = Tool::on(&database).mapping(reference());
        let constraint = format!(
            ", PRIMARY KEY (order_id, line), FOREIGN KEY (order_id) REFERENCES orders ON DELETE {action}"
        );
        with_lines(&tool, &database, &constraint).await;
        let check = tool.run("check").await;
        assert_ends(&check.out, "\nready: 0 failures, 0 warnings\n");
        assert_contains(
            &check.out,
            "order_lines_order_id_fkey, without ON DELETE CASCADE",
        );
        assert_eq!(tool.run("ddl --diff").await.out, "");
        let mut function = Setup::on(&database).mapping(reference()).start().await;
        let order = |version: usize, skus: &[&str]| {
            let lines: Vec<_> = skus.iter().map(|sku| json!({"sku": sku})).collect();
            json!({"type": "order", "order_id": 7, "version": version, "lines": lines})
        };
        let deleted = json!({"type": "order.deleted", "order_id": 7, "version": 3});
        for (message, lines) in [
            (order(1, &["a", "b", "c"]), 3),
            (order(2, &["d"]), 1),
            (deleted, 0),
            (order(4, &["e"]), 1),
        ] {
            let answer = function
                .invoke(&Batch::new().body("m", message).event())
                .await;
            assert_eq!(answer.failed_ids(), Vec::<String>::new(), "{action}");
            assert_eq!(database.count("order_lines").await, lines, "{action}");
        }
    }
}

#[tokio::test]
async fn ddl_fixes_each_table_and_partitions_only_one() {
    let database = Database::new().await;
    let tool = Tool::on(&database).mapping(reference());
    create(&tool, &database).await;
    database
        .execute("ALTER TABLE orders DROP COLUMN version; ALTER TABLE order_lines ALTER sku TYPE varchar(3)")
        .await;
    let diff = tool.run("ddl --diff").await.out;
    for fix in [
        "ALTER TABLE \"orders\" ADD COLUMN \"version\" integer;",
        "ALTER TABLE \"order_lines\" ALTER COLUMN \"sku\" TYPE text",
    ] {
        assert_contains(&diff, fix);
    }
    database.execute(&diff).await;
    assert_eq!(tool.run("ddl --diff").await.out, "");
    let refused = tool.run("ddl --partition-by version").await;
    let reason = "--partition-by requires a mapping of one table: add partitions to the output of `ddl` by hand\n";
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    assert!(refused.err.ends_with(reason), "{}", refused.err);
}
