//! What is deployed, compared with what is checked: mapping, database and role, mask key, dead-letter queue.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::Client;
use bytes::BytesMut;
use mapping::internals::Masker;
use mapping::{KeyRing, Mask, Pipeline};
use sqs_to_postgres::aws::{Aws, AwsError};
use sqs_to_postgres::config::{DEFAULT_SECRET_TTL, DatabaseSettings, MaskKeySettings};
use sqs_to_postgres::database::{Database, is_loopback};
use sqs_to_postgres::prepare::mask_keys;
use sqs_to_postgres::secret::Secrets;
use sqs_to_postgres::sqs::name_of;
use sqs_to_postgres::telemetry::messages::MAPPING_DIGEST;

use super::Check;
use super::function::{DEAD_LETTER_QUEUE_URL, Function};
use super::queue::CheckedQueue;
use super::report::Report;
use crate::cli::error::CliError;
use crate::cli::settings::queue_url_or;

/// The variables that name a function's database and role. Its certificate files are not available here.
const WHERE_AND_WHO: [&str; 7] = [
    "DATABASE_URL",
    "DB_SECRET_ID",
    "DB_AUTH",
    "DB_HOST",
    "DB_PORT",
    "DB_NAME",
    "DB_USER",
];

/// The two sides of the comparison.
pub(super) struct Comparison<'a> {
    pub(super) checked: &'a Check,
    pub(super) file: &'a str,
    pub(super) pipeline: &'a Pipeline,
    pub(super) aws: &'a Arc<Aws>,
    pub(super) function: &'a Function,
}

impl Comparison<'_> {
    pub(super) async fn check(&self, queue: Option<&CheckedQueue>, report: &mut Report) {
        self.check_mapping(report).await;
        if self.function.variables.is_none() {
            let text = "the function's variables cannot be read, so they are not compared";
            return report.warning("deployed", text, "allow kms:Decrypt for their key");
        }
        self.check_database(report).await;
        self.check_mask(report).await;
        self.check_dead_letters(queue, report)
    }

    async fn check_mapping(&self, report: &mut Report) {
        let (name, file, here) = ("deployed mapping", self.file, &self.pipeline.digest);
        match logged_digest(self.aws.config().await, self.function).await {
            Ok(Some(there)) if there == *here => {
                report.ok(name, format!("the same as {file}, digest {here}"))
            }
            Ok(Some(there)) => report.failure(
                name,
                format!("the function runs another mapping (digest {there}) than {file} ({here})"),
                "deploy this mapping, or check the deployed one with --pipeline",
            ),
            Ok(None) => report.warning(
                name,
                "unknown: the function has not logged a start since its last update",
                "send a message, with AWS_LAMBDA_LOG_LEVEL at INFO, and check again",
            ),
            Err(error) => report.warning(
                name,
                format!(
                    "unknown: the function's log cannot be read ({})",
                    error.reason()
                ),
                "allow logs:FilterLogEvents",
            ),
        }
    }

    async fn check_database(&self, report: &mut Report) {
        let name = "deployed database";
        let Ok(mut here) = self.checked.database.database(self.aws) else {
            return;
        };
        let (here, there) = (place(&mut here).await, self.deployed_place().await);
        let (here, there) = match (here, there) {
            (Ok(here), Ok(there)) => (here, there),
            (Err(_), _) => return,
            (_, Err(error)) => {
                return report.warning(
                    name,
                    error.to_string(),
                    "comparison skipped: fix the error above",
                );
            }
        };
        let (found, expected) = (text(&there), text(&here));
        if there == here {
            return report.ok(name, format!("the same, {found}"));
        }
        let text =
            format!("the function connects to {found}, but this check connects to {expected}");
        let fix = "check with the function's settings (--db-secret-id, --db-auth or DATABASE_URL)";
        let ((here_host, _), (there_host, _)) = (&here.0, &there.0);
        let is_tunnel = is_loopback(here_host) && !is_loopback(there_host);
        match is_tunnel && here.1 == there.1 {
            true => report.warning(
                name,
                &text,
                "make sure that the tunnel leads to that database",
            ),
            false => report.failure(name, &text, fix),
        }
    }

    async fn deployed_place(&self) -> Result<Place, CliError> {
        let lookup = |name: &str| {
            let is_asked = WHERE_AND_WHO.contains(&name);
            is_asked.then(|| self.function.variable(name)).flatten()
        };
        let settings = DatabaseSettings::read(&lookup)?;
        let secrets = Arc::new(Secrets::new(Arc::clone(self.aws)));
        place(&mut Database::new(settings, DEFAULT_SECRET_TTL, secrets)?).await
    }

    async fn check_mask(&self, report: &mut Report) {
        let name = "deployed mask key";
        let mut masks = self.pipeline.columns().filter_map(|column| column.mask);
        if !masks.any(Mask::needs_key) {
            return;
        }
        let Ok(Some(here)) = self.checked.mask.keys(self.aws).await else {
            return;
        };
        match self.deployed_key().await {
            Ok(Some(there)) if make_one_token(&there, &here) => report.ok(name, "the same"),
            Ok(there) => {
                let what = match there {
                    Some(_) => "the function masks with another key, so its tokens differ",
                    None => "the function has no mask key",
                };
                let id = self.function.variable("MASK_SECRET_ID");
                let fix = id.map_or_else(
                    || "set MASK_KEY or MASK_SECRET_ID to the function's value".to_owned(),
                    |id| format!("check with --mask-secret-id {id}"),
                );
                report.failure(name, what, &fix)
            }
            Err(error) => report.warning(
                name,
                error.to_string(),
                "comparison skipped: fix the error above",
            ),
        }
    }

    async fn deployed_key(&self) -> Result<Option<KeyRing>, CliError> {
        let settings = MaskKeySettings::read(&|name: &str| self.function.variable(name))?;
        Ok(mask_keys(settings.as_ref(), &Secrets::new(Arc::clone(self.aws))).await?)
    }

    /// Compares the function's own queue for dead letters with this command's and with the redrive policy's.
    fn check_dead_letters(&self, queue: Option<&CheckedQueue>, report: &mut Report) {
        let Some(url) = self.function.variable(DEAD_LETTER_QUEUE_URL) else {
            return;
        };
        let name = "dead letters";
        let theirs = name_of_url(&url);
        let ours = queue_url_or(None, DEAD_LETTER_QUEUE_URL);
        let Some(ours) = report.value(name, ours) else {
            return;
        };
        let ours = ours.as_deref().map(name_of_url);
        let by_policy = queue.and_then(|queue| queue.dead_letter_arn.as_deref().map(name_of));
        let others = [
            (ours, "DEAD_LETTER_QUEUE_URL here"),
            (by_policy, "the redrive policy"),
        ];
        for (other, whose) in others {
            if let Some(other) = other.filter(|other| *other != theirs) {
                let text =
                    format!("the function sends them to {theirs}, but {whose} names {other}");
                return report.failure(name, &text, "name the same queue in both");
            }
        }
        report.ok(name, format!("to {theirs}"))
    }
}

/// The host and port of a database, its name, and the role that connects to it.
type Place = ((String, u16), [String; 2]);

async fn place(database: &mut Database) -> Result<Place, CliError> {
    Ok((database.address().await?, database.name_and_role().await?))
}

fn text(((host, port), [name, role]): &Place) -> String {
    format!("{name} at {host}:{port} as {role}")
}

/// Whether two keys make the same token of a value: then they are the same key.
fn make_one_token(a: &KeyRing, b: &KeyRing) -> bool {
    match (token(a), token(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

fn token(key: &KeyRing) -> Option<BytesMut> {
    let mut token = BytesMut::new();
    let masker = Masker::new(Mask::HmacSha256, Some(key)).ok()?;
    masker.write_token("", &mut token).ok()?;
    Some(token)
}

fn name_of_url(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// The digest logged by the first start since the function was last changed; all later starts have the same.
async fn logged_digest(
    config: &SdkConfig,
    function: &Function,
) -> Result<Option<String>, AwsError> {
    let group = &function.log_group;
    let request = Client::new(config).filter_log_events();
    let request = request.log_group_name(group).filter_pattern(MAPPING_DIGEST);
    let request = request.set_start_time(function.modified_millis);
    let mut pages = request.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| AwsError::of(&format!("log group {group:?}"), &error))?;
        let mut lines = page.events().iter().filter_map(|event| event.message());
        if let Some(digest) = lines.find_map(digest_in) {
            return Ok(Some(digest));
        }
    }
    Ok(None)
}

/// The digest in a line, in JSON or text.
fn digest_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(MAPPING_DIGEST)?;
    let rest = rest.trim_start_matches(['"', ':', '=', ' ']);
    let digest: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    (!digest.is_empty()).then_some(digest)
}
