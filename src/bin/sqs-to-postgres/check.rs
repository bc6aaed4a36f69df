//! `check`: is this going to work? One line for each thing that can stand in the way.

mod api;
mod function;
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
use sqs_to_postgres::database::Server;
use sqs_to_postgres::load::Inspection;
use sqs_to_postgres::pipeline::Pipeline;
use sqs_to_postgres::transform::Transformer;
use tokio::time::Instant;

use crate::Outcome;
use crate::error::CliError;
use crate::settings::{DatabaseFlags, MappingFlags, MaskFlags, QueueFlags};
use function::Function;
use report::Report;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest of the names that do not depend on the mapping.
const WIDEST_NAME: &str = "partial responses";

/// Say whether this is going to work, from the mapping to the queue
///
/// One line for each thing, with what mends it. Role and network are those of
/// this machine: the function's may differ.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Check {
    /// The Lambda function: its timeout, its event source and its concurrency
    #[arg(long, value_name = "NAME", help_heading = "Queue")]
    function: Option<String>,
    /// One JSON object a line
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
            .columns
            .iter()
            .map(|column| table::line_name(&column.name).chars().count());
        let widest = columns.chain([WIDEST_NAME.len()]).max().unwrap_or_default();
        let mut report = Report::new(self.json, widest);
        let aws = Arc::new(self.queue.aws());
        self.check_mapping(&file, &pipeline, &aws, &mut report)
            .await?;
        let server = self.check_database(&pipeline, &aws, &mut report).await?;
        self.check_queue(&aws, server.as_ref(), &mut report).await?;
        report.end()
    }

    async fn check_mapping(
        &self,
        file: &str,
        pipeline: &Pipeline,
        aws: &Arc<Aws>,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let key: Vec<&str> = pipeline.key_names().collect();
        let (columns, key) = (pipeline.columns.len(), key.join(", "));
        report.ok(
            "mapping",
            &format!(
                "{file}: {columns} columns into {}, key {key}",
                pipeline.table
            ),
        )?;
        let compiled = match self.mask.key(aws).await {
            Ok(key) => Transformer::new(file, pipeline, key.as_ref()).map_err(CliError::from),
            Err(error) => Err(error),
        };
        let masks = pipeline
            .columns
            .iter()
            .filter(|column| column.mask.is_some())
            .count();
        match compiled {
            Ok(_) if masks == 0 => report.ok("masks", "none"),
            Ok(_) => report.ok("masks", &format!("{masks} columns are masked")),
            Err(error) => report.error("masks", &error),
        }?;
        mapping::check(pipeline, report)
    }

    /// Gives the server, where it answers.
    async fn check_database(
        &self,
        pipeline: &Pipeline,
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
        let asked = async {
            let client = database.client(Instant::now() + CONNECT_TIMEOUT).await?;
            Ok((
                Server::read(client).await?,
                Inspection::read(client, pipeline).await?,
            ))
        };
        let (server, inspection) = match asked.await {
            Ok(answer) => answer,
            Err(error) => {
                return report
                    .error("database", &CliError::Start(error))
                    .map(|()| None);
            }
        };
        check_server(&server, &address, report)?;
        tls::check(&mut database, &address.0, report).await?;
        table::check(&inspection, pipeline, report)?;
        Ok(Some(server))
    }
}

impl Check {
    async fn check_queue(
        &self,
        aws: &Aws,
        server: Option<&Server>,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let sqs = Client::new(aws.config().await);
        let named = queue::check(&self.queue, &sqs, report).await?;
        let Some(name) = &self.function else {
            return Ok(());
        };
        let function = match Function::read(aws.config().await, name).await {
            Ok(function) => function,
            Err(error) => return report.error("function", &error),
        };
        let queue = match (named, function.queue_arn()) {
            (None, Some(arn)) => queue::check_arn(arn, &sqs, report).await?,
            (named, _) => named,
        };
        function.check(queue.as_ref(), server, report)
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
        let mend = "name the writer, not a replica";
        report.failure("database", &format!("{found}, which is read-only"), mend)?;
    } else {
        report.ok("database", &found)?;
    }
    if server.is_pooled {
        report.ok(
            "pooler",
            "one is in between: nothing is sent for which it would pin a connection",
        )
    } else {
        report.ok("pooler", "none in between")
    }
}
