//! `check`: whether mapping, keys, database, table, queue and function fit together.

mod deployed;
mod function;
mod keys;
mod mapping;
mod queue;
mod report;
mod samples;
mod server_log;
mod table;
mod tls;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::mapping::internals::quote_identifier;
use ::mapping::{Column, Compiled, KeyRing, Pipeline};
use aws_sdk_sqs::Client;
use clap::Args;
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::database::{Durability, ServerFacts};
use sqs_to_postgres::schema::Inspection;
use sqs_to_postgres::sqs::Queue;

use crate::cli::Outcome;
use crate::cli::database::{connect, inspect};
use crate::cli::error::CliError;
use crate::cli::output::{counted, listed};
use crate::cli::settings::{DatabaseFlags, MappingFlags, MaskFlags, QueueFlags, variable};
use deployed::Comparison;
use function::{DEAD_LETTER_QUEUE_URL, Function};
use report::Report;

/// Time that the statement of a large batch may take on a busy server.
const SHORT_STATEMENT: Duration = Duration::from_secs(5);

/// Time that other statements on the same rows may take, and pauses between our own.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// The longest name of a check that does not depend on the mapping.
const WIDEST_NAME: &str = "partial responses";

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres check --queue-name orders
  sqs-to-postgres check --pipeline orders.toml --db-secret-id orders/database --function orders
  sqs-to-postgres check --samples orders.jsonl";

/// Check that everything fits together, from the mapping to the queue
///
/// Prints one line per check, with the fix for each problem. It uses the role and the
/// network of this machine; the function's may differ.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Check {
    /// Also check this Lambda function: its timeout, event source and concurrency, and whether its mapping, database,
    /// role, mask key and dead-letter queue are the ones checked here
    #[arg(long, value_name = "NAME", help_heading = "Queue")]
    function: Option<String>,
    /// Also check these sample messages for data that the mapping loses or misreads, as explain does
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Mapping")]
    samples: Vec<PathBuf>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    queue: QueueFlags,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    mask: MaskFlags,
    #[command(flatten)]
    database: DatabaseFlags,
}

impl Check {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let mut report = Report::new(self.json);
        let Some((file, pipeline)) = report.value("mapping", self.mapping.read()) else {
            return report.end();
        };
        let columns = pipeline
            .columns()
            .map(|column| table::line_name(&column.name).chars().count());
        report.width = columns.fold(WIDEST_NAME.len(), usize::max);
        let aws = Arc::new(self.queue.aws());
        let keys = self
            .check_mapping(&file, &pipeline, &aws, &mut report)
            .await;
        let server = self
            .check_database(&pipeline, keys.as_ref(), &aws, &mut report)
            .await;
        self.check_queue((&file, &pipeline), &aws, server.as_ref(), &mut report)
            .await;
        report.end()
    }

    /// Returns the mask keys, if there are any.
    async fn check_mapping(
        &self,
        file: &str,
        pipeline: &Pipeline,
        aws: &Arc<Aws>,
        report: &mut Report,
    ) -> Option<KeyRing> {
        for table in &pipeline.tables {
            let (columns, key) = (
                counted(table.columns.len(), "column"),
                listed(table.key_names()),
            );
            let text = format!("{file}: {columns} into {}, key {key}", table.table);
            report.ok("mapping", text);
        }
        let keys = report.value("masks", self.keys(file, pipeline, aws).await);
        if keys.is_some() {
            let is_masked = |column: &&Column| column.mask.is_some();
            match pipeline.columns().filter(is_masked).count() {
                0 => report.ok("masks", "none"),
                masks => report.ok("masks", counted(masks, "masked column")),
            }
        }
        mapping::check(pipeline, report);
        let keys = keys.flatten();
        if !self.samples.is_empty() {
            samples::check(&self.samples, (file, pipeline), keys.as_ref(), report);
        }
        keys
    }

    /// The mask keys, if there are any, with which the mapping works.
    async fn keys(
        &self,
        file: &str,
        pipeline: &Pipeline,
        aws: &Arc<Aws>,
    ) -> Result<Option<KeyRing>, CliError> {
        let keys = self.mask.keys(aws).await?;
        Compiled::new(file, pipeline, keys.as_ref())?;
        Ok(keys)
    }

    /// Returns the server, if it answers.
    async fn check_database(
        &self,
        pipeline: &Pipeline,
        keys: Option<&KeyRing>,
        aws: &Arc<Aws>,
        report: &mut Report,
    ) -> Option<ServerFacts> {
        let mut database = report.value("database", self.database.database(aws))?;
        let address = report.value("database", database.address().await)?;
        report.server = database.server();
        let inspected = async {
            let client = connect(&mut database).await?;
            let inspections = inspect(client, pipeline, report.server).await?;
            Ok::<_, CliError>((ServerFacts::read(client, report.server).await?, inspections))
        };
        let (server, inspections) = report.value("database", inspected.await)?;
        check_server(&server, &address, report);
        check_durability(&server, report);
        check_search_path(&server, report);
        check_timeouts(&server, report);
        server_log::check(&mut database, &server.role, report).await;
        tls::check(&mut database, &address.0, report).await;
        for (table, inspection, parent) in &inspections {
            report.about(pipeline, Some(table));
            table::check(inspection, &server.role, (pipeline, table), report);
            if let (Inspection::Table(facts), Some(keys)) = (inspection, keys) {
                let is_hidden = facts.has_row_security;
                keys::check(&mut database, (table, is_hidden), keys, report).await;
            }
            if let Inspection::Table(_) = inspection {
                tokens::check(&mut database, table, report).await;
            }
            if let (Inspection::Table(facts), Some(parent)) = (inspection, parent) {
                table::check_parent(parent, facts.unique_index.is_ok(), report);
            }
        }
        report.about(pipeline, None);
        Some(server)
    }

    async fn check_queue(
        &self,
        (file, pipeline): (&str, &Pipeline),
        aws: &Arc<Aws>,
        server: Option<&ServerFacts>,
        report: &mut Report,
    ) {
        let sqs = Client::new(aws.config().await);
        let named = queue::check(self.queue.queue(&sqs).await, &sqs, report).await;
        let Some(name) = &self.function else {
            if let Some(queue) = named {
                queue.check_order(variable(DEAD_LETTER_QUEUE_URL).is_some(), report);
            }
            return;
        };
        let function = Function::read(aws.config().await, name).await;
        let Some(function) = report.value("function", function) else {
            return;
        };
        let queue = match (named, function.queue_arn()) {
            (None, Some(arn)) => {
                let queue = Queue::of_arn(&sqs, arn).await.map(Some);
                queue::check(queue.map_err(CliError::from), &sqs, report).await
            }
            (named, _) => named,
        };
        function.check(queue.as_ref(), server, report);
        let comparison = Comparison {
            checked: self,
            file,
            pipeline,
            aws,
            function: &function,
        };
        comparison.check(queue.as_ref(), report).await;
    }
}

fn check_server(server: &ServerFacts, (host, port): &(String, u16), report: &mut Report) {
    let ServerFacts {
        version,
        database,
        role,
        ..
    } = server;
    let found = format!("PostgreSQL {version}, {database} at {host}:{port} as {role}");
    if server.is_read_only {
        let fix = "connect to the writer, not to a replica";
        report.failure("database", format!("{found}, which is read-only"), fix);
    } else {
        report.ok("database", &found);
    }
    if server.is_pooled {
        report.ok("pooler", "detected: no session state is used")
    } else {
        report.ok("pooler", "none")
    }
}

fn check_durability(server: &ServerFacts, report: &mut Report) {
    let role = quote_identifier(&server.role);
    match server.durability {
        Durability::Full => report.ok("durability", "commits wait for the disk"),
        Durability::NotSynchronous => report.warning(
            "durability",
            "synchronous_commit is off: a crash of the server loses rows whose messages were acknowledged",
            format!("ALTER ROLE {role} SET synchronous_commit = on;"),
        ),
        Durability::NotFlushed => report.warning(
            "durability",
            "fsync is off: a crash of the machine loses rows whose messages were acknowledged, and may damage the database",
            "set fsync = on in postgresql.conf",
        ),
    }
}

/// Statements name the schema of each function, but not of tables that the mapping does not, and triggers need not.
fn check_search_path(server: &ServerFacts, report: &mut Report) {
    for (schema, role) in &server.open_schemas {
        let text = format!(
            "{role} may create objects in schema {schema}, which can shadow the objects that a trigger or an unqualified table name refers to"
        );
        let fix = format!("REVOKE CREATE ON SCHEMA {schema} FROM {role};");
        report.warning("search path", text, fix);
    }
}

/// Shorter timeouts stop batches that would have been stored.
fn check_timeouts(server: &ServerFacts, report: &mut Report) {
    let role = quote_identifier(&server.role);
    for (name, limit) in &server.timeouts {
        let (shortest, what) = match name.as_str() {
            "lock_timeout" => (
                SHORT_WAIT,
                "rows that wait longer for a lock are retried later",
            ),
            "idle_in_transaction_session_timeout" => (
                SHORT_WAIT,
                "a large batch may lose its connection while it is stored",
            ),
            _ => (
                SHORT_STATEMENT,
                "a batch that takes longer is stored in smaller parts",
            ),
        };
        if *limit < shortest {
            let fix = format!("ALTER ROLE {role} SET {name} = '{}s';", shortest.as_secs());
            report.warning("timeouts", format!("{name} is {limit:?}: {what}"), &fix);
        }
    }
    let limits = server.timeouts.iter();
    match &*listed(limits.map(|(name, limit)| format!("{name} {limit:?}"))) {
        "" => report.ok("timeouts", "none set for the role"),
        limits => report.ok("timeouts", limits),
    }
}
