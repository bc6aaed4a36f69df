//! Types of extensions, on a Postgres that has them: those of the local stack's, or of Debian's packages. A test is left
//! out, and that is reported, where they are not installed.

use mapping::Pipeline;
use serde_json::{Value, json};

use crate::casts::example;
use testkit::batch::{Batch, ids};
use testkit::extensions::{ExtensionServer, connect, left_out};
use testkit::{Database, Setup, assert_contains};

/// A type of a column, a value of it as a message has it, and as Postgres prints it; and one that Postgres refuses.
type Case = (&'static str, Value, &'static str, Value);

/// Stores a value of each type through the function, in a table that `ddl` makes, and reads it back; and then one by
/// one those that Postgres refuses.
async fn store_and_refuse(url: &str, cases: &[Case]) {
    let columns = cases.iter().enumerate().map(|(at, (cast, ..))| {
        format!("{{ name = \"c{at}\", type = \"text\", cast = \"{cast}\" }},\n")
    });
    let mapping = format!(
        "table = \"t\"\nkey = [\"id\"]\ncolumn = [{{ name = \"id\", type = \"uuid\", from = \"@message_id\" }},\n{}]",
        columns.collect::<String>()
    );
    let client = connect(url).await;
    let pipeline = Pipeline::parse("p", &mapping).unwrap();
    client
        .batch_execute(&pipeline.create_tables())
        .await
        .unwrap();
    let setup = Setup::bare().set("DATABASE_URL", url);
    let mut function = setup.mapping(&mapping).start().await;
    let mut good = json!({});
    for (at, (_, value, ..)) in cases.iter().enumerate() {
        good[format!("c{at}")] = value.clone();
    }
    let mut batch = Batch::new().body("good", good.clone());
    for (at, (.., refused)) in cases.iter().enumerate() {
        let mut bad = good.clone();
        bad[format!("c{at}")] = refused.clone();
        batch = batch.body(&format!("bad{at}"), bad);
    }
    let answer = function.invoke(&batch.event()).await;
    let names: Vec<_> = (0..cases.len()).map(|at| format!("bad{at}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(answer.failed_ids(), ids(&names), "{}", function.log());
    let lines = function.lines_of("message failed", cases.len()).await;
    for (at, ((cast, ..), line)) in cases.iter().zip(&lines).enumerate() {
        let reason = line["reason"].as_str().unwrap();
        let expected =
            format!(" table \"t\" column \"c{at}\", because it cannot read the value as ");
        assert_contains(&reason, &expected);
        assert_contains(&reason, cast.split(['(', '[']).next().unwrap());
    }
    for (at, (cast, _, printed, ..)) in cases.iter().enumerate() {
        let sql = format!("SELECT c{at}::text FROM t");
        let rows = client.query(&sql, &[]).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].get::<_, String>(0), *printed, "{cast}");
    }
}

/// Stores a message by a mapping of docs/MAPPING.md, and returns what an expression says of its row.
async fn stored_by_example(url: &str, number: usize, body: Value, sql: &str) -> String {
    let mapping = example(number);
    let client = connect(url).await;
    let pipeline = Pipeline::parse("docs/MAPPING.md", mapping).unwrap();
    let create = pipeline.create_tables();
    client.batch_execute(&create).await.unwrap();
    let setup = Setup::bare().set("DATABASE_URL", url);
    let mut function = setup.mapping(mapping).start().await;
    let answer = function.invoke(&Batch::new().body("a", body).event()).await;
    assert_eq!(answer.failed_ids(), ids(&[]), "{}", function.log());
    let row = client.query_one(sql, &[]).await.unwrap();
    row.get(0)
}

#[tokio::test]
async fn types_of_the_extensions_that_come_with_postgres_are_stored() {
    let extensions = ["citext", "cube", "hstore", "ltree", "seg"];
    let Some(server) = ExtensionServer::with(&extensions, "postgresql").await else {
        return;
    };
    let cases = &[
        // The local stack is built without it.
        ("xml", json!("<a>1</a>"), "<a>1</a>", json!("<a>")),
        (
            "cube",
            json!("(1, 2),(3, 4)"),
            "(1, 2),(3, 4)",
            json!("raging"),
        ),
        (
            "hstore",
            json!("a=>1, b=>NULL"),
            "\"a\"=>\"1\", \"b\"=>NULL",
            json!("a=>"),
        ),
        (
            "ltree",
            json!("top.child"),
            "top.child",
            json!("top..child"),
        ),
        (
            "ltree[]",
            json!(["a.b", null]),
            "{a.b,NULL}",
            json!(["a..b"]),
        ),
        ("seg", json!("1.5 .. 2"), "1.5 .. 2", json!("raging")),
    ];
    store_and_refuse(&server.url(), cases).await;
}

#[tokio::test]
async fn geometries_of_postgis_are_stored_and_the_ones_that_do_not_fit_are_named() {
    let Some(server) = ExtensionServer::with(&["postgis"], "postgresql-postgis").await else {
        return;
    };
    let point = "0101000020E61000000AD7A3703D0A1E408FC2F5285CAF4740";
    let geo_json = json!({"type": "Point", "coordinates": [7.51, 47.37]});
    store_and_refuse(
        &server.url(),
        &[
            ("geometry(Point,4326)", geo_json, point, json!("raging")),
            (
                "geometry(Point,4326)",
                json!("SRID=4326;POINT(7.51 47.37)"),
                point,
                json!("SRID=4326;LINESTRING(0 0,1 1)"),
            ),
        ],
    )
    .await;
    let body = json!({"position": {"type": "Point", "coordinates": [8.54, 47.37]}});
    let sql = "SELECT ST_AsEWKT(position) FROM places";
    let position = stored_by_example(&server.url(), 3, body, sql).await;
    assert_eq!(position, "SRID=4326;POINT(8.54 47.37)");
}

#[tokio::test]
async fn vectors_of_pgvector_are_stored_from_arrays_and_the_ones_of_another_length_are_named() {
    let database = Database::new().await;
    let Some(url) = database.url_with("vector").await else {
        return left_out("pgvector, which the local stack has");
    };
    store_and_refuse(
        &url,
        &[
            (
                "vector(3)",
                json!([0.25, -1, 3e-2]),
                "[0.25,-1,0.03]",
                json!([1, 2]),
            ),
            ("vector", json!("[1,2]"), "[1,2]", json!("raging")),
            (
                "vector(2)[]",
                json!([[1, 2], [3, 4]]),
                "{\"[1,2]\",\"[3,4]\"}",
                json!([[1]]),
            ),
        ],
    )
    .await;
    let body = json!({"embedding": [0.25, -1, 3e-2]});
    let sql = "SELECT embedding::text FROM documents";
    let embedding = stored_by_example(&url, 2, body, sql).await;
    assert_eq!(embedding, "[0.25,-1,0.03]");
}
