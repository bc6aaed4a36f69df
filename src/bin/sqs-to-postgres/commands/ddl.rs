//! `ddl`: the statements that create the table, or fix it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::pipeline::{Pipeline, TableMapping};
use sqs_to_postgres::schema::{Inspection, Kind};
use tokio::time::Instant;

use crate::cli::error::CliError;
use crate::cli::settings::{DatabaseFlags, MappingFlags};
use crate::cli::{Outcome, output};

/// Time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres ddl | psql -v ON_ERROR_STOP=1 \"$DATABASE_URL\"
  sqs-to-postgres ddl --diff";

/// Print the CREATE TABLE statement of the mapping, or the statements that fix a table
///
/// The primary key is the unique index that keeps redelivered messages from being
/// stored twice.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ddl {
    /// Partition by month on this column, a date, timestamp or timestamptz of the key
    ///
    /// Prints partitions for this month and the next two, and one for all other times. Create
    /// later ones before they are needed, for example with pg_partman. The key is then unique
    /// only together with this column: a message that is sent again at another time may be
    /// stored twice.
    #[arg(
        long,
        value_name = "COLUMN",
        conflicts_with = "diff",
        verbatim_doc_comment
    )]
    partition_by: Option<String>,
    /// Compare with the table in the database, and print the statements that fix it
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    database: DatabaseFlags,
}

impl Ddl {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let (_, pipeline) = self.mapping.read()?;
        let sql = match &self.partition_by {
            Some(column) => match &pipeline.tables[..] {
                [table] => {
                    table.create_schema()
                        + &notes(&pipeline)
                        + &table.create_partitioned(column, today())?
                }
                _ => return Err(CliError::invalid(SeveralTables)),
            },
            None if self.diff => self.difference(&pipeline).await?,
            None => pipeline.create_schemas() + &notes(&pipeline) + &pipeline.create_tables(),
        };
        output::bytes(sql.as_bytes())
    }

    async fn difference(&self, pipeline: &Pipeline) -> Result<String, CliError> {
        let mut database = self.database.database(&Arc::new(Aws::default()))?;
        let client = database.client(Instant::now() + CONNECT_TIMEOUT).await?;
        let mut sql = String::new();
        for table in &pipeline.tables {
            let alters = alters(&Inspection::read(client, table).await?, pipeline, table);
            if alters.is_empty() {
                eprintln!("{} fits the mapping", table.table);
            }
            sql += &alters;
        }
        Ok(sql)
    }
}

/// Partitions of tables that refer to each other have to be thought about.
#[derive(Debug, thiserror::Error)]
#[error("--partition-by is for a mapping of one table: partition the statements of `ddl` by hand")]
struct SeveralTables;

/// Properties of columns that their types do not show, as SQL comments.
fn notes(pipeline: &Pipeline) -> String {
    let newer = pipeline
        .tables
        .iter()
        .filter_map(TableMapping::newer_column);
    let newer = newer.map(|column| {
        format!(
            "-- {:?}: a row is replaced only by one in which this is equal or newer\n",
            column.name
        )
    });
    let clear = pipeline.clear_columns().map(|(column, masked)| {
        format!(
            "-- {:?}: in clear on purpose, although {:?} is masked\n",
            column.name, masked.name
        )
    });
    newer.chain(clear).collect()
}

fn today() -> time::Date {
    time::OffsetDateTime::from(SystemTime::now()).date()
}

/// The statements that fix the table; none if it fits.
fn alters(inspection: &Inspection, pipeline: &Pipeline, mapping: &TableMapping) -> String {
    let create = || pipeline.create_table(mapping);
    let table = match inspection {
        Inspection::NoSchema(_) => return mapping.create_schema() + &notes(pipeline) + &create(),
        Inspection::SchemaClosed(fix) => return format!("{fix}\n"),
        Inspection::NoTable(_) => return notes(pipeline) + &create(),
        Inspection::Table(table) => table,
    };
    let mut sql = String::new();
    for difference in table.columns.differences(mapping) {
        let (column, fault) = (&difference.column, &difference.fault);
        sql += &format!("-- {column:?} {fault}\n{}\n", difference.fix);
        if let Some(later) = difference.later {
            sql += &format!("-- new rows always have a value; once the old ones do: {later}\n");
        }
    }
    if let Err(create) = &table.unique_index {
        let how = match table.kind {
            Kind::Partitioned(_) => "",
            _ => ": it is built without blocking writers, and must not run in a transaction",
        };
        sql += &format!("-- the key has no unique index{how}\n{create}\n");
    }
    let permissions = &table.permissions;
    if !permissions.missing.is_empty() {
        let missing = permissions.missing.join(", ");
        sql += &format!(
            "-- {missing} not granted on the mapped columns to the role that is logged in\n{}\n",
            permissions.fix
        );
    }
    sql
}
