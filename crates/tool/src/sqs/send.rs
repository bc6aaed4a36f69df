//! Sends messages, and retries those that SQS fails to process. On a FIFO queue no message overtakes one of its
//! group.

use std::cell::RefCell;
use std::collections::HashSet;

use tokio::time::sleep;

use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::sqs::Queue;
use sqs_to_postgres::sqs::batch::{Outgoing, Request, WAITS};

/// Why a message was not tried.
pub(crate) const GROUP_BLOCKED: &str = "an earlier message of its group was not sent";

/// Why nobody knows whether a message arrived.
const UNMENTIONED: &str = "SQS's answer does not mention it, so it may have arrived";

/// The result of sending a message.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The message's number.
    pub(crate) number: usize,
    /// The id that SQS gave it, or why it was not sent: for example SQS's error code.
    pub(crate) result: Result<String, String>,
}

/// Sends to one queue.
pub(crate) struct Sender {
    queue: Queue,
    /// FIFO: the groups with a message that was not sent.
    blocked_groups: RefCell<HashSet<String>>,
}

impl Sender {
    /// Sends to this queue.
    pub(crate) fn new(queue: Queue) -> Self {
        Self {
            queue,
            blocked_groups: RefCell::default(),
        }
    }

    /// Whether the queue is a FIFO queue.
    pub(crate) fn is_fifo(&self) -> bool {
        self.queue.is_fifo()
    }

    /// FIFO: makes sure that no further message of a group is sent.
    pub(crate) fn block(&self, group: Option<&str>) {
        if let Some(group) = group.filter(|_| self.is_fifo()) {
            self.blocked_groups.borrow_mut().insert(group.to_owned());
        }
    }

    /// FIFO: whether no further message of a group is sent.
    pub(crate) fn is_blocked(&self, group: Option<&str>) -> bool {
        group.is_some_and(|group| self.blocked_groups.borrow().contains(group))
    }

    /// Sends the messages of a request, and retries those that SQS fails to process. What was sent before an error
    /// is in the queue, and so it is part of the result.
    ///
    /// # Errors
    /// SQS accepts none of the other messages: the queue does not exist, a permission is missing, or SQS cannot be
    /// reached.
    pub(crate) async fn send(&self, request: Request) -> (Vec<Sent>, Result<(), AwsError>) {
        let (mut sent, mut left) = (Vec::new(), request.into_messages());
        let mut result = Ok(());
        while !left.is_empty() && result.is_ok() {
            let round = self.next_round(&mut left, &mut sent);
            result = self.send_round(round, &mut sent).await;
        }
        (sent, result)
    }

    /// Takes the messages that can be sent together. On a FIFO queue that is one of each group, because SQS may
    /// refuse any entry of a request and accept later ones.
    fn next_round(&self, left: &mut Vec<Outgoing>, sent: &mut Vec<Sent>) -> Vec<Outgoing> {
        if !self.is_fifo() {
            return std::mem::take(left);
        }
        let (mut round, mut later, mut groups) = (Vec::new(), Vec::new(), HashSet::new());
        for message in left.drain(..) {
            let group = group(&message);
            if self.is_blocked(group) {
                sent.push(Sent {
                    number: message.number,
                    result: Err(GROUP_BLOCKED.to_owned()),
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
    ) -> Result<(), AwsError> {
        for wait in WAITS {
            let retried = self.send_once(&left, wait.is_none(), sent).await?;
            left.retain(|message| retried.contains(&message.number));
            match wait {
                Some(wait) if !left.is_empty() => sleep(wait).await,
                _ => break,
            }
        }
        Ok(())
    }

    /// Sends messages, and returns the numbers of those to retry.
    async fn send_once(
        &self,
        messages: &[Outgoing],
        is_last: bool,
        sent: &mut Vec<Sent>,
    ) -> Result<Vec<usize>, AwsError> {
        let answer = self.queue.send(messages).await?;
        let mut retried = Vec::new();
        for message in messages {
            let number = message.number;
            let id = number.to_string();
            let success = answer.successful.iter().find(|success| success.id == id);
            let failure = answer.failed.iter().find(|failure| failure.id == id);
            let result = match (success, failure) {
                (Some(success), _) => Ok(success.message_id.clone()),
                (None, Some(failure)) if !failure.sender_fault && !is_last => {
                    retried.push(number);
                    continue;
                }
                (None, Some(failure)) => Err(failure.code.clone()),
                (None, None) => Err(UNMENTIONED.to_owned()),
            };
            if result.is_err() {
                self.block(group(message));
            }
            sent.push(Sent { number, result });
        }
        Ok(retried)
    }
}

fn group(message: &Outgoing) -> Option<&str> {
    message.entry.message_group_id()
}
