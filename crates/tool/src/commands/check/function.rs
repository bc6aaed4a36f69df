//! The Lambda function: its event source, timeout and concurrency.

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::{DateTime, DateTimeFormat as Format};
use aws_sdk_lambda::types::{
    EnvironmentResponse, EventSourceMappingConfiguration, FunctionResponseType,
};
use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::database::ServerFacts;
use sqs_to_postgres::sqs::name_of;

use super::queue::{ADVISED_VISIBILITY, CheckedQueue};
use super::report::Report;
use crate::cli::error::CliError;
use crate::cli::output::listed;

/// The default concurrency of an account.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
const ACCOUNT_CONCURRENCY: i32 = 1_000;

/// The variable with the queue to which a function or a drain itself sends dead letters.
pub(super) const DEAD_LETTER_QUEUE_URL: &str = "DEAD_LETTER_QUEUE_URL";

/// A function, as Lambda describes it.
pub(super) struct Function {
    name: String,
    timeout_secs: u64,
    /// Reserved concurrency; `None`: the account's.
    reserved: Option<i32>,
    /// Its variables; `None` if Lambda does not say.
    pub(super) variables: Option<HashMap<String, String>>,
    /// Where its log is.
    pub(super) log_group: String,
    /// When it was last changed, in milliseconds since 1970.
    pub(super) modified_millis: Option<i64>,
    /// Its event source mappings that read from SQS queues.
    sources: Vec<EventSourceMappingConfiguration>,
}

impl Function {
    /// Asks Lambda. API: <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>.
    pub(super) async fn read(config: &SdkConfig, name: &str) -> Result<Self, CliError> {
        let lambda = Client::new(config);
        let what = format!("function {name:?}");
        let configuration = lambda.get_function_configuration().function_name(name);
        let configuration = configuration.send().await;
        let configuration = configuration.map_err(|error| AwsError::of(&what, &error))?;
        let concurrency = lambda.get_function_concurrency().function_name(name);
        let concurrency = concurrency.send().await;
        let concurrency = concurrency.map_err(|error| AwsError::of(&what, &error))?;
        let sources = lambda.list_event_source_mappings().function_name(name);
        let sources = sources.send().await;
        let sources = sources.map_err(|error| AwsError::of(&what, &error))?;
        let mut sources = sources.event_source_mappings.unwrap_or_default();
        sources.retain(|source| arn(source).contains(":sqs:"));
        let log_group = configuration
            .logging_config()
            .and_then(|log| log.log_group());
        Ok(Self {
            name: name.to_owned(),
            timeout_secs: configuration
                .timeout()
                .unwrap_or_default()
                .unsigned_abs()
                .into(),
            reserved: concurrency.reserved_concurrent_executions(),
            variables: variables(configuration.environment()),
            log_group: log_group.map_or_else(|| format!("/aws/lambda/{name}"), str::to_owned),
            modified_millis: configuration.last_modified().and_then(millis),
            sources,
        })
    }

    /// The value of a variable, if it is known and set.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let value = self.variables.as_ref()?.get(name)?;
        (!value.is_empty()).then(|| value.clone())
    }

    /// The queue it reads from, if there is exactly one.
    pub(super) fn queue_arn(&self) -> Option<&str> {
        match &self.sources[..] {
            [source] => Some(arn(source)),
            _ => None,
        }
    }

    /// Writes the lines of the function and of its event source.
    pub(super) fn check(
        &self,
        queue: Option<&CheckedQueue>,
        server: Option<&ServerFacts>,
        report: &mut Report,
    ) {
        let (name, timeout) = (&self.name, self.timeout_secs);
        report.ok("function", format!("{name}, timeout {timeout} s"));
        if let Some(queue) = queue {
            self.check_visibility(queue, report);
            if self.variables.is_some() {
                let are_direct = self.variable(DEAD_LETTER_QUEUE_URL).is_some();
                queue.check_order(are_direct, report);
            }
        }
        let wanted = |source: &&EventSourceMappingConfiguration| {
            queue.is_none_or(|queue| queue.arn == arn(source))
        };
        let Some(source) = self.sources.iter().find(wanted) else {
            let (text, fix) = self.no_source(queue);
            return report.failure("event source", text, fix);
        };
        check_source(source, report);
        if let Some(server) = server {
            self.check_concurrency(source, server, report);
        }
    }

    /// Why there is no event source mapping to check, and what to do.
    fn no_source(&self, queue: Option<&CheckedQueue>) -> (String, String) {
        let read: Vec<&str> = self
            .sources
            .iter()
            .map(|source| name_of(arn(source)))
            .collect();
        match (queue, &read[..]) {
            (Some(queue), [first, ..]) => (
                format!(
                    "the function reads from {}, and you checked {}",
                    listed(&read),
                    name_of(&queue.arn)
                ),
                format!("check that queue with --queue-name {first}"),
            ),
            _ => (
                "the function does not read from the queue".to_owned(),
                "create an event source mapping from the queue to the function".to_owned(),
            ),
        }
    }

    fn check_visibility(&self, queue: &CheckedQueue, report: &mut Report) {
        let (visibility, timeout) = (queue.visibility_secs, self.timeout_secs);
        let advised = ADVISED_VISIBILITY * timeout;
        if visibility < timeout {
            let text = format!(
                "{visibility} s is shorter than the function's timeout of {timeout} s: messages are processed twice"
            );
            return report.failure("visibility", &text, format!("set it to {advised} s"));
        }
        if visibility < advised {
            let text = format!(
                "{visibility} s is less than {ADVISED_VISIBILITY} times the function's timeout of {timeout} s, which AWS recommends"
            );
            return report.warning("visibility", &text, format!("set it to {advised} s"));
        }
        report.ok(
            "visibility",
            format!("{visibility} s for a timeout of {timeout} s"),
        )
    }

    /// Each concurrent invocation has its own connection.
    fn check_concurrency(
        &self,
        source: &EventSourceMappingConfiguration,
        server: &ServerFacts,
        report: &mut Report,
    ) {
        let limits = [
            source
                .scaling_config()
                .and_then(|scaling| scaling.maximum_concurrency()),
            self.reserved,
        ];
        let limit = limits.into_iter().flatten().min();
        let most = i64::from(limit.unwrap_or(ACCOUNT_CONCURRENCY));
        let connections = server.connections;
        let found = match limit {
            Some(limit) => format!("at most {limit} at once"),
            None => format!("only the account's limit (usually {ACCOUNT_CONCURRENCY})"),
        };
        if server.is_pooled {
            return report.ok(
                "concurrency",
                format!("{found}; the pooler shares its connections"),
            );
        }
        let found = format!("{found}; the server allows {connections} connections");
        let fix = format!("set MaximumConcurrency well below {connections}, or use a pooler");
        match limit {
            Some(_) if most > connections => report.failure("concurrency", &found, &fix),
            _ if most > connections / 2 => report.warning("concurrency", &found, &fix),
            _ => report.ok("concurrency", &found),
        }
    }
}

/// Without permission to decrypt the variables, Lambda returns an error in their place.
/// Source: <https://docs.aws.amazon.com/lambda/latest/api/API_EnvironmentResponse.html>.
fn variables(environment: Option<&EnvironmentResponse>) -> Option<HashMap<String, String>> {
    let Some(environment) = environment else {
        return Some(HashMap::new());
    };
    let is_known = environment.error().is_none();
    is_known.then(|| environment.variables().cloned().unwrap_or_default())
}

/// Lambda writes `2026-01-31T23:59:59.500+0000`.
fn millis(modified: &str) -> Option<i64> {
    let text = modified.replace("+0000", "Z");
    let time = DateTime::from_str(&text, Format::DateTime).ok()?;
    time.to_millis().ok()
}

fn arn(source: &EventSourceMappingConfiguration) -> &str {
    source.event_source_arn().unwrap_or_default()
}

fn check_source(source: &EventSourceMappingConfiguration, report: &mut Report) {
    let state = source.state().unwrap_or_default();
    let size = source.batch_size().unwrap_or_default();
    match state {
        "Enabled" => report.ok("event source", format!("enabled, batches of up to {size}")),
        _ => report.failure("event source", format!("its state is {state}"), "enable it"),
    }
    let is_partial = source
        .function_response_types()
        .contains(&FunctionResponseType::ReportBatchItemFailures);
    if is_partial {
        report.ok("partial responses", "ReportBatchItemFailures is on");
    } else {
        let text =
            "ReportBatchItemFailures is off: failed messages are deleted as if they were stored";
        report.failure(
            "partial responses",
            text,
            "add it to FunctionResponseTypes of the event source mapping",
        );
    }
    if source
        .filter_criteria()
        .is_some_and(|criteria| !criteria.filters().is_empty())
    {
        let text = "Lambda deletes the messages that the filter excludes";
        return report.warning(
            "filter",
            text,
            "remove FilterCriteria, unless that is intended",
        );
    }
    report.ok("filter", "none")
}
