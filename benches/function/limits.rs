//! The limits: sessions that store ready-made rows, at the rate of which the same Postgres is capable.

use bytes::Bytes;
use futures_util::SinkExt as _;
use futures_util::future::{join_all, join3};
use mapping::{Column, ColumnType, OnConflict, Pipeline, TableMapping};
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
    /// there are several, in a transaction that is sent as a whole. Before the rows of a child table that is replaced
    /// with its parent, one `DELETE` of those that are gone.
    Insert,
}

/// A connection with prepared statements and the rows of its batches in Postgres's binary form.
pub(crate) struct Session {
    runtime: Runtime,
    client: Client,
    statements: Vec<Prepared>,
    ready: Vec<Ready>,
}

struct Prepared {
    statement: Statement,
    parameters: Vec<Place>,
}

/// Of an array: the positions of a table and of its column.
type Place = (usize, usize);

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
            for (sql, parameters) in statements_of(limit, &workload.pipeline) {
                let statement = client.prepare(&sql).await.unwrap();
                statements.push(Prepared {
                    statement,
                    parameters,
                });
            }
            (client, statements)
        });
        let ready = |batch: &Batch| match limit {
            Limit::Copy => Ready::Copy(copy_data(batch.rows(0))),
            Limit::Insert => {
                let arrays = statements.iter().map(|statement| arrays(batch, statement));
                Ready::Insert(arrays.collect())
            }
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

    pub(crate) fn run(&self) {
        self.store_all(&self.ready);
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
                let mut sink =
                    Box::pin(client.copy_in(&self.statements[0].statement).await.unwrap());
                sink.send(rows.clone()).await.unwrap();
                sink.as_mut().finish().await.unwrap();
                return;
            }
            Ready::Insert(parameters) => parameters,
        };
        let inserts = self.statements.iter().zip(parameters);
        let mut inserts =
            inserts.map(|(prepared, arrays)| client.execute_raw(&prepared.statement, arrays));
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

fn arrays(batch: &Batch, prepared: &Prepared) -> Vec<Array> {
    let types = prepared.statement.params();
    let places = prepared.parameters.iter().zip(types);
    places
        .map(|(&(table, column), array)| Array::of_column(batch.rows(table), column, array))
        .collect()
}

/// Each with the places of its parameters.
fn statements_of(limit: Limit, pipeline: &Pipeline) -> Vec<(String, Vec<Place>)> {
    let tables = pipeline.tables.iter().enumerate();
    let statements = tables.flat_map(|(position, table)| {
        let all = (0..table.columns.len()).map(|column| (position, column));
        if limit == Limit::Copy {
            let sql = format!("COPY {} FROM STDIN BINARY", table.table);
            return vec![(sql, Vec::new())];
        }
        let mut statements = vec![(insert_statement(table), all.collect())];
        if table.is_replaced_with_parent() {
            statements.insert(0, delete_statement(pipeline, position));
        }
        statements
    });
    statements.collect()
}

/// Deletes the rows that belong to rows sent, and were not sent themselves; the parent's key is a single column.
fn delete_statement(pipeline: &Pipeline, position: usize) -> (String, Vec<Place>) {
    let table = &pipeline.tables[position];
    let parent = table.parent.expect("a child table");
    let of_parent = (parent, pipeline.tables[parent].key[0]);
    let own = table.key.iter().map(|&column| (position, column));
    let places: Vec<Place> = std::iter::once(of_parent).chain(own).collect();
    let arrays = (1..).zip(&places).map(|(number, &(table, column))| {
        let column = &pipeline.tables[table].columns[column];
        format!("${number}::{}[]", type_without_length(column))
    });
    let arrays: Vec<String> = arrays.collect();
    let sent = arrays[1..].iter().map(|array| format!("unnest({array})"));
    let sql = format!(
        "DELETE FROM {} WHERE {} = ANY ({}) AND ({}) NOT IN (SELECT {})",
        table.table,
        table.columns[table.key[0]].name,
        arrays[0],
        key_names(table),
        sent.collect::<Vec<_>>().join(", "),
    );
    (sql, places)
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
