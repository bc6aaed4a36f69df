//! Sends requests, and again what SQS had no luck with.

use std::time::Duration;

use aws_sdk_sqs::Client;
use sqs_to_postgres::request::{Outgoing, Request};
use tokio::time::sleep;

use crate::error::CliError;

/// How often a message is sent that SQS says it had no luck with itself, and the first wait.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// What became of a message.
pub(crate) struct Sent {
    pub(crate) number: usize,
    /// The id that SQS gave it, or the code with which it was refused.
    pub(crate) result: Result<String, String>,
}

/// Sends the messages, and again those that SQS had no luck with. What is sent is given also where an
/// error ended it: it is in the queue all the same.
///
/// # Errors
/// SQS takes none of those that are left: the queue is not there, or not for us, or SQS is away.
pub(crate) async fn send(
    request: Request,
    sqs: &Client,
    url: &str,
) -> (Vec<Sent>, Result<(), CliError>) {
    let mut sent = Vec::new();
    let result = send_all(request.into_messages(), sqs, url, &mut sent).await;
    (sent, result)
}

async fn send_all(
    mut left: Vec<Outgoing>,
    sqs: &Client,
    url: &str,
    sent: &mut Vec<Sent>,
) -> Result<(), CliError> {
    let mut wait = FIRST_WAIT;
    for attempt in 1..=ATTEMPTS {
        let again = send_once(sqs, url, &left, attempt == ATTEMPTS, sent).await?;
        left.retain(|message| again.contains(&message.number));
        if left.is_empty() {
            break;
        }
        sleep(wait).await;
        wait *= 2;
    }
    Ok(())
}

/// Sends messages and gives the numbers of those that are worth another try.
async fn send_once(
    sqs: &Client,
    url: &str,
    messages: &[Outgoing],
    is_last: bool,
    sent: &mut Vec<Sent>,
) -> Result<Vec<usize>, CliError> {
    let entries = messages
        .iter()
        .map(|message| message.entry.clone())
        .collect();
    let request = sqs
        .send_message_batch()
        .queue_url(url)
        .set_entries(Some(entries));
    let answer = request.send().await;
    let answer = answer.map_err(|error| CliError::aws(&format!("queue {url:?}"), &error))?;
    let number = |id: &str| id.parse().unwrap_or_default();
    for success in answer.successful {
        let result = Ok(success.message_id);
        sent.push(Sent {
            number: number(&success.id),
            result,
        });
    }
    let mut again = Vec::new();
    for failure in answer.failed {
        let number = number(&failure.id);
        if failure.sender_fault || is_last {
            sent.push(Sent {
                number,
                result: Err(failure.code),
            });
        } else {
            again.push(number);
        }
    }
    Ok(again)
}
