//! The queue: its visibility timeout and its dead-letter queue.

use aws_sdk_sqs::Client;
use sqs_to_postgres::sqs::{self, Attributes, RedrivePolicy, is_fifo, name_of};

use super::report::Report;
use crate::cli::error::CliError;

/// The visibility timeout that AWS recommends, as a multiple of the function's timeout.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>.
pub(super) const ADVISED_VISIBILITY: u64 = 6;

/// The findings about a queue.
pub(super) struct CheckedQueue {
    pub(super) arn: String,
    pub(super) visibility_secs: u64,
    /// After how many deliveries SQS moves a message to the dead-letter queue; empty if it never does.
    max_receives: String,
    /// Where its redrive policy sends them.
    pub(super) dead_letter_arn: Option<String>,
}

impl CheckedQueue {
    /// Writes the line of a FIFO queue's dead letters; `are_direct` if the function sends them itself.
    pub(super) fn check_order(&self, are_direct: bool, report: &mut Report) {
        if !is_fifo(&self.arn) {
            return;
        }
        if are_direct {
            return report.ok(
                "order",
                "kept: the function itself sends a bad message to the dead-letter queue",
            );
        }
        let text = match self.max_receives.as_str() {
            "" => "a bad message blocks its whole group until it expires".to_owned(),
            deliveries => format!(
                "a bad message blocks its group, and after {deliveries} deliveries SQS moves the good messages behind it to the dead-letter queue too; later messages are then stored before them"
            ),
        };
        let fix = "set DEAD_LETTER_QUEUE_URL, so that only the bad message is moved";
        report.warning("order", &text, fix)
    }
}

/// Writes the lines of a queue, if there is one, and returns the values to compare with the function's.
pub(super) async fn check(
    queue: Result<Option<sqs::Queue>, CliError>,
    sqs: &Client,
    report: &mut Report,
) -> Option<CheckedQueue> {
    let queue = report.value("queue", queue)??;
    let attributes = report.value("queue", queue.attributes().await)?;
    let (name, waiting) = (name_of(&attributes.arn), attributes.depth.waiting);
    let visibility_secs = attributes.visibility_timeout.as_secs();
    let found =
        format!("{name}, {waiting} messages waiting, visibility timeout {visibility_secs} s");
    report.ok("queue", &found);
    check_redrive(&attributes, sqs, report).await;
    let policy = attributes.redrive_policy;
    Some(CheckedQueue {
        arn: attributes.arn,
        visibility_secs,
        dead_letter_arn: policy.as_ref().map(|policy| policy.dead_letter_arn.clone()),
        max_receives: policy.map_or(String::new(), |policy| policy.max_receive_count),
    })
}

async fn check_redrive(queue: &Attributes, sqs: &Client, report: &mut Report) {
    let Some(RedrivePolicy {
        dead_letter_arn: arn,
        max_receive_count: deliveries,
    }) = &queue.redrive_policy
    else {
        let text =
            "no dead-letter queue: a message that always fails is redelivered until it expires";
        return report.warning("redrive", text, "add a redrive policy to the queue");
    };
    let dead_letters = async { sqs::Queue::of_arn(sqs, arn).await?.attributes().await };
    let Some(dead_letters) = report.value("redrive", dead_letters.await) else {
        return;
    };
    let found = format!("to {} after {deliveries} deliveries", name_of(arn));
    if dead_letters.retention <= queue.retention {
        let text = format!("{found}, which keeps messages no longer than the queue itself");
        let fix = "increase its retention period: the age of a dead letter counts from when it was first sent";
        return report.warning("redrive", &text, fix);
    }
    report.ok("redrive", &found)
}
