//! Deletes the rows, and reports what remains.

use sqs_to_postgres::database::{Database, DatabaseError};

use super::dead_letters::SourceQueue;
use super::delete::{Deletion, GRACE, INTERRUPTED};
use super::left::{Accept, Left};
use super::rows::Rows;
use crate::cli::database::connect;
use crate::cli::output::counted;
use crate::cli::signals::Stop;

/// What became of the rows.
pub(super) struct Erased {
    pub(super) left: Vec<Left>,
    /// Statements that remove values from the statistics, and that the role could not run.
    pub(super) analyze: Vec<String>,
}

impl Rows<'_> {
    /// Deletes the rows, if it may, and then looks for messages and rows that arrived during the run.
    pub(super) async fn erase(
        &mut self,
        deletes: bool,
        source: &mut Option<SourceQueue>,
        stop: &Stop,
    ) -> Erased {
        let hindrance = stop.or_done(self.hindrance()).await;
        let deleted = match hindrance.unwrap_or_else(|| Some(INTERRUPTED.to_owned())) {
            Some(why) => Err(rows_left(self.found(), &why)),
            None if deletes => self.delete_all(stop).await.map(|()| true),
            None => Ok(false),
        };
        // Before rows are counted: a message that is gone by then has become one.
        let mut left = left_in(source, stop).await;
        let mut analyze = Vec::new();
        match deleted {
            Ok(true) => {
                left.extend(self.of_the_meantime(stop).await);
                analyze = self.analyze(stop).await;
            }
            Ok(false) => {}
            Err(rows) => left.insert(0, rows),
        }
        Erased { left, analyze }
    }

    /// Why the rows cannot be deleted.
    async fn hindrance(&mut self) -> Option<String> {
        let tables = self.tables.iter().filter(|found| found.rows > 0);
        let grants: Vec<_> = tables
            .filter_map(|found| found.access.grant.clone())
            .collect();
        if !grants.is_empty() {
            return Some(format!("the role lacks DELETE: {}", grants.join(" ")));
        }
        match self.references().await {
            Ok(references) if references.is_empty() => None,
            Ok(references) => Some(references.join("; ")),
            Err(error) => Some(error.to_string()),
        }
    }

    async fn delete_all(&mut self, stop: &Stop) -> Result<(), Left> {
        let (deleted, unknown) = match self.delete(stop).await {
            Deletion::Done(deleted) => (deleted, None),
            Deletion::Unknown(deleted, why) => (deleted, Some(why)),
            Deletion::RolledBack(why) => {
                let rows = self.count_again(stop).await;
                return Err(rows_left(rows.unwrap_or_else(|| self.found()), &why));
            }
        };
        for (table, deleted) in self.tables.iter_mut().zip(deleted) {
            table.deleted = Some(deleted);
        }
        let Some(why) = unknown else { return Ok(()) };
        match self.count_again(stop).await {
            Some(0) => Ok(()),
            rows => {
                self.tables
                    .iter_mut()
                    .for_each(|table| table.deleted = None);
                let why = format!(
                    "possibly deleted: Postgres's answer was lost, and asking again failed: {why}: run it again"
                );
                Err(rows_left(rows.unwrap_or_else(|| self.found()), &why))
            }
        }
    }

    /// The rows that were found.
    fn found(&self) -> u64 {
        self.tables.iter().map(|found| found.rows).sum()
    }

    async fn count_again(&mut self, stop: &Stop) -> Option<u64> {
        let counts = stop.or_given_up(GRACE, self.count()).await;
        Some(counts?.ok()?.iter().sum())
    }

    /// Rows that were stored after the others were deleted.
    async fn of_the_meantime(&mut self, stop: &Stop) -> Vec<Left> {
        let counts = match stop.or_given_up(GRACE, self.count()).await {
            Some(Ok(counts)) => counts,
            Some(Err(error)) => {
                return vec![Left::new(format!(
                    "rows stored during the run could not be counted ({error})"
                ))];
            }
            None => {
                return vec![Left::new(
                    "rows stored during the run could not be counted (interrupted)".to_owned(),
                )];
            }
        };
        let new = self.tables.iter().zip(counts).filter(|(_, rows)| *rows > 0);
        let new = new.map(|(found, rows)| {
            Left::new(format!(
                "{} of {}, stored during the run: run it again",
                counted(rows as usize, "row"),
                found.table
            ))
        });
        new.collect()
    }

    /// Replaces the statistics of the tables, which have the most common values, and returns the statements that remain
    /// to be run: by the owner, or when the table has rows. Postgres keeps the statistics of an empty table.
    async fn analyze(&mut self, stop: &Stop) -> Vec<String> {
        let mut left = Vec::new();
        for found in self.tables.iter().filter(|found| found.deleted > Some(0)) {
            let done = stop
                .or_done(analyze(&mut self.database, &found.table))
                .await;
            if !found.access.may_analyze || !matches!(done, Some(Ok(true))) {
                left.push(format!("ANALYZE {};", found.table));
            }
        }
        left
    }
}

/// Replaces the statistics of a table, and says whether it has rows.
async fn analyze(database: &mut Database, table: &str) -> Result<bool, DatabaseError> {
    let client = connect(database).await?;
    client.batch_execute(&format!("ANALYZE {table}")).await?;
    let sql = format!("SELECT EXISTS (SELECT FROM {table})");
    Ok(client.query_typed_one(&sql, &[]).await?.try_get(0)?)
}

fn rows_left(count: u64, why: &str) -> Left {
    Left::new(format!("{} ({why})", counted(count as usize, "row")))
}

/// Messages of the queue, which may become rows after all.
async fn left_in(source: &mut Option<SourceQueue>, stop: &Stop) -> Vec<Left> {
    let Some(source) = source else {
        let text = "the messages of the queue (it is not named: name it with --queue-url)";
        return vec![Left::unless_accepted(Accept::Queue, text.to_owned())];
    };
    let counted = stop.or_given_up(GRACE, source.count()).await;
    let uncounted = match counted {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(error.to_string()),
        None => Some("interrupted".to_owned()),
    };
    let uncounted = uncounted.map(|why| {
        let text = format!(
            "the messages that queue {} has by now ({why})",
            source.name()
        );
        Left::unless_accepted(Accept::Queue, text)
    });
    source.left().into_iter().chain(uncounted).collect()
}
