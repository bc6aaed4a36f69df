//! The database: a connection to it, and what its catalog says about the tables of a mapping.

use std::time::Duration;

use sqs_to_postgres::database::{Database, DatabaseError};
use sqs_to_postgres::pipeline::{Pipeline, TableMapping};
use sqs_to_postgres::schema::{Inspection, ParentFacts};
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::cli::error::CliError;

/// Time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A parameter of a statement.
pub(crate) type Parameter<'a> = &'a (dyn ToSql + Sync);

pub(crate) async fn connect(database: &mut Database) -> Result<&Client, DatabaseError> {
    database.client(Instant::now() + CONNECT_TIMEOUT).await
}

/// What the catalog says about a table, and about the parent that the mapping gives it.
pub(crate) type Inspected<'p> = (&'p TableMapping, Inspection, Option<ParentFacts>);

/// Inspects all tables of a mapping; `is_dsql` if they are, or will be, tables of Aurora DSQL.
pub(crate) async fn inspect<'p>(
    client: &Client,
    pipeline: &'p Pipeline,
    is_dsql: bool,
) -> Result<Vec<Inspected<'p>>, CliError> {
    let mut inspections = Vec::new();
    for table in &pipeline.tables {
        let mut inspection = Inspection::read(client, table).await?;
        let parent = match &mut inspection {
            Inspection::Table(facts) => {
                if !is_dsql {
                    facts.columns.read_obstacles(client, &table.table).await?;
                }
                let kind = (facts.is_partitioned(), is_dsql);
                ParentFacts::read(client, pipeline, table, kind).await?
            }
            _ => None,
        };
        inspections.push((table, inspection, parent));
    }
    Ok(inspections)
}
