//! The tables of the bench, and the limits: the rates at which the same Postgres stores ready-made rows.

use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, TryStreamExt as _};
use sqs_to_postgres::pipeline::Column;
use sqs_to_postgres::types::ColumnType;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls};

use crate::messages::{Batch, Message, REFUSED_DEVICE, Workload};

/// Source: <https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-BINARY-FORMAT>.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The bench's own schema and role. The role is not a superuser, so that row-level security applies to it.
pub(crate) struct Database {
    client: Client,
    /// The role's.
    pub(crate) url: String,
    /// The role's, as Secrets Manager keeps it.
    pub(crate) secret: String,
}

impl Database {
    pub(crate) async fn connect() -> Self {
        let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run `make bench`");
        let (client, connection) = tokio_postgres::connect(&url, NoTls)
            .await
            .expect("Postgres");
        tokio::spawn(connection);
        let password = format!("{:032x}", fastrand::u128(..));
        let (_, place) = url.split_once('@').expect("a URL with a password");
        let (address, name) = place.split_once('/').expect("a URL with a database");
        let (host, port) = address.split_once(':').expect("a URL with a port");
        let database = Self {
            client,
            url: format!("postgresql://bench:{password}@{place}"),
            secret: format!(
                r#"{{"host":"{host}","port":{port},"username":"bench","password":"{password}","dbname":"{name}"}}"#
            ),
        };
        database.remove().await;
        database
            .execute(&format!(
                "CREATE ROLE bench LOGIN PASSWORD '{password}'; ALTER ROLE bench SET search_path = bench;
                 CREATE SCHEMA bench; GRANT USAGE ON SCHEMA bench TO bench; SET search_path = bench;
                 ALTER DEFAULT PRIVILEGES IN SCHEMA bench GRANT SELECT, INSERT, UPDATE ON TABLES TO bench"
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

    async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn show(&self, expression: &str) -> String {
        let sql = format!("SELECT ({expression})::text");
        self.client.query_one(&sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn create_table(&self, workload: &Workload) {
        self.execute(&workload.pipeline.create_tables()).await;
    }

    pub(crate) async fn add_check(&self) {
        let condition = format!("device_type <> '{REFUSED_DEVICE}'");
        self.execute(&format!("ALTER TABLE user_logins ADD CHECK ({condition})"))
            .await;
    }

    /// Under row-level security Postgres does not allow `COPY` into a table, and without a constraint the function
    /// always uses `ON CONFLICT`.
    /// Source: <https://www.postgresql.org/docs/18/sql-copy.html>.
    pub(crate) async fn forbid_optimistic_inserts(&self) {
        self.execute(
            "ALTER TABLE user_logins ENABLE ROW LEVEL SECURITY; CREATE POLICY everything ON user_logins USING (true);
             ALTER TABLE user_logins DROP CONSTRAINT user_logins_pkey; CREATE UNIQUE INDEX of_key ON user_logins (message_id)",
        )
        .await;
    }

    pub(crate) async fn allow_optimistic_inserts(&self) {
        self.execute(
            "DROP POLICY everything ON user_logins; ALTER TABLE user_logins DISABLE ROW LEVEL SECURITY;
             DROP INDEX of_key; ALTER TABLE user_logins ADD PRIMARY KEY (message_id)",
        )
        .await;
    }

    pub(crate) async fn empty(&self, workload: &Workload) {
        let table = &workload.table().table;
        self.execute(&format!("TRUNCATE {table}; CHECKPOINT")).await;
    }

    /// The table, read in the order of its key, equals the sent rows byte for byte: each row once and complete, and
    /// no other.
    pub(crate) async fn verify<'a>(
        &self,
        workload: &Workload,
        sent: impl IntoIterator<Item = &'a Message>,
    ) {
        let mut rows: Vec<&Message> = sent.into_iter().filter(|sent| sent.is_stored).collect();
        rows.sort_by_key(|message| message.id);
        rows.dedup_by_key(|message| message.id);
        let table = &workload.table().table;
        let sql =
            format!("COPY (SELECT * FROM {table} ORDER BY message_id) TO STDOUT (FORMAT binary)");
        let stored: Vec<Bytes> = self
            .client
            .copy_out(&sql)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(
            stored.concat() == copy_data(rows.iter().copied()),
            "{table} does not hold the {} rows that were sent",
            rows.len()
        );
    }

    /// Seconds for one binary `COPY` per batch.
    pub(crate) async fn copy(&self, workload: &Workload, batches: &[Batch]) -> f64 {
        let ready: Vec<Bytes> = batches
            .iter()
            .map(|batch| copy_data(&batch.messages))
            .collect();
        let sql = format!("COPY {} FROM STDIN BINARY", workload.table().table);
        let statement = self.client.prepare(&sql).await.unwrap();
        let started = Instant::now();
        for batch in ready {
            let mut sink = Box::pin(self.client.copy_in(&statement).await.unwrap());
            sink.send(batch).await.unwrap();
            sink.as_mut().finish().await.unwrap();
        }
        started.elapsed().as_secs_f64()
    }

    /// Seconds for one `INSERT … SELECT FROM unnest(…) ON CONFLICT DO NOTHING` per batch.
    pub(crate) async fn insert(&self, workload: &Workload, batches: &[Batch]) -> f64 {
        let statement = self
            .client
            .prepare(&insert_statement(workload))
            .await
            .unwrap();
        let elements: Vec<Type> = statement.params().iter().map(element).collect();
        let arrays = |batch: &Batch| -> Vec<Ready> {
            let columns = elements.iter().enumerate();
            columns
                .map(|(column, element)| Ready::array(&batch.messages, column, element))
                .collect()
        };
        let ready: Vec<Vec<Ready>> = batches.iter().map(arrays).collect();
        let started = Instant::now();
        for batch in &ready {
            let parameters: Vec<&(dyn ToSql + Sync)> = batch
                .iter()
                .map(|array| array as &(dyn ToSql + Sync))
                .collect();
            self.client.execute(&statement, &parameters).await.unwrap();
        }
        started.elapsed().as_secs_f64()
    }
}

fn insert_statement(workload: &Workload) -> String {
    let table = workload.table();
    let parameters: Vec<String> = (1..)
        .zip(&table.columns)
        .map(|(number, column)| format!("${number}::{}[]", type_without_length(column)))
        .collect();
    format!(
        "INSERT INTO {} SELECT * FROM unnest({}) ON CONFLICT (message_id) DO NOTHING",
        table.table,
        parameters.join(", ")
    )
}

/// With a length Postgres would check every value twice.
fn type_without_length(column: &Column) -> String {
    match column.column_type {
        ColumnType::Varchar(_) => "varchar".to_owned(),
        other => other.to_string(),
    }
}

fn element(array: &Type) -> Type {
    match array.kind() {
        Kind::Array(element) => element.clone(),
        _ => panic!("{array} is not an array"),
    }
}

fn copy_data<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Bytes {
    let mut out = BytesMut::from(COPY_HEADER);
    for message in messages {
        out.put_i16(message.row.len() as i16);
        message.row.iter().for_each(|cell| put_cell(&mut out, cell));
    }
    out.put_i16(-1);
    out.freeze()
}

fn put_cell(out: &mut BytesMut, cell: &[u8]) {
    out.put_i32(cell.len() as i32);
    out.put_slice(cell);
}

/// A parameter in Postgres's binary form.
#[derive(Debug)]
struct Ready(Bytes);

impl Ready {
    /// A column of the messages.
    /// Source: `array_recv` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/arrayfuncs.c>.
    fn array(messages: &[Message], column: usize, element: &Type) -> Self {
        const DIMENSIONS: i32 = 1;
        const HOLDS_NO_NULLS: i32 = 0;
        const LOWER_BOUND: i32 = 1;
        let mut out = BytesMut::new();
        out.put_i32(DIMENSIONS);
        out.put_i32(HOLDS_NO_NULLS);
        out.put_u32(element.oid());
        out.put_i32(messages.len() as i32);
        out.put_i32(LOWER_BOUND);
        messages
            .iter()
            .for_each(|message| put_cell(&mut out, &message.row[column]));
        Self(out.freeze())
    }
}

impl ToSql for Ready {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
