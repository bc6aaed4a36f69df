//! The queue: its visibility timeout and its dead-letter queue.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName as Name;
use serde_json::Value;

use super::report::Report;
use crate::cli::error::CliError;
use crate::cli::settings::{QueueFlags, attributes, url_of};

/// The visibility timeout that AWS recommends, as a multiple of the function's timeout.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>.
pub(super) const ADVISED_VISIBILITY: u64 = 6;

/// What was found out of a queue.
pub(super) struct Queue {
    pub(super) arn: String,
    pub(super) visibility_secs: u64,
    /// After how many deliveries SQS moves a message to the dead-letter queue; empty where it does not.
    max_receives: String,
}

impl Queue {
    /// Writes the line of a FIFO queue's dead letters; `are_direct` where the function sends them itself.
    pub(super) fn check_order(
        &self,
        are_direct: bool,
        report: &mut Report,
    ) -> Result<(), CliError> {
        if !self.arn.ends_with(".fifo") {
            return Ok(());
        }
        if are_direct {
            return report.ok(
                "order",
                "kept: the function itself sends a bad message to the dead-letter queue",
            );
        }
        let text = match self.max_receives.as_str() {
            "" => "a bad message holds back its whole group until it expires".to_owned(),
            deliveries => format!(
                "a bad message holds back its group, and after {deliveries} deliveries SQS moves the good messages behind it to the dead-letter queue too; later messages are then stored before them"
            ),
        };
        let fix = "set DEAD_LETTER_QUEUE_URL, so that only the bad message is moved";
        report.warning("order", &text, fix)
    }
}

/// Writes the lines of the named queue, and gives what the function is compared with.
pub(super) async fn check(
    flags: &QueueFlags,
    sqs: &Client,
    report: &mut Report,
) -> Result<Option<Queue>, CliError> {
    let url = match flags.url(sqs).await {
        Ok(Some(url)) => url,
        Ok(None) => return Ok(None),
        Err(error) => return report.error("queue", &error).map(|()| None),
    };
    check_url(&url, sqs, report).await
}

/// The same of a queue by its ARN.
pub(super) async fn check_arn(
    arn: &str,
    sqs: &Client,
    report: &mut Report,
) -> Result<Option<Queue>, CliError> {
    let name = arn.rsplit(':').next().unwrap_or_default();
    match url_of(sqs, name).await {
        Ok(url) => check_url(&url, sqs, report).await,
        Err(error) => report.error("queue", &error).map(|()| None),
    }
}

async fn check_url(
    url: &str,
    sqs: &Client,
    report: &mut Report,
) -> Result<Option<Queue>, CliError> {
    let attributes = match attributes(url, sqs).await {
        Ok(attributes) => attributes,
        Err(error) => return report.error("queue", &error).map(|()| None),
    };
    let text = |name: Name| attributes.get(&name).map_or("", String::as_str);
    let arn = text(Name::QueueArn).to_owned();
    let name = arn.rsplit(':').next().unwrap_or_default();
    let waiting = text(Name::ApproximateNumberOfMessages);
    let visibility_secs = text(Name::VisibilityTimeout).parse().unwrap_or_default();
    let found =
        format!("{name}, {waiting} messages waiting, visibility timeout {visibility_secs} s");
    report.ok("queue", &found)?;
    let policy: Value = serde_json::from_str(text(Name::RedrivePolicy)).unwrap_or_default();
    let retention = text(Name::MessageRetentionPeriod);
    check_redrive(&policy, retention, sqs, report).await?;
    Ok(Some(Queue {
        arn,
        visibility_secs,
        max_receives: max_receives(&policy),
    }))
}

/// A number or a string, as it was set.
fn max_receives(policy: &Value) -> String {
    match &policy["maxReceiveCount"] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        number => number.to_string(),
    }
}

async fn check_redrive(
    policy: &Value,
    retention: &str,
    sqs: &Client,
    report: &mut Report,
) -> Result<(), CliError> {
    let Some(arn) = policy["deadLetterTargetArn"].as_str() else {
        let text =
            "no dead-letter queue: a message that always fails is redelivered until it expires";
        return report.warning("redrive", text, "add a redrive policy to the queue");
    };
    let name = arn.rsplit(':').next().unwrap_or_default();
    let deliveries = max_receives(policy);
    let dead_letters = async { attributes(&url_of(sqs, name).await?, sqs).await };
    let dead_letters = match dead_letters.await {
        Ok(attributes) => attributes,
        Err(error) => return report.error("redrive", &error),
    };
    let found = format!("to {name} after {deliveries} deliveries");
    let secs = |text: &str| text.parse().unwrap_or(0_u64);
    let kept = dead_letters
        .get(&Name::MessageRetentionPeriod)
        .map_or("", String::as_str);
    if secs(kept) <= secs(retention) {
        let text = format!("{found}, which keeps messages no longer than the queue itself");
        let fix = "increase its retention period: the age of a dead letter counts from when it was first sent";
        return report.warning("redrive", &text, fix);
    }
    report.ok("redrive", &found)
}
