//! `ddl`: the statements that create the tables, or a plan that makes existing ones fit.

mod comments;
mod plan;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCandidates;
use mapping::ddl::index_async;
use mapping::{Pipeline, TableMapping};
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::database::Server;

use crate::cli::complete::columns;
use crate::cli::database::{connect, inspect};
use crate::cli::error::CliError;
use crate::cli::settings::{DatabaseFlags, MappingFlags};
use crate::cli::{Outcome, output};
use comments::comments;
use plan::{Allowed, Plan};

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres ddl | psql -v ON_ERROR_STOP=1 \"$DATABASE_URL\"
  sqs-to-postgres ddl --diff
  sqs-to-postgres ddl --history --comments | psql -v ON_ERROR_STOP=1 \"$DATABASE_URL\"";

/// Print the CREATE TABLE statements of the mapping, or a plan that makes existing tables fit
///
/// The primary key is the unique index that keeps redelivered messages from being
/// stored twice.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ddl {
    /// Partition the table by month on this column of the key, of type date, timestamp or timestamptz
    ///
    /// Prints partitions for this month and the next two, and one for all other times. Create
    /// later ones before they are needed, for example with pg_partman. The key is then unique
    /// only together with this column: a message that is sent again at another time may be
    /// stored twice.
    #[arg(
        long,
        value_name = "COLUMN",
        conflicts_with_all = ["diff", "target"],
        add = ArgValueCandidates::new(columns),
        verbatim_doc_comment
    )]
    partition_by: Option<String>,
    /// Compare with the tables in the database, and print the statements that make them fit
    ///
    /// Changes that keep every stored value and rewrite no table are statements, which can be
    /// piped to psql. All others are comments with the reason, and the exit code is then 1.
    #[arg(long, verbatim_doc_comment)]
    diff: bool,
    /// With --diff: also print statements that rewrite a table and block reads and writes meanwhile
    #[arg(long, requires = "diff")]
    allow_rewrite: bool,
    /// With --diff: also print statements that can change or lose stored values
    #[arg(long, requires = "diff")]
    allow_loss: bool,
    /// Print instead a view of each table that keeps versions, with valid_from, valid_to and is_current
    ///
    /// A table keeps versions if its key ends with a version, a number or a time of the message,
    /// and on_conflict is "ignore". COLUMN says since when a version is valid; without it, that is
    /// the version itself if it is a time, or the only column of a time that is never null. The
    /// statements can be run again after a change of the mapping.
    #[arg(
        long,
        value_name = "COLUMN",
        num_args = 0..=1,
        conflicts_with_all = ["diff", "partition_by", "target"],
        add = ArgValueCandidates::new(columns),
        verbatim_doc_comment
    )]
    history: Option<Option<String>>,
    /// Print instead a COMMENT for each table and column: where its values come from, its mask
    ///
    /// The statements replace comments that the tables and columns have, and can be run again
    /// after a change of the mapping.
    #[arg(
        long,
        conflicts_with_all = ["diff", "partition_by", "target"],
        verbatim_doc_comment
    )]
    comments: bool,
    /// For Aurora DSQL: no foreign keys, supported types only, one statement per transaction
    #[arg(long = "for", value_name = "SERVER")]
    target: Option<Target>,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    database: DatabaseFlags,
}

/// A server whose statements differ from Postgres's.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Target {
    Dsql,
}

impl Ddl {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let (_, pipeline) = self.mapping.read()?;
        if self.diff {
            return self.difference(&pipeline).await;
        }
        if self.history.is_some() || self.comments {
            return output::sql(&self.documents(&pipeline)?);
        }
        if let Some(Target::Dsql) = self.target {
            let create = pipeline.create_for_dsql().map_err(CliError::invalid)?;
            return output::sql(&create);
        }
        let sql = match (&self.partition_by, &pipeline.tables[..]) {
            (Some(column), [table]) => {
                let create = table.create_partitioned(column, this_month())?;
                table.create_schema() + &notes(&pipeline, table) + &create
            }
            // Partitions of tables that refer to each other need a design of their own.
            (Some(_), _) => {
                return Err(CliError::invalid(
                    "--partition-by requires a mapping of one table: add partitions to the output of `ddl` by hand",
                ));
            }
            (None, _) => creates(&pipeline),
        };
        output::sql(&sql)
    }

    /// What does not store rows, and can be created again: views, and comments.
    fn documents(&self, pipeline: &Pipeline) -> Result<String, CliError> {
        let mut parts = Vec::new();
        if let Some(since) = &self.history {
            let views = pipeline.create_histories(since.as_deref());
            parts.push(views.map_err(CliError::invalid)?);
        }
        if self.comments {
            parts.push(comments(pipeline));
        }
        Ok(parts.join("\n"))
    }

    async fn difference(&self, pipeline: &Pipeline) -> Result<Outcome, CliError> {
        if let Some(Target::Dsql) = self.target {
            pipeline.create_for_dsql().map_err(CliError::invalid)?;
        }
        let mut database = self.database.database(&Arc::new(Aws::default()))?;
        let server = match self.target {
            Some(Target::Dsql) => Server::Dsql,
            None => database.server(),
        };
        let client = connect(&mut database).await?;
        let plan = Plan::of(pipeline, &inspect(client, pipeline, server).await?);
        let allowed = Allowed {
            rewrite: self.allow_rewrite,
            loss: self.allow_loss,
        };
        let sql = plan.sql(allowed);
        output::sql(&match self.target {
            Some(Target::Dsql) => index_async(&sql),
            None => sql,
        })?;
        let left = plan.left(allowed);
        if let Some(left) = left.as_ref().filter(|_| !std::io::stdout().is_terminal()) {
            eprintln!("{left}");
        }
        Ok(Outcome::done_if(left.is_none()))
    }
}

/// The statements that create all tables.
pub(crate) fn creates(pipeline: &Pipeline) -> String {
    let tables = pipeline.tables.iter();
    let creates: Vec<_> = tables.map(|table| create(pipeline, table)).collect();
    pipeline.create_schemas() + &creates.join("\n")
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
    let tombstone = table.tombstone_column().map(|column| {
        format!(
            "-- {:?}: when the row was deleted; then only this, the key and what is newer have values\n",
            column.name
        )
    });
    let clear = pipeline.clear_columns(table).map(|(column, masked)| {
        format!(
            "-- {:?}: in plaintext on purpose, although {:?} is masked\n",
            column.name, masked.name
        )
    });
    newer.into_iter().chain(tombstone).chain(clear).collect()
}

/// Year and month in UTC.
fn this_month() -> (i32, u8) {
    let now = time::OffsetDateTime::from(SystemTime::now());
    (now.year(), now.month().into())
}
