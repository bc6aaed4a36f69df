//! `ddl`: the statements that create the table, or fix it.

use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::pipeline::{Pipeline, TableMapping};
use sqs_to_postgres::schema::{Inspection, ParentFacts, TableFacts, index_async};

use crate::cli::database::{connect, inspect};
use crate::cli::error::CliError;
use crate::cli::settings::{DatabaseFlags, MappingFlags};
use crate::cli::{Outcome, output};

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres ddl | psql -v ON_ERROR_STOP=1 \"$DATABASE_URL\"
  sqs-to-postgres ddl --diff";

/// Print the CREATE TABLE statements of the mapping, or those that fix existing tables
///
/// The primary key is the unique index that keeps redelivered messages from being
/// stored twice.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ddl {
    /// Partition the only table by month on this column, a date, timestamp or timestamptz of the key
    ///
    /// Prints partitions for this month and the next two, and one for all other times. Create
    /// later ones before they are needed, for example with pg_partman. The key is then unique
    /// only together with this column: a message that is sent again at another time may be
    /// stored twice.
    #[arg(
        long,
        value_name = "COLUMN",
        conflicts_with_all = ["diff", "server"],
        verbatim_doc_comment
    )]
    partition_by: Option<String>,
    /// Compare with the tables in the database, and print the statements that fix them
    #[arg(long)]
    diff: bool,
    /// For Aurora DSQL: without foreign keys, with its types only, and each statement on its own
    #[arg(long = "for", value_name = "SERVER")]
    server: Option<Server>,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    database: DatabaseFlags,
}

/// A server whose statements are not those of Postgres.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Server {
    Dsql,
}

impl Ddl {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let (_, pipeline) = self.mapping.read()?;
        if let Some(Server::Dsql) = self.server {
            let create = pipeline.create_for_dsql().map_err(CliError::invalid)?;
            let sql = match self.diff {
                true => index_async(&self.difference(&pipeline).await?),
                false => create,
            };
            return output::bytes(sql.as_bytes());
        }
        let sql = match (&self.partition_by, &pipeline.tables[..]) {
            (Some(column), [table]) => {
                let create = table.create_partitioned(column, today())?;
                table.create_schema() + &notes(&pipeline, table) + &create
            }
            // Partitions of tables that refer to each other have to be thought about.
            (Some(_), _) => {
                return Err(CliError::invalid(
                    "--partition-by is for a mapping of one table: partition the statements of `ddl` by hand",
                ));
            }
            (None, _) if self.diff => self.difference(&pipeline).await?,
            (None, tables) => {
                let creates: Vec<_> = tables
                    .iter()
                    .map(|table| create(&pipeline, table))
                    .collect();
                pipeline.create_schemas() + &creates.join("\n")
            }
        };
        output::bytes(sql.as_bytes())
    }

    async fn difference(&self, pipeline: &Pipeline) -> Result<String, CliError> {
        let mut database = self.database.database(&Arc::new(Aws::default()))?;
        let is_dsql = self.server.is_some() || database.is_dsql();
        let client = connect(&mut database).await?;
        let mut sql = String::new();
        for (table, inspection, parent) in inspect(client, pipeline, is_dsql).await? {
            let mut alters = alters(&inspection, pipeline, table);
            if let (Inspection::Table(facts), Some(parent)) = (&inspection, parent) {
                alters += &binds(&parent, facts);
            }
            if alters.is_empty() {
                eprintln!("{} fits the mapping", table.table);
            }
            sql += &alters;
        }
        Ok(sql)
    }
}

fn create(pipeline: &Pipeline, table: &TableMapping) -> String {
    notes(pipeline, table) + &pipeline.create_table(table)
}

/// Properties of columns that their types do not show, as SQL comments.
fn notes(pipeline: &Pipeline, table: &TableMapping) -> String {
    let newer = table.newer_column().map(|column| {
        format!(
            "-- {:?}: a row is replaced only by one in which this is equal or newer\n",
            column.name
        )
    });
    let clear = pipeline.clear_columns(table).map(|(column, masked)| {
        format!(
            "-- {:?}: in clear on purpose, although {:?} is masked\n",
            column.name, masked.name
        )
    });
    newer.into_iter().chain(clear).collect()
}

fn today() -> time::Date {
    time::OffsetDateTime::from(SystemTime::now()).date()
}

/// The statements that fix the table; none if it fits.
fn alters(inspection: &Inspection, pipeline: &Pipeline, mapping: &TableMapping) -> String {
    let table = match inspection {
        Inspection::NoSchema(_) => return mapping.create_schema() + &create(pipeline, mapping),
        Inspection::SchemaClosed(fix) => return format!("{fix}\n"),
        Inspection::NoTable => return create(pipeline, mapping),
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
        let how = how_built(table);
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

/// The statements that bind a child table to its parent. A missing index of its key begins with that of the parent.
fn binds(parent: &ParentFacts, table: &TableFacts) -> String {
    let mut sql = String::new();
    if let Some(Err(add)) = &parent.foreign_key {
        sql += &format!("-- no foreign key to the parent\n{add}\n");
    }
    if let (Err(create), Ok(_)) = (&parent.index, &table.unique_index) {
        let how = how_built(table);
        sql += &format!("-- no index begins with the parent's key{how}\n{create}\n");
    }
    sql
}

fn how_built(table: &TableFacts) -> &'static str {
    match table.is_partitioned() {
        true => "",
        false => ": it is built without blocking writers, and must not run in a transaction",
    }
}
