//! `check`: whether mapping, keys, database, table, queue and function fit together.

mod deployed;
mod function;
mod keys;
mod mapping;
mod queue;
mod report;
mod table;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::Client;
use clap::Args;
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::database::{Database, Durability, Server};
use sqs_to_postgres::mask::KeyRing;
use sqs_to_postgres::pipeline::{Column, Pipeline, TableMapping};
use sqs_to_postgres::quote::quote_identifier;
use sqs_to_postgres::schema::{Inspection, ParentFacts};
use sqs_to_postgres::transform::Transformer;
use tokio::time::Instant;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::counted;
use crate::cli::settings::{
    CONNECT_TIMEOUT, DatabaseFlags, MappingFlags, MaskFlags, QueueFlags, variable,
};
use deployed::Comparison;
use function::{DEAD_LETTER_QUEUE_URL, Function};
use report::Report;

/// Time that the statement of a large batch may take on a busy server.
const SHORT_STATEMENT: Duration = Duration::from_secs(5);

/// Time that other statements on the same rows may take, and pauses between our own.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// The longest name of a check that does not depend on the mapping.
const WIDEST_NAME: &str = "partial responses";

/// Check that everything fits together, from the mapping to the queue
///
/// Prints one line per check, with the fix for each problem. It uses the role and the
/// network of this machine; the function's may differ.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Check {
    /// Also check this Lambda function: its timeout, event source and concurrency, and whether its mapping,
    /// database, role, mask key and dead-letter queue are those checked here
    #[arg(long, value_name = "NAME", help_heading = "Queue")]
    function: Option<String>,
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
        let (file, pipeline) = match self.mapping.read() {
            Ok(read) => read,
            Err(error) => {
                let mut report = Report::new(self.json, 0);
                report.error("mapping", &error)?;
                return report.end();
            }
        };
        let columns = pipeline
            .columns()
            .map(|column| table::line_name(&column.name).chars().count());
        let widest = columns.chain([WIDEST_NAME.len()]).max().unwrap_or_default();
        let mut report = Report::new(self.json, widest);
        let aws = Arc::new(self.queue.aws());
        let keys = self
            .check_mapping(&file, &pipeline, &aws, &mut report)
            .await?;
        let server = self
            .check_database(&pipeline, keys.as_ref(), &aws, &mut report)
            .await?;
        let mapping = (file.as_str(), &pipeline);
        self.check_queue(mapping, &aws, server.as_ref(), &mut report)
            .await?;
        report.end()
    }

    /// Returns the mask keys, if there are any.
    async fn check_mapping(
        &self,
        file: &str,
        pipeline: &Pipeline,
        aws: &Arc<Aws>,
        report: &mut Report,
    ) -> Result<Option<KeyRing>, CliError> {
        for table in &pipeline.tables {
            let key: Vec<&str> = table.key_names().collect();
            let (columns, key) = (counted(table.columns.len(), "column"), key.join(", "));
            let text = format!("{file}: {columns} into {}, key {key}", table.table);
            report.ok("mapping", &text)?;
        }
        let compiled = match self.mask.keys(aws).await {
            Ok(keys) => match Transformer::new(file, pipeline, keys.as_ref()) {
                Ok(_) => Ok(keys),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error),
        };
        let is_masked = |column: &&Column| column.mask.is_some();
        let masks = pipeline.columns().filter(is_masked).count();
        match &compiled {
            Ok(_) if masks == 0 => report.ok("masks", "none")?,
            Ok(_) => report.ok("masks", &counted(masks, "masked column"))?,
            Err(error) => report.error("masks", error)?,
        }
        mapping::check(pipeline, report)?;
        Ok(compiled.ok().flatten())
    }

    /// Returns the server, if it answers.
    async fn check_database(
        &self,
        pipeline: &Pipeline,
        keys: Option<&KeyRing>,
        aws: &Arc<Aws>,
        report: &mut Report,
    ) -> Result<Option<Server>, CliError> {
        let mut database = match self.database.database(aws) {
            Ok(database) => database,
            Err(error) => return report.error("database", &error).map(|()| None),
        };
        let address = match database.address().await {
            Ok(address) => address,
            Err(error) => return report.error("database", &error.into()).map(|()| None),
        };
        let is_dsql = database.is_dsql();
        report.for_dsql(is_dsql);
        let (server, inspections) = match inspect(&mut database, pipeline, is_dsql).await {
            Ok(answer) => answer,
            Err(error) => return report.error("database", &error).map(|()| None),
        };
        check_server(&server, &address, report)?;
        check_durability(&server, report)?;
        check_timeouts(&server, report)?;
        tls::check(&mut database, &address.0, report).await?;
        for (table, inspection, parent) in &inspections {
            report.about(pipeline, Some(table));
            table::check(inspection, &server.role, (pipeline, table), report)?;
            if let (Inspection::Table(_), Some(keys)) = (inspection, keys) {
                keys::check(&mut database, table, keys, report).await?;
            }
            if let (Inspection::Table(facts), Some(parent)) = (inspection, parent) {
                let has_key = facts.unique_index.is_ok();
                table::check_parent(parent, has_key, report)?;
            }
        }
        report.about(pipeline, None);
        Ok(Some(server))
    }
}

/// What the catalog says about a table, and about the parent that the mapping gives it.
type Inspected<'p> = (&'p TableMapping, Inspection, Option<ParentFacts>);

async fn inspect<'p>(
    database: &mut Database,
    pipeline: &'p Pipeline,
    is_dsql: bool,
) -> Result<(Server, Vec<Inspected<'p>>), CliError> {
    let client = database.client(Instant::now() + CONNECT_TIMEOUT).await?;
    let mut inspections = Vec::new();
    for table in &pipeline.tables {
        let inspection = Inspection::read(client, table).await?;
        let parent = match &inspection {
            Inspection::Table(facts) => {
                let kind = (facts.is_partitioned(), is_dsql);
                ParentFacts::read(client, pipeline, table, kind).await?
            }
            _ => None,
        };
        inspections.push((table, inspection, parent));
    }
    Ok((Server::read(client).await?, inspections))
}

impl Check {
    async fn check_queue(
        &self,
        (file, pipeline): (&str, &Pipeline),
        aws: &Arc<Aws>,
        server: Option<&Server>,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let sqs = Client::new(aws.config().await);
        let named = queue::check(&self.queue, &sqs, report).await?;
        let Some(name) = &self.function else {
            let are_direct = variable(DEAD_LETTER_QUEUE_URL).is_some();
            return named.map_or(Ok(()), |queue| queue.check_order(are_direct, report));
        };
        let function = match Function::read(aws.config().await, name).await {
            Ok(function) => function,
            Err(error) => return report.error("function", &error),
        };
        let queue = match (named, function.queue_arn()) {
            (None, Some(arn)) => queue::check_arn(arn, &sqs, report).await?,
            (named, _) => named,
        };
        function.check(queue.as_ref(), server, report)?;
        let comparison = Comparison {
            checked: self,
            file,
            pipeline,
            aws,
            function: &function,
        };
        comparison.check(queue.as_ref(), report).await
    }
}

fn check_server(
    server: &Server,
    (host, port): &(String, u16),
    report: &mut Report,
) -> Result<(), CliError> {
    let Server {
        version,
        database,
        role,
        ..
    } = server;
    let found = format!("PostgreSQL {version}, {database} at {host}:{port} as {role}");
    if server.is_read_only {
        let fix = "connect to the writer, not to a replica";
        report.failure("database", &format!("{found}, which is read-only"), fix)?;
    } else {
        report.ok("database", &found)?;
    }
    if server.is_pooled {
        report.ok("pooler", "yes: nothing is sent that would pin a connection")
    } else {
        report.ok("pooler", "none")
    }
}

fn check_durability(server: &Server, report: &mut Report) -> Result<(), CliError> {
    let role = quote_identifier(&server.role);
    match server.durability {
        Durability::Full => report.ok("durability", "commits wait for the disk"),
        Durability::NotSynchronous => report.warning(
            "durability",
            "synchronous_commit is off: a crash of the server loses rows whose messages were acknowledged",
            &format!("ALTER ROLE {role} SET synchronous_commit = on;"),
        ),
        Durability::NotFlushed => report.warning(
            "durability",
            "fsync is off: a crash of the machine loses rows whose messages were acknowledged, and may damage the database",
            "set fsync = on in postgresql.conf",
        ),
    }
}

/// Shorter timeouts stop batches that would have been stored.
fn check_timeouts(server: &Server, report: &mut Report) -> Result<(), CliError> {
    let role = quote_identifier(&server.role);
    for (name, limit) in &server.timeouts {
        let (shortest, what) = match name.as_str() {
            "lock_timeout" => (
                SHORT_WAIT,
                "rows that wait longer for a lock are retried later",
            ),
            "idle_in_transaction_session_timeout" => (
                SHORT_WAIT,
                "a large batch may lose its connection while it is copied",
            ),
            _ => (
                SHORT_STATEMENT,
                "a batch that takes longer is stored in smaller parts",
            ),
        };
        if *limit < shortest {
            let fix = format!("ALTER ROLE {role} SET {name} = '{}s';", shortest.as_secs());
            report.warning("timeouts", &format!("{name} is {limit:?}: {what}"), &fix)?;
        }
    }
    let limits = server.timeouts.iter();
    let limits: Vec<_> = limits
        .map(|(name, limit)| format!("{name} {limit:?}"))
        .collect();
    match &limits[..] {
        [] => report.ok("timeouts", "none set for the role"),
        limits => report.ok("timeouts", &limits.join(", ")),
    }
}
