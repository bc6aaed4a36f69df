//! The tables of the bench, and the limits: the rates at which the same Postgres stores ready-made rows.

use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::{join_all, join3};
use futures_util::{SinkExt as _, TryStreamExt as _};
use sqs_to_postgres::pipeline::{Column, OnConflict, TableMapping};
use sqs_to_postgres::types::ColumnType;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, Statement};

use crate::messages::{Batch, Message, REFUSED_DEVICE, Row, Workload};

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
        let client = connect(&url).await;
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

    async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn show(&self, expression: &str) -> String {
        let sql = format!("SELECT ({expression})::text");
        self.client.query_one(&sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn create_tables(&self, workload: &Workload) {
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
        let stored = sent.into_iter().filter(|sent| sent.is_stored);
        let stored: Vec<&Message> = stored.collect();
        for (position, table) in workload.pipeline.tables.iter().enumerate() {
            let rows = stored.iter().flat_map(|message| &message.rows[position]);
            let mut rows: Vec<&Row> = rows.collect();
            let key = |row: &'a Row| table.key.iter().map(|&column| &row[column]);
            rows.sort_by(|a, b| key(a).cmp(key(b)));
            rows.dedup_by(|a, b| key(a).eq(key(b)));
            let in_order = key_names(table);
            let name = &table.table;
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

    /// Seconds for one binary `COPY` per batch.
    pub(crate) async fn copy(&self, workload: &Workload, batches: &[Batch]) -> f64 {
        let ready: Vec<Bytes> = batches
            .iter()
            .map(|batch| copy_data(batch.rows(0)))
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

    /// Seconds for one `INSERT … SELECT unnest(…), … ON CONFLICT` for each table per batch: prepared, with ready
    /// parameters, and if there are several, in a transaction that is sent as a whole.
    pub(crate) async fn insert(&self, url: &str, workload: &Workload, batches: &[Batch]) -> f64 {
        let client = connect(url).await;
        let mut statements = Vec::new();
        for table in &workload.pipeline.tables {
            let prepared = client.prepare(&insert_statement(table)).await;
            statements.push(prepared.unwrap());
        }
        let arrays = |batch: &Batch| -> Vec<Vec<Ready>> {
            let statements = statements.iter().enumerate();
            statements
                .map(|(table, statement)| Ready::arrays(batch, table, statement))
                .collect()
        };
        let ready: Vec<Vec<Vec<Ready>>> = batches.iter().map(arrays).collect();
        let started = Instant::now();
        for batch in &ready {
            let inserts = statements.iter().zip(batch);
            let mut inserts =
                inserts.map(|(statement, arrays)| client.execute_raw(statement, arrays));
            if statements.len() == 1 {
                inserts.next().unwrap().await.unwrap();
                continue;
            }
            let (begun, inserted, ended) = join3(
                client.batch_execute("BEGIN"),
                join_all(inserts),
                client.batch_execute("COMMIT"),
            )
            .await;
            begun.unwrap();
            inserted
                .into_iter()
                .for_each(|inserted| _ = inserted.unwrap());
            ended.unwrap();
        }
        started.elapsed().as_secs_f64()
    }
}

async fn connect(url: &str) -> Client {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) = connected.expect("Postgres");
    tokio::spawn(connection);
    client
}

fn key_names(table: &TableMapping) -> String {
    table.key_names().collect::<Vec<_>>().join(", ")
}

fn insert_statement(table: &TableMapping) -> String {
    let columns = (1..).zip(&table.columns);
    let columns: Vec<String> = columns
        .map(|(number, column)| format!("unnest(${number}::{}[])", type_without_length(column)))
        .collect();
    let others = table.columns.iter().enumerate();
    let others = others.filter(|(position, _)| !table.key.contains(position));
    let updates = others.map(|(_, Column { name, .. })| format!("{name} = EXCLUDED.{name}"));
    let action = match table.on_conflict {
        OnConflict::Ignore => "NOTHING".to_owned(),
        OnConflict::Update => format!("UPDATE SET {}", updates.collect::<Vec<_>>().join(", ")),
    };
    format!(
        "INSERT INTO {} SELECT {} ON CONFLICT ({}) DO {action}",
        table.table,
        columns.join(", "),
        key_names(table),
    )
}

/// With a length Postgres would check every value twice.
fn type_without_length(column: &Column) -> String {
    match column.column_type {
        ColumnType::Varchar(_) => "varchar".to_owned(),
        ColumnType::NumericOf(..) => "numeric".to_owned(),
        other => other.to_string(),
    }
}

fn element(array: &Type) -> Type {
    match array.kind() {
        Kind::Array(element) => element.clone(),
        _ => panic!("{array} is not an array"),
    }
}

fn copy_data<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Bytes {
    let mut out = BytesMut::from(COPY_HEADER);
    for row in rows {
        out.put_i16(row.len() as i16);
        row.iter().for_each(|cell| put_cell(&mut out, cell));
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
    /// The parameters of a statement for the rows in the table at this position.
    fn arrays(batch: &Batch, table: usize, statement: &Statement) -> Vec<Self> {
        let columns = statement.params().iter().enumerate();
        columns
            .map(|(column, array)| Self::array(batch.rows(table), column, &element(array)))
            .collect()
    }

    /// A column of the rows.
    /// Source: `array_recv` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/arrayfuncs.c>.
    fn array<'a>(
        rows: impl Iterator<Item = &'a Row> + Clone,
        column: usize,
        element: &Type,
    ) -> Self {
        const DIMENSIONS: i32 = 1;
        const HOLDS_NO_NULLS: i32 = 0;
        const LOWER_BOUND: i32 = 1;
        let mut out = BytesMut::new();
        out.put_i32(DIMENSIONS);
        out.put_i32(HOLDS_NO_NULLS);
        out.put_u32(element.oid());
        out.put_i32(rows.clone().count() as i32);
        out.put_i32(LOWER_BOUND);
        rows.for_each(|row| put_cell(&mut out, &row[column]));
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
