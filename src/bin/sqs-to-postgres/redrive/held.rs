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
use tokio::time::sleep;

use super::letter::Letter;
use crate::error::CliError;

/// For how long a letter is received, and so how long it stays away after a crash.
pub(super) const HOLD: Duration = Duration::from_secs(30);

/// How often a letter is deleted that SQS says it had no luck with.
const ATTEMPTS: u32 = 4;

/// Requests under way at once.
const CONCURRENT_REQUESTS: usize = 8;

/// The receipts of letters, by their ids.
pub(super) struct Held<'a> {
    sqs: &'a Client,
    url: &'a str,
    receipts: RefCell<HashMap<String, String>>,
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
        let receipt = letter.0.receipt_handle().unwrap_or_default().to_owned();
        let mut receipts = self.receipts.borrow_mut();
        receipts.insert(letter.id().to_owned(), receipt).is_none()
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
        self.receipts.borrow().get(id).cloned()
    }

    /// Keeps what is held away from others, for as long as this goes on. Where it cannot, letters are
    /// seen again, which [`Held::take`] tells.
    pub(super) async fn keep(&self) -> Infallible {
        loop {
            sleep(HOLD / 3).await;
            _ = self.change_visibility(HOLD).await;
        }
    }

    /// Lets everybody see again what is held.
    pub(super) async fn release(&self) -> Result<(), CliError> {
        self.change_visibility(Duration::ZERO).await
    }

    async fn change_visibility(&self, to: Duration) -> Result<(), CliError> {
        let receipts: Vec<String> = self.receipts.borrow().values().cloned().collect();
        let requests = receipts.chunks(MAX_ENTRIES).map(|receipts| async move {
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
