//! Sends requests, and again what SQS had no luck with. On a FIFO queue no message overtakes one of its
//! group.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_sqs::Client;
use sqs_to_postgres::request::{Outgoing, Request};
use tokio::time::sleep;

use crate::cli::error::CliError;

/// How often a message is sent that SQS says it had no luck with itself, and the first wait.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Why a message was not tried.
pub(crate) const HELD_BACK: &str = "an earlier message of its group was not sent";

/// What became of a message.
pub(crate) struct Sent {
    pub(crate) number: usize,
    /// The id that SQS gave it, or why it was not sent: for example the code with which it was refused.
    pub(crate) result: Result<String, String>,
}

/// Sends to one queue.
pub(crate) struct Sender<'a> {
    sqs: &'a Client,
    url: &'a str,
    /// FIFO: the groups of which a message was not sent, so that nothing more of them is.
    failed_groups: RefCell<HashSet<String>>,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(sqs: &'a Client, url: &'a str) -> Self {
        Self {
            sqs,
            url,
            failed_groups: RefCell::default(),
        }
    }

    pub(crate) fn is_fifo(&self) -> bool {
        self.url.ends_with(".fifo")
    }

    /// FIFO: sends nothing more of a group.
    pub(crate) fn hold_back(&self, group: Option<&str>) {
        if let Some(group) = group.filter(|_| self.is_fifo()) {
            self.failed_groups.borrow_mut().insert(group.to_owned());
        }
    }

    /// FIFO: whether nothing more of a group is sent.
    pub(crate) fn holds_back(&self, group: Option<&str>) -> bool {
        group.is_some_and(|group| self.failed_groups.borrow().contains(group))
    }

    /// Sends the messages, and again those that SQS had no luck with. What is sent is given also where an
    /// error ended it: it is in the queue all the same.
    ///
    /// # Errors
    /// SQS takes none of those that are left: the queue does not exist, or is not for us, or SQS is unavailable.
    pub(crate) async fn send(&self, request: Request) -> (Vec<Sent>, Result<(), CliError>) {
        let (mut sent, mut left) = (Vec::new(), request.into_messages());
        let mut result = Ok(());
        while !left.is_empty() && result.is_ok() {
            let round = self.next_round(&mut left, &mut sent);
            result = self.send_round(round, &mut sent).await;
        }
        (sent, result)
    }

    /// Takes out what may be sent together: on a FIFO queue one message of each group, because SQS may
    /// refuse any entry of a request and take the ones behind it.
    fn next_round(&self, left: &mut Vec<Outgoing>, sent: &mut Vec<Sent>) -> Vec<Outgoing> {
        if !self.is_fifo() {
            return std::mem::take(left);
        }
        let (mut round, mut later, mut groups) = (Vec::new(), Vec::new(), HashSet::new());
        for message in left.drain(..) {
            let group = group(&message);
            if self.holds_back(group) {
                sent.push(Sent {
                    number: message.number,
                    result: Err(HELD_BACK.to_owned()),
                });
            } else if groups.insert(group.map(str::to_owned)) {
                round.push(message);
            } else {
                later.push(message);
            }
        }
        *left = later;
        round
    }

    async fn send_round(
        &self,
        mut left: Vec<Outgoing>,
        sent: &mut Vec<Sent>,
    ) -> Result<(), CliError> {
        let mut wait = FIRST_WAIT;
        for attempt in 1..=ATTEMPTS {
            if left.is_empty() {
                break;
            }
            let again = self.send_once(&left, attempt == ATTEMPTS, sent).await?;
            left.retain(|message| again.contains(&message.number));
            if !left.is_empty() {
                sleep(wait).await;
                wait *= 2;
            }
        }
        Ok(())
    }

    /// Sends messages and gives the numbers of those that are worth another try.
    async fn send_once(
        &self,
        messages: &[Outgoing],
        is_last: bool,
        sent: &mut Vec<Sent>,
    ) -> Result<Vec<usize>, CliError> {
        let entries = messages
            .iter()
            .map(|message| message.entry.clone())
            .collect();
        let request = self.sqs.send_message_batch().queue_url(self.url);
        let answer = request.set_entries(Some(entries)).send().await;
        let answer =
            answer.map_err(|error| CliError::aws(&format!("queue {:?}", self.url), &error))?;
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
                let of_failure = messages.iter().find(|message| message.number == number);
                self.hold_back(of_failure.and_then(group));
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
}

fn group(message: &Outgoing) -> Option<&str> {
    message.entry.message_group_id()
}
