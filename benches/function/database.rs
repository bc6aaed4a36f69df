//! The tables of the bench, and what they hold after a turn.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use mapping::TableMapping;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::load::parent_of;
use crate::messages::{Message, Workload};
use crate::rows::{Row, copy_data};

/// The bench's own schema and role. The role is not a superuser, so that row-level security applies to it.
pub(crate) struct Database {
    client: Client,
    /// The role's.
    pub(crate) url: String,
    /// The role's, as Secrets Manager keeps it.
    pub(crate) secret: Value,
    /// The process whose children are Postgres's other processes; it is on this machine.
    pub(crate) postmaster: u32,
}

impl Database {
    pub(crate) async fn connect() -> Self {
        let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run `make bench`");
        let client = connect(&url).await;
        let password = format!("{:032x}", fastrand::u128(..));
        let (_, place) = url.split_once('@').expect("a URL with a password");
        let (address, name) = place.split_once('/').expect("a URL with a database");
        let (host, port) = address.split_once(':').expect("a URL with a port");
        let backend = client.query_one("SELECT pg_backend_pid()", &[]).await;
        let backend: i32 = backend.unwrap().get(0);
        let database = Self {
            client,
            postmaster: parent_of(backend).expect("Postgres on this machine"),
            url: format!("postgresql://bench:{password}@{place}"),
            secret: json!({"host": host, "port": port, "username": "bench", "password": password, "dbname": name}),
        };
        database.remove().await;
        database
            .execute(&format!(
                "CREATE ROLE bench LOGIN PASSWORD '{password}'; ALTER ROLE bench SET search_path = bench;
                 CREATE SCHEMA bench; GRANT USAGE ON SCHEMA bench TO bench; SET search_path = bench;
                 ALTER DEFAULT PRIVILEGES IN SCHEMA bench GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bench"
            ))
            .await;
        database
    }

    pub(crate) async fn remove(&self) {
        self.execute(
            "DROP SCHEMA IF EXISTS bench CASCADE;
             DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'bench') THEN DROP OWNED BY bench; END IF; END $$;
             DROP ROLE IF EXISTS bench",
        )
        .await;
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn show(&self, expression: &str) -> String {
        let sql = format!("SELECT ({expression})::text");
        self.client.query_one(&sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn create_tables(&self, workload: &Workload) {
        self.execute(&workload.pipeline.create_tables()).await;
    }

    /// Without the rows of earlier turns, and after a checkpoint.
    pub(crate) async fn empty(&self, workload: &Workload) {
        let tables = workload.pipeline.tables_text();
        self.execute(&format!("TRUNCATE {tables}; CHECKPOINT"))
            .await;
    }

    /// Each table, read in the order of its key, equals the sent rows byte for byte: each row once and complete, and
    /// no other.
    pub(crate) async fn verify<'a>(
        &self,
        workload: &Workload,
        sent: impl IntoIterator<Item = &'a Message>,
    ) {
        let sent: Vec<&Message> = sent.into_iter().collect();
        for (position, table) in workload.pipeline.tables.iter().enumerate() {
            let rows = sent.iter().flat_map(|message| &message.rows[position]);
            let mut rows: Vec<&Row> = rows.collect();
            let key = |row: &'a Row| table.key.iter().map(|&column| &row[column]);
            rows.sort_by(|a, b| key(a).cmp(key(b)));
            let (name, in_order) = (&table.table, key_names(table));
            let sql = format!("COPY (SELECT * FROM {name} ORDER BY {in_order}) TO STDOUT BINARY");
            let read = self.client.copy_out(&sql).await.unwrap();
            let read: Vec<Bytes> = read.try_collect().await.unwrap();
            assert!(
                read.concat() == copy_data(rows.iter().copied()),
                "{name} does not hold the {} rows that were sent",
                rows.len()
            );
        }
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) = connected.expect("Postgres");
    tokio::spawn(connection);
    client
}

pub(crate) fn key_names(table: &TableMapping) -> String {
    table.key_names().collect::<Vec<_>>().join(", ")
}
