//! The limits: sessions that store ready-made rows, at the rate of which the same Postgres is capable.

use std::time::Instant;

use bytes::Bytes;
use futures_util::SinkExt as _;
use futures_util::future::{join_all, join3};
use mapping::{Column, ColumnType, OnConflict, TableMapping};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Statement};

use crate::database::{connect, key_names};
use crate::messages::{Batch, Workload};
use crate::rows::{Array, copy_data};

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
    Insert(Vec<Vec<Array>>),
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
                    .map(|(table, statement)| arrays(batch, table, statement))
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

/// The parameters of a statement for the rows in the table at this position.
fn arrays(batch: &Batch, table: usize, statement: &Statement) -> Vec<Array> {
    let columns = statement.params().iter().enumerate();
    columns
        .map(|(column, array)| Array::of_column(batch.rows(table), column, array))
        .collect()
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
