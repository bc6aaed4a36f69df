//! Dead letters of several records: each record as a message of its own.
//!
//! A dead letter is deleted once all of its records have arrived. If that does not happen, all of them are sent again,
//! each with the origin that it had before, so it is stored once.

use std::slice;

use mapping::Wrapping;
use mapping::internals::Records;
use sqs_to_postgres::sqs::batch::{Outgoing, packed};
use sqs_to_postgres::sqs::dead_letter::{DeadLetter, Unsendable};

use super::Workers;
use crate::cli::error::CliError;
use crate::cli::event::record;
use crate::cli::settings::MappingFlags;
use crate::sqs::send::GROUP_BLOCKED;

/// Finds the records of dead letters, as a mapping reads them.
pub(super) struct Splitter {
    wrapping: Wrapping,
    queue_arn: String,
}

impl Splitter {
    pub(super) fn new(mapping: &MappingFlags, queue_arn: &str) -> Result<Self, CliError> {
        let (file, pipeline) = mapping.read()?;
        if !pipeline.reads_records() {
            return Err(CliError::invalid(format!(
                "{file}: --split needs each = \"@body\" in every table without a parent, because another table would get a row for each record"
            )));
        }
        if pipeline.jq.is_some() {
            return Err(CliError::invalid(format!(
                "{file}: --split cannot undo its jq, which makes the records: send the dead letters whole"
            )));
        }
        Ok(Self {
            wrapping: pipeline.wrapping,
            queue_arn: queue_arn.to_owned(),
        })
    }

    fn records(&self, message: &DeadLetter) -> Result<Records, Unsendable> {
        let record = record(message.message(), &self.queue_arn);
        let records = record.and_then(|record| Records::of(&record, &self.wrapping));
        records.ok_or(Unsendable::NotRecords)
    }
}

impl Workers<'_> {
    /// Moves each record of these messages on its own, or with `--dry-run` and `--explain` reports it.
    pub(super) async fn process_records(
        &self,
        messages: &[DeadLetter],
        splitter: &Splitter,
    ) -> Result<(), CliError> {
        for message in messages {
            if self.stop.is_asked() {
                break;
            }
            match splitter.records(message) {
                // Alone it is what it would be after a split.
                Ok(records) if records.len() < 2 => {
                    self.pace_records(1).await;
                    self.process_whole(slice::from_ref(message)).await?;
                }
                Ok(_) if self.sender.is_blocked(message.group()) => {
                    self.report.borrow_mut().failed(message, GROUP_BLOCKED)?;
                }
                Ok(records) if self.flags.moves() => self.split(message, &records).await?,
                Ok(records) => self.would_split(message, &records)?,
                Err(reason) => self.not_split(message, reason)?,
            }
        }
        Ok(())
    }

    /// Waits until the rate allows to send so many.
    async fn pace_records(&self, count: usize) {
        let before = self.records_sent.get();
        self.records_sent.set(before + count);
        self.pace(before).await;
    }

    fn not_split(&self, message: &DeadLetter, reason: Unsendable) -> Result<(), CliError> {
        self.sender.block(message.group());
        let mut report = self.report.borrow_mut();
        report.failed(message, &reason.to_string())
    }

    /// Sends the records, and deletes the message if all of them have arrived.
    async fn split(&self, message: &DeadLetter, records: &Records) -> Result<(), CliError> {
        let (mut ids, mut unsendable) = (Vec::with_capacity(records.len()), None);
        let outgoing = self.outgoing_records(message, records);
        let requests = packed(outgoing.map_while(|record| {
            let sendable = record.map_err(|reason| unsendable = Some(reason));
            sendable.ok()
        }));
        for request in requests {
            self.pace_records(request.len()).await;
            if self.stop.is_asked() {
                self.report.borrow_mut().sent_of_unmoved(ids.len());
                return Ok(());
            }
            let (sent, result) = self.sender.send(request).await;
            let mut refused = None;
            for sent in sent {
                match sent.result {
                    Ok(id) => ids.push(id),
                    Err(code) => refused = refused.or(Some(code)),
                }
            }
            if refused.is_some() || result.is_err() {
                let mut report = self.report.borrow_mut();
                report.sent_of_unmoved(ids.len());
                let reported = refused.map(|code| report.failed(message, &code));
                return reported
                    .unwrap_or(Ok(()))
                    .and(result.map_err(CliError::from));
            }
        }
        match unsendable {
            None => self.delete(vec![(message, ids)]).await,
            Some(reason) => {
                self.report.borrow_mut().sent_of_unmoved(ids.len());
                self.not_split(message, reason)
            }
        }
    }

    /// What to send of a message, as it is taken.
    fn outgoing_records(
        &self,
        message: &DeadLetter,
        records: &Records,
    ) -> impl Iterator<Item = Result<Outgoing, Unsendable>> {
        records.bodies().enumerate().map(|(position, body)| {
            let returned = message.returned_record(position, &body, &self.to_arn, &self.origins)?;
            self.report.borrow_mut().note(&returned.notes);
            if self.flags.moves() {
                self.moved.borrow_mut().insert(message.digest_of(&body));
            }
            Ok(returned.message)
        })
    }

    /// Reports the records.
    fn would_split(&self, message: &DeadLetter, records: &Records) -> Result<(), CliError> {
        for record in self.outgoing_records(message, records) {
            let record = match record {
                Ok(record) => record,
                Err(reason) => return self.not_split(message, reason),
            };
            let explainer = self.explainer.as_ref();
            let now = explainer.map(|explainer| explainer.explain(&received(message, &record)));
            let mut report = self.report.borrow_mut();
            report.would_send(message, Some(record.number), now)?;
        }
        self.report.borrow_mut().would_move();
        Ok(())
    }
}

/// A record as its queue will deliver it.
fn received(message: &DeadLetter, record: &Outgoing) -> DeadLetter {
    let mut received = message.message().clone();
    received.body = Some(record.entry.message_body.clone());
    received.message_attributes = record.entry.message_attributes.clone();
    DeadLetter::new(received)
}
