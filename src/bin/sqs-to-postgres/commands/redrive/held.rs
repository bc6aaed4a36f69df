//! The letters in hand: received, and neither deleted nor given back.
//!
//! SQS would hand them out again and again if they were given back while others are looked for. So
//! they are kept away from everybody until the end, and then given back at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry as Deletion;
use futures_util::{StreamExt as _, stream};
use sqs_to_postgres::request::{MAX_ENTRIES, change_visibility};
use tokio::time::{Instant, sleep};

use super::letter::Letter;
use crate::cli::error::CliError;

/// For how long a letter is received, and so how long it stays away after a crash.
pub(super) const HOLD: Duration = Duration::from_secs(30);

/// How often it is looked which letters have to be kept away for longer.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a letter is deleted that SQS says it had no luck with.
const ATTEMPTS: u32 = 4;

/// Requests under way at once.
const CONCURRENT_REQUESTS: usize = 8;

/// The receipts of letters and since when they are held by them, by their ids.
pub(super) struct Held<'a> {
    sqs: &'a Client,
    url: &'a str,
    receipts: RefCell<HashMap<String, (String, Instant)>>,
}

impl<'a> Held<'a> {
    pub(super) fn new(sqs: &'a Client, url: &'a str) -> Self {
        Self {
            sqs,
            url,
            receipts: RefCell::default(),
        }
    }

    /// Takes a letter, and says whether it is new.
    pub(super) fn take(&self, letter: &Letter) -> bool {
        let receipt = letter.receipt_handle().to_owned();
        let mut receipts = self.receipts.borrow_mut();
        let before = receipts.insert(letter.id().to_owned(), (receipt, Instant::now()));
        before.is_none()
    }

    /// Deletes letters, and gives the ids of those that it could not delete.
    pub(super) async fn delete<'l>(&self, ids: Vec<&'l str>) -> Result<Vec<&'l str>, CliError> {
        let mut left = ids;
        for _ in 0..ATTEMPTS {
            if left.is_empty() {
                break;
            }
            left = self.delete_once(left).await?;
        }
        Ok(left)
    }

    async fn delete_once<'l>(&self, ids: Vec<&'l str>) -> Result<Vec<&'l str>, CliError> {
        let entries = ids.iter().zip(0..).filter_map(|(id, number): (_, usize)| {
            let deletion = Deletion::builder().id(number.to_string());
            deletion.receipt_handle(self.receipt(id)?).build().ok()
        });
        let delete = self.sqs.delete_message_batch().queue_url(self.url);
        let answer = delete.set_entries(Some(entries.collect())).send().await;
        let answer = answer.map_err(|error| self.error(&error))?;
        let (mut failed, mut receipts) = (Vec::new(), self.receipts.borrow_mut());
        for (number, id) in ids.into_iter().enumerate() {
            let number = number.to_string();
            if answer.failed.iter().any(|failure| failure.id == number) {
                failed.push(id);
            } else {
                receipts.remove(id);
            }
        }
        Ok(failed)
    }

    fn receipt(&self, id: &str) -> Option<String> {
        let receipts = self.receipts.borrow();
        receipts.get(id).map(|(receipt, _)| receipt.clone())
    }

    /// Keeps what is held away from others, for as long as this goes on. Where it cannot, letters are
    /// seen again, which [`Held::take`] tells.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            sleep(LOOK_EVERY).await;
            let (now, mut due) = (Instant::now(), Vec::new());
            for (receipt, since) in self.receipts.borrow_mut().values_mut() {
                if now.duration_since(*since) >= HOLD / 3 {
                    due.push(receipt.clone());
                    *since = now;
                }
            }
            _ = self.change_visibility(due, HOLD).await;
        }
    }

    /// Lets everybody see again what is held.
    pub(super) async fn release(&self) -> Result<(), CliError> {
        let receipt = |(receipt, _): &(String, Instant)| receipt.clone();
        let all = self.receipts.borrow().values().map(receipt).collect();
        self.change_visibility(all, Duration::ZERO).await
    }

    async fn change_visibility(&self, of: Vec<String>, to: Duration) -> Result<(), CliError> {
        let requests = of.chunks(MAX_ENTRIES).map(|receipts| async move {
            let changes = receipts.iter().map(|receipt| (receipt.as_str(), to));
            // Of single ones that fail, the time has run out, so that everybody sees them anyway.
            let changed = change_visibility(self.sqs, self.url, changes).await;
            changed.map(|_| ()).map_err(|error| self.error(&error))
        });
        let requests = stream::iter(requests).buffer_unordered(CONCURRENT_REQUESTS);
        requests.fold(Ok(()), async |all, one| all.and(one)).await
    }

    fn error<E: ProvideErrorMetadata>(&self, error: &SdkError<E>) -> CliError {
        CliError::aws(&format!("queue {:?}", self.url), error)
    }
}
