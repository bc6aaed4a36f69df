//! The Lambda function: its event source, its time, and how many of it there can be.

use aws_config::SdkConfig;
use serde_json::Value;
use sqs_to_postgres::database::Server;

use super::api::get;
use super::queue::{ADVISED_VISIBILITY, Queue};
use super::report::Report;
use crate::cli::error::CliError;

/// What an account has unless it asked for more.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
const ACCOUNT_CONCURRENCY: i64 = 1_000;

/// The variable of the queue to which a function or a drain sends dead letters itself.
pub(super) const DEAD_LETTER_QUEUE_URL: &str = "DEAD_LETTER_QUEUE_URL";

/// What Lambda says of a function.
pub(super) struct Function {
    name: String,
    timeout_secs: u64,
    /// Reserved for it; `None`: what the account has.
    reserved: Option<i64>,
    /// Whether it sends dead letters itself; `None` where Lambda does not say.
    sends_dead_letters: Option<bool>,
    /// Its event source mappings that read from SQS queues.
    sources: Vec<Value>,
}

impl Function {
    /// Asks Lambda. API: <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>.
    pub(super) async fn read(config: &SdkConfig, name: &str) -> Result<Self, CliError> {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        let what = format!("function {name:?}");
        let configuration = get(config, &what, &path).await?;
        let path = format!("/2019-09-30/functions/{name}/concurrency");
        let concurrency = get(config, &what, &path).await?;
        let path = format!("/2015-03-31/event-source-mappings/?FunctionName={name}");
        let mut sources = get(config, &what, &path).await?;
        let sources = sources["EventSourceMappings"]
            .as_array_mut()
            .map(std::mem::take);
        let is_queue = |source: &Value| arn(source).contains(":sqs:");
        Ok(Self {
            name: name.to_owned(),
            timeout_secs: configuration["Timeout"].as_u64().unwrap_or_default(),
            sends_dead_letters: sends_dead_letters(&configuration["Environment"]),
            reserved: concurrency["ReservedConcurrentExecutions"].as_i64(),
            sources: sources
                .unwrap_or_default()
                .into_iter()
                .filter(is_queue)
                .collect(),
        })
    }

    /// The queue it reads from, where it is only one.
    pub(super) fn queue_arn(&self) -> Option<&str> {
        match &self.sources[..] {
            [source] => Some(arn(source)),
            _ => None,
        }
    }

    /// Writes the lines of the function and of its way from the queue.
    pub(super) fn check(
        &self,
        queue: Option<&Queue>,
        server: Option<&Server>,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let (name, timeout) = (&self.name, self.timeout_secs);
        report.ok("function", &format!("{name}, timeout {timeout} s"))?;
        if let Some(queue) = queue {
            self.check_visibility(queue, report)?;
            if let Some(are_direct) = self.sends_dead_letters {
                queue.check_order(are_direct, report)?;
            }
        }
        let wanted = |source: &&Value| queue.is_none_or(|queue| queue.arn == arn(source));
        let Some(source) = self.sources.iter().find(wanted) else {
            let mend = "connect the function to the queue with an event source mapping";
            return report.failure(
                "event source",
                "the function does not read from the queue",
                mend,
            );
        };
        check_source(source, report)?;
        match server {
            Some(server) => self.check_concurrency(source, server, report),
            None => Ok(()),
        }
    }

    fn check_visibility(&self, queue: &Queue, report: &mut Report) -> Result<(), CliError> {
        let (visibility, timeout) = (queue.visibility_secs, self.timeout_secs);
        let advised = ADVISED_VISIBILITY * timeout;
        if visibility < timeout {
            let text = format!(
                "{visibility} s is shorter than the function's timeout of {timeout} s: messages are handled twice"
            );
            return report.failure("visibility", &text, &format!("set it to {advised} s"));
        }
        if visibility < advised {
            let text = format!(
                "{visibility} s is less than {ADVISED_VISIBILITY} times the function's timeout of {timeout} s, which AWS advises"
            );
            return report.warning("visibility", &text, &format!("set it to {advised} s"));
        }
        report.ok(
            "visibility",
            &format!("{visibility} s for a timeout of {timeout} s"),
        )
    }

    /// Each function at work has a connection of its own.
    fn check_concurrency(
        &self,
        source: &Value,
        server: &Server,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let limits = [
            source["ScalingConfig"]["MaximumConcurrency"].as_i64(),
            self.reserved,
        ];
        let limit = limits.into_iter().flatten().min();
        let most = limit.unwrap_or(ACCOUNT_CONCURRENCY);
        let connections = server.connections;
        let found = match limit {
            Some(limit) => format!("at most {limit} at once"),
            None => format!("no limit but the account's (usually {ACCOUNT_CONCURRENCY})"),
        };
        if server.is_pooled {
            return report.ok(
                "concurrency",
                &format!("{found}; the pooler shares its connections"),
            );
        }
        let found = format!("{found}, for {connections} connections that the server has");
        let mend =
            format!("set MaximumConcurrency well below {connections}, or put a pooler in between");
        match limit {
            Some(_) if most > connections => report.failure("concurrency", &found, &mend),
            _ if most > connections / 2 => report.warning("concurrency", &found, &mend),
            _ => report.ok("concurrency", &found),
        }
    }
}

/// Without the right to decrypt the variables Lambda gives an error in their place.
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_EnvironmentResponse.html>.
fn sends_dead_letters(environment: &Value) -> Option<bool> {
    let url = environment["Variables"][DEAD_LETTER_QUEUE_URL].as_str();
    environment["Error"]
        .is_null()
        .then(|| url.is_some_and(|url| !url.is_empty()))
}

fn arn(source: &Value) -> &str {
    source["EventSourceArn"].as_str().unwrap_or_default()
}

fn check_source(source: &Value, report: &mut Report) -> Result<(), CliError> {
    let state = source["State"].as_str().unwrap_or_default();
    let size = source["BatchSize"].as_i64().unwrap_or_default();
    match state {
        "Enabled" => report.ok("event source", &format!("enabled, batches of up to {size}"))?,
        _ => report.failure(
            "event source",
            &format!("its state is {state}"),
            "enable it",
        )?,
    }
    let types = source["FunctionResponseTypes"].as_array();
    let is_partial =
        types.is_some_and(|types| types.iter().any(|name| name == "ReportBatchItemFailures"));
    if is_partial {
        report.ok("partial responses", "ReportBatchItemFailures is on")?;
    } else {
        let text = "ReportBatchItemFailures is off, so that failed messages are deleted as if they were stored";
        report.failure(
            "partial responses",
            text,
            "add it to FunctionResponseTypes of the event source mapping",
        )?;
    }
    let filters = source["FilterCriteria"]["Filters"]
        .as_array()
        .map_or(0, Vec::len);
    if filters > 0 {
        let text = "Lambda deletes the messages that its filter leaves out";
        return report.warning(
            "filter",
            text,
            "take FilterCriteria out, unless that is meant",
        );
    }
    report.ok("filter", "none")
}
