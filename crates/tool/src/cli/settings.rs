//! Settings: flags, which override the environment.

use std::path::PathBuf;
use std::sync::Arc;

use aws_sdk_sqs::Client;
use clap::Args;
use mapping::{KeyRing, Pipeline};
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::config::{DEFAULT_SECRET_TTL, DatabaseSettings, MaskKeySettings, Settings};
use sqs_to_postgres::database::Database;
use sqs_to_postgres::prepare::mask_keys;
use sqs_to_postgres::secret::Secrets;
use sqs_to_postgres::sqs::{Attributes, Queue};
use sqs_to_postgres::start::read_pipeline;
use thiserror::Error;

use crate::cli::error::CliError;

/// The mapping, if none is named: in the current folder.
pub(crate) const FILE_HERE: &str = "pipeline.toml";

/// Variables that exclude each other: a flag for one hides the others.
const RIVALS: [&[&str]; 2] = [
    &["DATABASE_URL", "DB_SECRET_ID", "DB_AUTH"],
    &["MASK_KEY", "MASK_SECRET_ID"],
];

#[derive(Debug, Args)]
#[command(next_help_heading = "Mapping")]
pub(crate) struct MappingFlags {
    /// File of the mapping [env: PIPELINE_FILE; default: pipeline.toml]
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Mask key")]
pub(crate) struct MaskFlags {
    /// Secret with the mask key [env: MASK_SECRET_ID, or MASK_KEY for the key itself]
    #[arg(long, value_name = "NAME")]
    mask_secret_id: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseFlags {
    /// libpq URL; its password is visible to other users of this machine [env: DATABASE_URL]
    #[arg(long, value_name = "URL", conflicts_with = "db_secret_id")]
    database_url: Option<String>,
    /// Secret with host, user and password, instead of a URL [env: DB_SECRET_ID]
    #[arg(long, value_name = "NAME")]
    db_secret_id: Option<String>,
    /// With iam: a token signed with the AWS credentials instead of a password [env: DB_AUTH]
    #[arg(long, value_name = "METHOD", value_parser = ["iam"], conflicts_with_all = ["database_url", "db_secret_id"])]
    db_auth: Option<String>,
    /// Overrides the secret's host [env: DB_HOST]
    #[arg(long, value_name = "HOST")]
    db_host: Option<String>,
    /// Overrides the secret's port [env: DB_PORT]
    #[arg(long, value_name = "PORT")]
    db_port: Option<String>,
    /// Overrides the secret's database [env: DB_NAME]
    #[arg(long, value_name = "NAME")]
    db_name: Option<String>,
    /// Role of Postgres, with --db-auth iam [env: DB_USER]
    #[arg(long, value_name = "NAME")]
    db_user: Option<String>,
    /// TLS mode with a secret: verify-full, verify-ca, require, prefer or disable [env: DB_SSLMODE]
    #[arg(long, value_name = "MODE")]
    db_sslmode: Option<String>,
    /// With a secret or iam: PEM file of the certificate authorities to trust [env: DB_SSLROOTCERT]
    #[arg(long, value_name = "FILE")]
    db_sslrootcert: Option<String>,
    /// Channel binding with a secret: require, prefer or disable [env: DB_CHANNEL_BINDING]
    #[arg(long, value_name = "MODE")]
    db_channel_binding: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Queue")]
pub(crate) struct QueueFlags {
    /// URL of the queue [env: QUEUE_URL]
    #[arg(long, value_name = "URL", conflicts_with = "queue_name", value_parser = queue_url)]
    queue_url: Option<String>,
    /// Name of the queue, instead of its URL
    #[arg(long, value_name = "NAME")]
    queue_name: Option<String>,
    /// Endpoint of AWS, for example of LocalStack [env: AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
}

/// A queue whose messages are read instead of files. Only flags name it: the environment names the queue of other
/// commands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Queue")]
pub(crate) struct SampledQueueFlags {
    /// URL of a queue to read messages from, which remain in it
    #[arg(long, value_name = "URL", conflicts_with = "queue_name", value_parser = queue_url)]
    queue_url: Option<String>,
    /// Name of a queue to read messages from, instead of its URL
    #[arg(long, value_name = "NAME")]
    queue_name: Option<String>,
    /// Endpoint of AWS, for example of LocalStack [env: AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
}

impl SampledQueueFlags {
    pub(crate) fn is_named(&self) -> bool {
        self.queue_url.is_some() || self.queue_name.is_some()
    }

    /// The queue, if one is named.
    pub(crate) async fn queue(&self) -> Result<Option<Queue>, CliError> {
        let aws = Aws::at(self.endpoint_url.clone());
        let sqs = || async { Client::new(aws.config().await) };
        Ok(match (&self.queue_url, &self.queue_name) {
            (Some(url), _) => Some(Queue::new(&sqs().await, url)),
            (None, Some(name)) => Some(Queue::named(&sqs().await, name).await?),
            (None, None) => None,
        })
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Queue")]
pub(crate) struct DeadLetterFlags {
    /// URL of the dead-letter queue [env: DEAD_LETTER_QUEUE_URL; otherwise the queue's redrive policy]
    #[arg(long, value_name = "URL", value_parser = queue_url)]
    dead_letter_queue_url: Option<String>,
}

/// Why there is no dead-letter queue.
#[derive(Debug, Error)]
enum DeadLetterError {
    #[error(
        "the queue has no redrive policy: name its dead-letter queue with --dead-letter-queue-url"
    )]
    Unknown,
    #[error("{0:?} is the queue itself: name its dead-letter queue with --dead-letter-queue-url")]
    SameQueue(String),
}

impl DeadLetterFlags {
    /// The dead-letter queue, if it is named.
    pub(crate) fn named(&self, sqs: &Client) -> Result<Option<Queue>, CliError> {
        let flag = self.dead_letter_queue_url.as_ref();
        let url = queue_url_or(flag, "DEAD_LETTER_QUEUE_URL")?;
        Ok(url.map(|url| Queue::new(sqs, &url)))
    }

    /// The dead-letter queue of a queue: the one that is named, or else the one in its redrive policy.
    pub(crate) async fn queue(
        &self,
        sqs: &Client,
        source: &Attributes,
    ) -> Result<(Queue, Attributes), CliError> {
        let queue = match (self.named(sqs)?, &source.redrive_policy) {
            (Some(queue), _) => queue,
            (None, Some(policy)) => Queue::of_arn(sqs, &policy.dead_letter_arn).await?,
            (None, None) => return Err(CliError::invalid(DeadLetterError::Unknown)),
        };
        let attributes = queue.attributes().await?;
        if attributes.arn == source.arn {
            let url = queue.url().to_owned();
            return Err(CliError::invalid(DeadLetterError::SameQueue(url)));
        }
        Ok((queue, attributes))
    }
}

/// The URL of a queue, from a flag; not a name, which LocalStack accepts in its place and SQS does not.
pub(crate) fn queue_url(text: &str) -> Result<String, String> {
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not a queue URL (https://…): give the URL; only --queue-name accepts a name"
    ))
}

/// The URL of a queue: the flag's, otherwise that in the variable, if it is set.
pub(crate) fn queue_url_or(flag: Option<&String>, name: &str) -> Result<Option<String>, CliError> {
    if flag.is_some() {
        return Ok(flag.cloned());
    }
    let url = variable(name).map(|text| queue_url(&text)).transpose();
    url.map_err(|error| CliError::invalid(format!("{name}: {error}")))
}

impl QueueFlags {
    /// The AWS configuration.
    pub(crate) fn aws(&self) -> Aws {
        Aws::at(self.endpoint_url.clone())
    }

    /// The queue, if one is named.
    pub(crate) async fn queue(&self, sqs: &Client) -> Result<Option<Queue>, CliError> {
        if let Some(name) = &self.queue_name {
            return Ok(Some(Queue::named(sqs, name).await?));
        }
        let url = queue_url_or(self.queue_url.as_ref(), "QUEUE_URL")?;
        Ok(url.map(|url| Queue::new(sqs, &url)))
    }

    /// The queue, for a command that requires one.
    pub(crate) async fn required_queue(&self, sqs: &Client) -> Result<Queue, CliError> {
        let queue = self.queue(sqs).await?;
        queue.ok_or_else(|| {
            CliError::invalid("no queue given: use --queue-url or --queue-name, or set QUEUE_URL")
        })
    }
}

impl MappingFlags {
    /// The mapping, and its name in error messages.
    pub(crate) fn read(&self) -> Result<(String, Pipeline), CliError> {
        Ok(read_pipeline(&[self.file()])?)
    }

    /// The file of the mapping.
    pub(crate) fn file(&self) -> PathBuf {
        let named = || variable("PIPELINE_FILE").map(PathBuf::from);
        let flag = self.pipeline.clone().or_else(named);
        flag.unwrap_or_else(|| FILE_HERE.into())
    }
}

impl MaskFlags {
    fn flags(&self) -> [Flag<'_>; 1] {
        [("MASK_SECRET_ID", &self.mask_secret_id)]
    }

    /// The mask keys, if any are set.
    pub(crate) async fn keys(&self, aws: &Arc<Aws>) -> Result<Option<KeyRing>, CliError> {
        let flags = self.flags();
        let settings = MaskKeySettings::read(&|name: &str| look_up(&flags, name))?;
        let key = mask_keys(settings.as_ref(), &Secrets::new(Arc::clone(aws))).await;
        Ok(key?)
    }
}

impl DatabaseFlags {
    fn flags(&self) -> [Flag<'_>; 10] {
        [
            ("DATABASE_URL", &self.database_url),
            ("DB_SECRET_ID", &self.db_secret_id),
            ("DB_AUTH", &self.db_auth),
            ("DB_HOST", &self.db_host),
            ("DB_PORT", &self.db_port),
            ("DB_NAME", &self.db_name),
            ("DB_USER", &self.db_user),
            ("DB_SSLMODE", &self.db_sslmode),
            ("DB_SSLROOTCERT", &self.db_sslrootcert),
            ("DB_CHANNEL_BINDING", &self.db_channel_binding),
        ]
    }

    /// The database, not yet connected.
    pub(crate) fn database(&self, aws: &Arc<Aws>) -> Result<Database, CliError> {
        let flags = self.flags();
        let settings = DatabaseSettings::read(&|name: &str| look_up(&flags, name))?;
        let secrets = Arc::new(Secrets::new(Arc::clone(aws)));
        Ok(Database::new(settings, DEFAULT_SECRET_TTL, secrets)?)
    }
}

/// The settings of a handler, for a command that does the work of the function.
pub(crate) fn settings(
    mapping: &MappingFlags,
    mask: &MaskFlags,
    database: &DatabaseFlags,
) -> Result<Settings, CliError> {
    let flags: Vec<Flag<'_>> = mask.flags().into_iter().chain(database.flags()).collect();
    let settings = Settings::read(|name: &str| look_up(&flags, name))?;
    Ok(Settings {
        // Only a function has CloudWatch metrics.
        function_name: String::new(),
        pipeline_files: vec![mapping.file()],
        ..settings
    })
}

/// The environment's value; an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable and the value of its flag.
type Flag<'f> = (&'static str, &'f Option<String>);

/// The value of the flag, or of the environment if neither this flag nor the flag of a rival is set.
fn look_up(flags: &[Flag<'_>], name: &str) -> Option<String> {
    let flag = |name: &str| {
        let (_, value) = flags.iter().find(|(flag, _)| *flag == name)?;
        value.as_ref()
    };
    let mut rivals = RIVALS.iter().filter(|rivals| rivals.contains(&name));
    match flag(name) {
        Some(value) => Some(value.clone()),
        None if rivals.any(|rivals| rivals.iter().any(|rival| flag(rival).is_some())) => None,
        None => variable(name),
    }
}
