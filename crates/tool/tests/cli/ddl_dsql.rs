//! `ddl --for dsql`: its statements are valid for Aurora DSQL, by AWS's own linter, and Postgres accepts them too. And
//! `check` against a proxy that refuses what DSQL refuses.

use dsql_lint::lint_sql;

use crate::tool::Tool;
use testkit::dsql::Dsql;
use testkit::{Database, assert_contains};

/// Every type that DSQL stores.
const TYPES: [&str; 15] = [
    "text",
    "varchar(7)",
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric(12,2)",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "bytea",
    "jsonb",
];

/// A mapping of a parent with every type, and of a child.
fn family(schema: &str) -> String {
    let column = |name: &str, kind: &str, from: &str| {
        format!(
            "[[table.column]]\nname = \"{name}\"\ntype = \"{kind}\"\nfrom = \"{from}\"\nrequired = true\n"
        )
    };
    let numbered = TYPES.iter().enumerate();
    let typed =
        numbered.map(|(number, kind)| column(&format!("c{number}"), kind, &format!("f{number}")));
    let parent = format!("[[table]]\nname = \"{schema}.orders\"\nkey = [\"id\"]\n");
    let child = format!(
        "[[table]]\nname = \"{schema}.lines\"\nparent = \"{schema}.orders\"\neach = \"lines\"\nkey = [\"id\", \"line\"]\n"
    );
    let parent = parent + &column("id", "uuid", "id") + &typed.collect::<String>();
    parent + &child + &column("id", "uuid", "^.id") + &column("line", "integer", "@index")
}

#[tokio::test]
async fn the_statements_are_those_of_dsql_and_postgres_accepts_them() {
    let database = Database::new().await;
    let schema = format!("{}_sales", database.schema);
    let mapping = family(&schema);
    let tool = Tool::on(&database).mapping(&mapping);
    let ddl = tool.run("ddl --for dsql").await.exits(0);
    let complaints = lint_sql(&ddl.out);
    assert!(complaints.is_empty(), "{complaints:?}\n{}", ddl.out);
    assert!(!ddl.out.contains("FOREIGN KEY"), "{}", ddl.out);
    for statement in ddl.out.split_inclusive(";\n") {
        database.execute(statement).await;
    }
    let dropped = format!("ALTER TABLE {schema}.orders DROP CONSTRAINT orders_pkey");
    database.execute(&dropped).await;
    let diff = tool.run("ddl --for dsql --diff").await;
    let index = format!("CREATE UNIQUE INDEX ASYNC ON \"{schema}\".\"orders\" (\"id\");");
    assert!(diff.out.contains(&index), "{}{}", diff.out, diff.err);
    assert!(lint_sql(&index).is_empty());
}

#[tokio::test]
async fn a_type_that_dsql_does_not_store_is_refused_with_its_replacement() {
    let cases = [
        ("text[]", "jsonb"),
        ("json", "jsonb"),
        ("inet", "text"),
        ("numeric", "numeric(p, s)"),
        ("varchar(70000)", "text"),
    ];
    for (kind, instead) in cases {
        let mapping = format!(
            "table = \"t\"\nkey = [\"id\"]\n[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n[[column]]\nname = \"value\"\ntype = \"{kind}\"\n"
        );
        let ddl = Tool::bare()
            .mapping(&mapping)
            .run("ddl --for dsql")
            .await
            .exits(2);
        let sentence = format!(
            "column \"value\" is {kind}, which Aurora DSQL does not store: map it as {instead}"
        );
        assert_contains(&ddl.err, &sentence);
    }
}

#[tokio::test]
async fn check_and_diff_ask_dsql_only_for_what_its_catalog_has() {
    let (database, dsql) = (Database::new().await, Dsql::new().await);
    let url = dsql.url(&database, "foo0bar1baz2quux3.dsql.eu-west-1.on.aws");
    let mapping = family(&database.schema);
    let tool = Tool::bare().mapping(&mapping).set("DATABASE_URL", &url);
    assert_eq!(tool.run("check").await.code, 2);
    let created = tool.run("ddl --for dsql").await.out;
    for statement in created.split_inclusive(";\n") {
        database.execute(statement).await;
    }
    let check = tool.run("check").await.exits(0);
    assert_contains(&check.out, "parent index");
    assert!(!check.out.contains("foreign key"), "{}", check.out);
    assert_eq!(tool.run("ddl --for dsql --diff").await.out, "");
    let dropped = format!(
        "ALTER TABLE {}.lines DROP CONSTRAINT lines_pkey",
        database.schema
    );
    database.execute(&dropped).await;
    let check = tool.run("check").await;
    assert_contains(&check.out, "CREATE UNIQUE INDEX ASYNC ON");
    assert_eq!(dsql.refused(), [] as [&str; 0]);
}
