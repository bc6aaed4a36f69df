//! The messages of a dead-letter queue: each is received once, and remains in flight until the command ends.

use std::time::Duration;

use crate::sqs::in_flight::InFlight;
use sqs_to_postgres::aws::AwsError;
use sqs_to_postgres::sqs::Queue;
use sqs_to_postgres::sqs::dead_letter::DeadLetter;

use crate::cli::error::CliError;

/// How long a receive request waits for a message.
const WAIT: Duration = Duration::from_secs(1);

/// The visibility timeout of a received message, which is extended while the command runs. After a crash it becomes
/// visible this late. SQS would deliver the messages that remain again and again if they were visible while the command
/// looks for others.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

/// After this many receives without a new message there is none: with a very large queue some messages reappear before
/// their visibility timeout can be extended.
const MAX_VAIN_RECEIVES: usize = 5;

pub(crate) fn in_flight(queue: Queue) -> InFlight {
    InFlight::new(queue, VISIBILITY_TIMEOUT)
}

/// Keeps the received messages in flight during some work, and then makes the remaining ones visible again, also after
/// an error.
pub(crate) async fn hold(
    in_flight: &InFlight,
    work: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let result = tokio::select! {
        result = work => result,
        never = in_flight.extend() => match never {},
    };
    let released = in_flight.release_all().await;
    result.and(released.map_err(CliError::from))
}

/// Receives messages that were not received before.
pub(crate) struct NewMessages<'q> {
    in_flight: &'q InFlight,
    vain_receives: usize,
}

impl<'q> NewMessages<'q> {
    pub(crate) fn of(in_flight: &'q InFlight) -> Self {
        Self {
            in_flight,
            vain_receives: 0,
        }
    }

    /// Receives up to ten; `None` if there are no more.
    pub(crate) async fn next(&mut self, count: usize) -> Result<Option<Vec<DeadLetter>>, AwsError> {
        // Never cancelled: the messages that SQS delivered would remain invisible.
        let received = self.in_flight.receive(count, WAIT).await?;
        let is_empty = received.is_empty();
        let mut messages: Vec<_> = received.into_iter().map(DeadLetter::new).collect();
        messages.retain(|message| self.in_flight.add(message.receipt()));
        self.vain_receives = match messages.is_empty() {
            true => self.vain_receives + 1,
            false => 0,
        };
        let is_end = is_empty || self.vain_receives == MAX_VAIN_RECEIVES;
        Ok((!is_end).then_some(messages))
    }
}
