//! The database: a connection to it, and what its catalog says about the tables of a mapping.

use std::time::Duration;

use mapping::{Pipeline, TableMapping};
use sqs_to_postgres::backoff::retry;
use sqs_to_postgres::database::{Database, DatabaseError, Server};
use sqs_to_postgres::schema::{Inspection, ParentFacts};
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::cli::error::CliError;

/// Time limit for a connection: a paused Aurora Serverless resumes in about 15 seconds.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2-auto-pause.html>
/// (2026-11).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A parameter of a statement.
pub(crate) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// A client whose connection works. An attempt that gets no answer is repeated; every other error is returned at once,
/// because somebody waits for it.
pub(crate) async fn connect(database: &mut Database) -> Result<&Client, DatabaseError> {
    let until = Instant::now() + CONNECT_TIMEOUT;
    let is_unanswered = |error: &DatabaseError| matches!(error, DatabaseError::Late);
    let attempt = async || database.client(until).await.map(|_| ());
    retry(until, is_unanswered, attempt).await?;
    database.client(until).await
}

/// What the catalog says about a table, and about the parent that the mapping gives it.
pub(crate) type Inspected<'p> = (&'p TableMapping, Inspection, Option<ParentFacts>);

/// Inspects all tables of a mapping, which are, or will be, in this server.
pub(crate) async fn inspect<'p>(
    client: &Client,
    pipeline: &'p Pipeline,
    server: Server,
) -> Result<Vec<Inspected<'p>>, CliError> {
    let mut inspections = Vec::new();
    for table in &pipeline.tables {
        let mut inspection = Inspection::read(client, table).await?;
        let parent = match &mut inspection {
            Inspection::Table(facts) => {
                if server.has_full_catalog() {
                    facts.columns.read_obstacles(client, &table.table).await?;
                }
                let is_partitioned = facts.is_partitioned();
                ParentFacts::read(client, pipeline, table, is_partitioned, server).await?
            }
            Inspection::NoSchema(_) | Inspection::NoTable | Inspection::SchemaClosed(_) => None,
        };
        inspections.push((table, inspection, parent));
    }
    Ok(inspections)
}
