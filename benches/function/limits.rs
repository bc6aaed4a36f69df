//! The limits: sessions that store ready-made rows, at the rate of which the same Postgres is capable.

use std::time::Instant;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::SinkExt as _;
use futures_util::future::{join_all, join3};
use mapping::{Column, ColumnType, OnConflict, TableMapping};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Statement};

use crate::database::{connect, key_names};
use crate::messages::{Batch, Row, Workload};

/// Source: <https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-BINARY-FORMAT>.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// How rows are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// One binary `COPY` per batch, which takes two round trips.
    Copy,
    /// One `INSERT … SELECT unnest(…), … ON CONFLICT` for each table per batch: prepared, in one round trip, and if
    /// there are several, in a transaction that is sent as a whole.
    Insert,
}

/// A connection with prepared statements and the rows of its batches in Postgres's binary form.
pub(crate) struct Session {
    runtime: Runtime,
    client: Client,
    statements: Vec<Statement>,
    ready: Vec<Ready>,
}

enum Ready {
    Copy(Bytes),
    /// The parameters of each statement.
    Insert(Vec<Vec<Parameter>>),
}

impl Session {
    /// Stores the first batches, so that one-time work is done.
    pub(crate) fn open(
        limit: Limit,
        url: &str,
        workload: &Workload,
        first: &[Batch],
        batches: &[Batch],
    ) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (client, statements) = runtime.block_on(async {
            let client = connect(url).await;
            let mut statements = Vec::new();
            for table in &workload.pipeline.tables {
                let sql = match limit {
                    Limit::Copy => format!("COPY {} FROM STDIN BINARY", table.table),
                    Limit::Insert => insert_statement(table),
                };
                statements.push(client.prepare(&sql).await.unwrap());
            }
            (client, statements)
        });
        let ready = |batch: &Batch| match limit {
            Limit::Copy => Ready::Copy(copy_data(batch.rows(0))),
            Limit::Insert => Ready::Insert(
                (0..)
                    .zip(&statements)
                    .map(|(table, statement)| Parameter::arrays(batch, table, statement))
                    .collect(),
            ),
        };
        let first: Vec<Ready> = first.iter().map(ready).collect();
        let session = Self {
            ready: batches.iter().map(ready).collect(),
            runtime,
            client,
            statements,
        };
        session.store_all(&first);
        session
    }

    /// Seconds for its batches.
    pub(crate) fn run(&self) -> f64 {
        let started = Instant::now();
        self.store_all(&self.ready);
        started.elapsed().as_secs_f64()
    }

    fn store_all(&self, batches: &[Ready]) {
        self.runtime.block_on(async {
            for batch in batches {
                self.store(batch).await;
            }
        });
    }

    async fn store(&self, batch: &Ready) {
        let client = &self.client;
        let parameters = match batch {
            Ready::Copy(rows) => {
                let mut sink = Box::pin(client.copy_in(&self.statements[0]).await.unwrap());
                sink.send(rows.clone()).await.unwrap();
                sink.as_mut().finish().await.unwrap();
                return;
            }
            Ready::Insert(parameters) => parameters,
        };
        let inserts = self.statements.iter().zip(parameters);
        let mut inserts =
            inserts.map(|(statement, parameters)| client.execute_raw(statement, parameters));
        if self.statements.len() == 1 {
            inserts.next().unwrap().await.unwrap();
            return;
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

pub(crate) fn copy_data<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Bytes {
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
struct Parameter(Bytes);

impl Parameter {
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

impl ToSql for Parameter {
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
