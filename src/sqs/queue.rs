//! A queue: each operation of SQS's API that is used, once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry as Change, DeleteMessageBatchRequestEntry as Deletion,
    Message, MessageSystemAttributeName, QueueAttributeName as Name,
};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::time::sleep;

use super::batch::{CONCURRENT_REQUESTS, MAX_ENTRIES, Outgoing, WAITS};
use crate::aws::AwsError;

/// The result of many entries: the positions of those that failed, and why requests failed as a whole.
pub type BatchResult = (HashSet<usize>, Result<(), AwsError>);

/// A queue, by its URL.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

/// The attributes of a queue.
#[derive(Debug, Clone)]
pub struct Attributes {
    /// The queue's ARN.
    pub arn: String,
    /// How long a received message is invisible, unless the request says otherwise.
    pub visibility_timeout: Duration,
    /// How long messages are kept.
    pub retention: Duration,
    /// How many messages there are.
    pub depth: Depth,
    /// Where SQS moves messages that are received too often.
    pub redrive_policy: Option<RedrivePolicy>,
}

/// The approximate numbers of messages in a queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct Depth {
    /// Messages that can be received.
    pub waiting: u64,
    /// Messages in flight, backed off or delayed.
    pub invisible: u64,
    /// How many of the invisible ones are delayed.
    pub delayed: u64,
}

/// The redrive policy of a queue.
#[derive(Debug, Clone)]
pub struct RedrivePolicy {
    /// The ARN of the dead-letter queue.
    pub dead_letter_arn: String,
    /// After how many receives SQS moves a message there, as it was set.
    pub max_receive_count: String,
}

/// The name of a queue, from its ARN.
pub fn name_of(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}

/// Whether a queue is a FIFO queue, from its name, ARN or URL.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queue-message-identifiers.html>.
pub fn is_fifo(queue: &str) -> bool {
    queue.ends_with(".fifo")
}

/// Identifies a delivery of a message.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The message's id.
    pub message_id: String,
    /// The delivery's receipt handle.
    pub handle: String,
}

impl Receipt {
    /// The receipt of a received message.
    pub fn of(message: &Message) -> Self {
        Self {
            message_id: message.message_id().unwrap_or_default().to_owned(),
            handle: message.receipt_handle().unwrap_or_default().to_owned(),
        }
    }
}

impl Queue {
    /// The queue at this URL.
    pub fn new(client: &Client, url: &str) -> Self {
        Self {
            client: client.clone(),
            url: url.to_owned(),
        }
    }

    /// The queue of this name, in the account of the credentials.
    ///
    /// # Errors
    /// There is no such queue, or SQS cannot be reached.
    pub async fn named(client: &Client, name: &str) -> Result<Self, AwsError> {
        Self::find(client, name, None).await
    }

    /// The queue of this ARN.
    ///
    /// # Errors
    /// There is no such queue, or SQS cannot be reached.
    pub async fn of_arn(client: &Client, arn: &str) -> Result<Self, AwsError> {
        let owner = arn.rsplit(':').nth(1);
        Self::find(client, name_of(arn), owner).await
    }

    async fn find(client: &Client, name: &str, owner: Option<&str>) -> Result<Self, AwsError> {
        let request = client.get_queue_url().queue_name(name);
        let request = request.set_queue_owner_aws_account_id(owner.map(str::to_owned));
        let answer = request.send().await;
        let answer = answer.map_err(|error| AwsError::of(&format!("queue {name:?}"), &error))?;
        Ok(Self::new(client, &answer.queue_url.unwrap_or_default()))
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it keeps the order of each message group.
    pub fn is_fifo(&self) -> bool {
        is_fifo(&self.url)
    }

    /// Reads its attributes.
    ///
    /// # Errors
    /// SQS refuses, or cannot be reached.
    pub async fn attributes(&self) -> Result<Attributes, AwsError> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.attribute_names(Name::All).send().await;
        let answer = answer.map_err(|error| self.error(&error))?;
        let attributes = answer.attributes.unwrap_or_default();
        Attributes::of(&attributes).ok_or_else(|| AwsError::Unavailable {
            what: self.what(),
            reason: "its answer lacks the number of messages".to_owned(),
        })
    }

    /// Receives up to `count` messages with all their attributes; ten are the maximum. It waits for the first in
    /// whole seconds, up to 20.
    ///
    /// # Errors
    /// SQS refuses, or cannot be reached.
    pub async fn receive(
        &self,
        count: usize,
        wait: Duration,
        visibility_timeout: Duration,
    ) -> Result<Vec<Message>, AwsError> {
        let wait = Duration::from_secs_f64(wait.as_secs_f64().ceil());
        let usual = self.client.config().timeout_config();
        let attempt = usual.and_then(TimeoutConfig::operation_attempt_timeout);
        let operation = usual.and_then(TimeoutConfig::operation_timeout);
        let mut timeouts = TimeoutConfig::builder();
        timeouts
            .set_operation_attempt_timeout(attempt.map(|timeout| timeout + wait))
            .set_operation_timeout(operation.map(|timeout| timeout + wait));
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(count.min(MAX_ENTRIES) as i32)
            .wait_time_seconds(seconds(wait))
            .visibility_timeout(seconds(visibility_timeout))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .customize()
            .config_override(Builder::new().timeout_config(timeouts.build()));
        let answer = request.send().await.map_err(|error| self.error(&error))?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Sends the messages of one request.
    ///
    /// # Errors
    /// SQS refuses all of them, or cannot be reached.
    pub async fn send(&self, messages: &[Outgoing]) -> Result<SendMessageBatchOutput, AwsError> {
        let entries = messages.iter().map(|message| message.entry.clone());
        let request = self.client.send_message_batch().queue_url(&self.url);
        let request = request.set_entries(Some(entries.collect()));
        request.send().await.map_err(|error| self.error(&error))
    }

    /// Deletes messages by their receipt handles, and says which of them still exist.
    pub async fn delete(&self, handles: &[&str]) -> BatchResult {
        let entry = |(position, handle): (usize, &&str)| {
            let entry = Deletion::builder().id(position.to_string());
            entry.receipt_handle(*handle).build().ok()
        };
        let entries: Vec<_> = handles.iter().enumerate().filter_map(entry).collect();
        let tens = entries.chunks(MAX_ENTRIES);
        all(tens.map(|ten| self.delete_ten(ten.to_vec()))).await
    }

    async fn delete_ten(&self, mut left: Vec<Deletion>) -> BatchResult {
        let positions = |left: &[Deletion]| left.iter().filter_map(|e| position(&e.id)).collect();
        for wait in WAITS {
            let request = self.client.delete_message_batch().queue_url(&self.url);
            let answer = match request.set_entries(Some(left.clone())).send().await {
                Ok(answer) => answer,
                Err(error) => return (positions(&left), Err(self.error(&error))),
            };
            // Only what SQS says is deleted.
            left.retain(|entry| !answer.successful.iter().any(|done| done.id == entry.id));
            match wait {
                Some(wait) if answer.failed.iter().any(|failure| !failure.sender_fault) => {
                    sleep(wait).await;
                }
                _ => break,
            }
        }
        (positions(&left), Ok(()))
    }

    /// Sets for how long deliveries remain invisible from now on, by their receipt handles, and says which of them keep
    /// their timeout.
    pub async fn change_visibility(&self, changes: &[(&str, Duration)]) -> BatchResult {
        let entry = |(position, (handle, timeout)): (usize, &(&str, Duration))| {
            let entry = Change::builder().id(position.to_string());
            let entry = entry.receipt_handle(*handle);
            entry.visibility_timeout(seconds(*timeout)).build().ok()
        };
        let entries: Vec<_> = changes.iter().enumerate().filter_map(entry).collect();
        let tens = entries.chunks(MAX_ENTRIES);
        all(tens.map(|ten| self.change_ten(ten))).await
    }

    async fn change_ten(&self, entries: &[Change]) -> BatchResult {
        let request = self.client.change_message_visibility_batch();
        let request = request.queue_url(&self.url);
        match request.set_entries(Some(entries.to_vec())).send().await {
            Ok(answer) => {
                let is_changed = |entry: &Change| {
                    let mut changed = answer.successful.iter();
                    changed.any(|changed| changed.id == entry.id)
                };
                let failed = entries.iter().filter(|entry| !is_changed(entry));
                (failed.filter_map(|e| position(&e.id)).collect(), Ok(()))
            }
            Err(error) => {
                let failed = entries.iter().filter_map(|entry| position(&entry.id));
                (failed.collect(), Err(self.error(&error)))
            }
        }
    }

    fn error<E: ProvideErrorMetadata>(&self, error: &SdkError<E>) -> AwsError {
        AwsError::of(&self.what(), error)
    }

    fn what(&self) -> String {
        format!("queue {:?}", self.url)
    }
}

impl Attributes {
    /// `None`: SQS did not say how many messages there are, which is not to say that there are none.
    fn of(attributes: &HashMap<Name, String>) -> Option<Self> {
        let text = |name: Name| attributes.get(&name).map_or("", String::as_str);
        let number = |name: Name| text(name).parse::<u64>().ok();
        let seconds = |name: Name| Duration::from_secs(number(name).unwrap_or(0));
        let delayed = number(Name::ApproximateNumberOfMessagesDelayed)?;
        Some(Self {
            arn: text(Name::QueueArn).to_owned(),
            visibility_timeout: seconds(Name::VisibilityTimeout),
            retention: seconds(Name::MessageRetentionPeriod),
            depth: Depth {
                waiting: number(Name::ApproximateNumberOfMessages)?,
                invisible: number(Name::ApproximateNumberOfMessagesNotVisible)? + delayed,
                delayed,
            },
            redrive_policy: RedrivePolicy::parse(text(Name::RedrivePolicy)),
        })
    }
}

impl RedrivePolicy {
    /// After how many receives SQS moves a message, if it is a number.
    pub fn max_receives(&self) -> Option<u64> {
        self.max_receive_count.parse().ok()
    }

    fn parse(text: &str) -> Option<Self> {
        let policy: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            dead_letter_arn: policy.get("deadLetterTargetArn")?.as_str()?.to_owned(),
            max_receive_count: match policy.get("maxReceiveCount")? {
                Value::String(text) => text.clone(),
                number => number.to_string(),
            },
        })
    }
}

async fn all(requests: impl Iterator<Item = impl Future<Output = BatchResult>>) -> BatchResult {
    let requests = stream::iter(requests).buffer_unordered(CONCURRENT_REQUESTS);
    let add = async |(mut failed, result): BatchResult, (more, one): BatchResult| {
        failed.extend(more);
        (failed, result.and(one))
    };
    requests.fold((HashSet::new(), Ok(())), add).await
}

fn position(id: &str) -> Option<usize> {
    id.parse().ok()
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrive_policy_is_read_with_its_count_as_a_number_or_a_string() {
        for count in ["10", "\"10\""] {
            let text = format!(
                r#"{{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:0:dead.fifo", "maxReceiveCount": {count}}}"#
            );
            let policy = RedrivePolicy::parse(&text).unwrap();
            assert_eq!(policy.max_receive_count, "10");
            assert_eq!(name_of(&policy.dead_letter_arn), "dead.fifo");
            assert!(is_fifo(&policy.dead_letter_arn));
        }
        assert!(RedrivePolicy::parse("").is_none());
    }
}
