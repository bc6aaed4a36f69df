//! `remask`: tokens of older mask keys → tokens of the current one, in place.
//!
//! Nothing but tokens travels between the tool and Postgres: they are decrypted and encrypted here. Nothing is stored
//! about progress either: a token names its key, so the next run finds the rest.

mod report;
mod table;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use mapping::internals::{AesSivKeys, MaskFailed, Rekeyed};
use mapping::{Compiled, KeyError, Mask};
use sqs_to_postgres::aws::Aws;
use sqs_to_postgres::backoff::{backoff, retry};
use sqs_to_postgres::database::{Database, DatabaseError};
use sqs_to_postgres::refusal::RetryAction;
use thiserror::Error;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::cli::Outcome;
use crate::cli::database::{Parameter, connect};
use crate::cli::error::{CliError, may_pass};
use crate::cli::output::escaped;
use crate::cli::progress::Progress;
use crate::cli::settings::{DatabaseFlags, MappingFlags, MaskFlags};
use crate::cli::signals::Stop;
use report::{FoundCounts, TableReport, TokenState};
use table::Target;

/// Rows of a page, all of which one statement may lock.
const PAGE_ROWS: usize = 1_000;

/// How long a statement is retried that fails for a reason that may pass, such as a lost connection.
const RETRY_TIME: Duration = Duration::from_secs(60);

/// How often rows that somebody else has locked or changed are tried again.
const MAX_TRIES: u32 = 7;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres remask --dry-run
  sqs-to-postgres remask --rate 2000";

/// Re-encrypt the aes-siv tokens of the tables with the current mask key
///
/// Replaces the tokens of older keys of the mask secret in place, page by page in the
/// order of the key, while functions store rows. Only tokens pass between the tool and
/// the database, never keys or values. Rows that others change meanwhile are not
/// overwritten. If it ends early, for whatever reason, run it again: it goes on where it
/// ended. Ctrl-C and SIGTERM end it after the page in progress.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Remask {
    /// Change nothing, and count the tokens of each key
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Maximum rows to change per second
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Print one JSON object per table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    mask: MaskFlags,
    #[command(flatten)]
    database: DatabaseFlags,
}

#[derive(Debug, Error)]
enum RemaskError {
    #[error("a token could not be encrypted: this is a bug, please report it")]
    Cipher,
    #[error(
        "the role lacks SELECT or UPDATE on {0}: GRANT SELECT, UPDATE ON {0} to it, or connect as another role"
    )]
    Denied(String),
}

impl Remask {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let stop = Stop::on_signal()?;
        let Some(opened) = stop.or_done(self.open()).await else {
            eprintln!("interrupted before the first row");
            return Ok(Outcome::SomeFailed);
        };
        let (targets, mut worker) = opened?;
        let mut is_incomplete = false;
        for target in &targets {
            note_hashes(target);
            let mut report = TableReport::new(&target.table);
            let began = Instant::now();
            worker.has_lost_answer = false;
            let worked = worker.table(target, &stop, &mut report).await;
            report.is_minimum = worker.has_lost_answer;
            report.took = began.elapsed();
            report.show(self.json, self.dry_run)?;
            worked?;
            is_incomplete |= report.is_incomplete();
        }
        worker.database.close().await;
        Ok(Outcome::done_if(!is_incomplete))
    }

    async fn open(&self) -> Result<(Vec<Target>, Worker), CliError> {
        let (file, pipeline) = self.mapping.read()?;
        let aws = Arc::new(Aws::default());
        let ring = self.mask.keys(&aws).await?;
        let ring = ring.ok_or_else(|| CliError::invalid(KeyError::Missing(Mask::AesSiv)))?;
        let found = Target::of_mapping(&pipeline).map_err(CliError::invalid)?;
        // Columns that are too narrow for the current key's tokens are found before anything is changed.
        Compiled::new(&file, &pipeline, Some(&ring))?;
        let mut database = self.database.database(&aws)?;
        let client = connect(&mut database).await?;
        let mut targets = Vec::with_capacity(found.len());
        for (mut target, mapping) in found {
            target.read_key(client, mapping).await?;
            targets.push(target);
        }
        let worker = Worker {
            keys: AesSivKeys::new(&ring).map_err(CliError::invalid)?,
            id: ring.id().to_owned(),
            page_rows: self
                .rate
                .map_or(PAGE_ROWS, |rate| PAGE_ROWS.min(rate as usize)),
            rate: self.rate,
            is_dry_run: self.dry_run,
            has_lost_answer: false,
            database,
        };
        Ok((targets, worker))
    }
}

/// Whether a key can leave the secret depends on tokens that cannot be re-encrypted, too.
fn note_hashes(target: &Target) {
    if !target.hashes.is_empty() {
        let columns = escaped(&format!("{} of {}", target.hashes.join(", "), target.table));
        eprintln!(
            "note: {columns} cannot be re-encrypted (hmac-sha256), so @mask_key_id is not changed: once a key is removed from the mask secret, its rows can no longer be found by value"
        );
    }
}

struct Worker {
    keys: AesSivKeys,
    /// The id of the current key.
    id: String,
    page_rows: usize,
    /// Maximum rows to change per second.
    rate: Option<u32>,
    is_dry_run: bool,
    /// Whether a connection was lost, perhaps with the number of rows that it had changed.
    has_lost_answer: bool,
    database: Database,
}

/// A row as it was read, and what replaces its changed columns. `None` is a null.
struct Change {
    key: Vec<String>,
    old: Vec<Option<String>>,
    new: Vec<Option<String>>,
}

/// Rows that follow each other in the order of the key.
#[derive(Default)]
struct Page {
    rows: usize,
    last_key: Option<Vec<String>>,
    changes: Vec<Change>,
    found: FoundCounts,
}

impl Worker {
    /// Works through a table until its end, or until a stop is requested.
    async fn table(
        &mut self,
        target: &Target,
        stop: &Stop,
        report: &mut TableReport,
    ) -> Result<(), CliError> {
        let mut progress = Progress::new(None, "rows");
        let mut after = None;
        let mut next_at = Instant::now();
        while stop.or_done(sleep_until(next_at)).await.is_some() {
            next_at = Instant::now();
            let before = report.changed;
            let page = self.page(target, after.as_deref(), stop, report).await?;
            report.rows += page.rows;
            report.add(page.found);
            progress.advance(page.rows);
            if let Some(rate) = self.rate {
                let changed = (report.changed - before) as f64;
                next_at += Duration::from_secs_f64(changed / f64::from(rate));
            }
            report.is_partial = page.rows == self.page_rows;
            if !report.is_partial {
                break;
            }
            after = page.last_key;
        }
        progress.end();
        Ok(())
    }

    /// Reads a page and replaces its tokens. Rows that others have locked or changed in between are read again.
    async fn page(
        &mut self,
        target: &Target,
        after: Option<&[String]>,
        stop: &Stop,
        report: &mut TableReport,
    ) -> Result<Page, CliError> {
        let mut tries = 0;
        loop {
            let page = self.read(target, after, stop).await?;
            let wanted = page.changes.len();
            let changed = match wanted {
                0 => 0,
                _ if self.is_dry_run => wanted,
                _ => self.update(target, &page.changes, stop).await?,
            };
            report.changed += changed;
            if changed >= wanted || tries == MAX_TRIES || stop.is_asked() {
                report.locked += wanted.saturating_sub(changed);
                return Ok(page);
            }
            sleep(backoff(tries)).await;
            tries += 1;
        }
    }

    async fn read(
        &mut self,
        target: &Target,
        after: Option<&[String]>,
        stop: &Stop,
    ) -> Result<Page, CliError> {
        let sql = target.page(after.is_none(), self.page_rows);
        let parameters = after.unwrap_or_default().iter();
        let parameters: Vec<_> = parameters
            .map(|key| (key as Parameter, Type::TEXT))
            .collect();
        let rows = self.query(target, &sql, &parameters, stop).await?;
        let mut page = Page::default();
        for row in rows {
            let cells = (0..row.len()).map(|column| row.try_get(column));
            let cells: Vec<Option<String>> = cells
                .collect::<Result<_, _>>()
                .map_err(DatabaseError::from)?;
            self.read_row(target, cells, &mut page)?;
        }
        Ok(page)
    }

    /// Decides what a row becomes. It gets the id of the current key only if every token of the row has that key.
    fn read_row(
        &self,
        target: &Target,
        mut cells: Vec<Option<String>>,
        page: &mut Page,
    ) -> Result<(), CliError> {
        let old = cells.split_off(target.key.len().min(cells.len()));
        let key: Vec<String> = cells.into_iter().flatten().collect();
        let mut new = old.clone();
        let mut is_current = true;
        for (column, cell) in target.tokens.iter().zip(&mut new) {
            let Some(text) = cell else { continue };
            let mut tokens = match column.is_array {
                true => elements_of(text),
                false => vec![Some(text.clone())],
            };
            let mut is_changed = false;
            for token in tokens.iter_mut().flatten() {
                let (found, replacement) = self.classify(token, column.max_chars)?;
                is_current &= !found.is_problem();
                *page.found.entry((column.name.clone(), found)).or_default() += 1;
                if let Some(replacement) = replacement {
                    *token = replacement;
                    is_changed = true;
                }
            }
            if is_changed {
                *text = match column.is_array {
                    true => array_of(&tokens),
                    false => tokens.into_iter().flatten().collect(),
                };
            }
        }
        if let Some(id) = new.get_mut(target.tokens.len()).filter(|_| is_current) {
            *id = Some(self.id.clone());
        }
        page.rows += 1;
        page.last_key = Some(key.clone());
        if new != old {
            page.changes.push(Change { key, old, new });
        }
        Ok(())
    }

    /// What a value is, and what replaces it.
    fn classify(
        &self,
        token: &str,
        max_chars: Option<usize>,
    ) -> Result<(TokenState, Option<String>), CliError> {
        let id = AesSivKeys::id_of(token).unwrap_or_default().to_owned();
        let rekeyed = self.keys.rekey(token);
        let rekeyed = rekeyed.map_err(|MaskFailed| CliError::invalid(RemaskError::Cipher))?;
        Ok(match rekeyed {
            Rekeyed::Current => (TokenState::Token(id), None),
            Rekeyed::Token(new) if max_chars.is_some_and(|max| new.len() > max) => {
                (TokenState::TooLong, None)
            }
            Rekeyed::Token(new) => (TokenState::Token(id), Some(new)),
            Rekeyed::UnknownKey => (TokenState::UnknownKey(id), None),
            Rekeyed::NotOurs => (TokenState::NotOurs, None),
        })
    }

    /// Makes the changes whose rows are still as they were read and not locked, and returns how many.
    async fn update(
        &mut self,
        target: &Target,
        changes: &[Change],
        stop: &Stop,
    ) -> Result<usize, CliError> {
        let keys = (0..target.key.len()).map(|at| column(changes, |change| change.key.get(at)));
        let keys: Vec<_> = keys.collect();
        let width = changes.first().map_or(0, |change| change.old.len());
        let cells = (0..width).flat_map(|at| {
            let old = column(changes, |change| change.old.get(at)?.as_ref());
            [old, column(changes, |change| change.new.get(at)?.as_ref())]
        });
        let arrays: Vec<_> = keys.into_iter().chain(cells).collect();
        let parameters = arrays.iter();
        let parameters = parameters.map(|array| (array as Parameter, Type::TEXT_ARRAY));
        let parameters: Vec<_> = parameters.collect();
        let sql = target.update();
        let updated = self.query(target, &sql, &parameters, stop).await?;
        Ok(updated.len())
    }

    /// Runs a statement until it succeeds, or fails for a reason that does not pass. After a request to stop it is not
    /// tried again.
    async fn query(
        &mut self,
        target: &Target,
        sql: &str,
        parameters: &[(Parameter<'_>, Type)],
        stop: &Stop,
    ) -> Result<Vec<Row>, CliError> {
        let attempt = async || {
            let queried = self.try_query(sql, parameters).await;
            if matches!(&queried, Err(error) if error.action() == RetryAction::Reconnect) {
                self.database.disconnect();
                self.has_lost_answer = true;
            }
            queried
        };
        let is_tried_again = |error: &DatabaseError| may_pass(error) && !stop.is_asked();
        let queried = retry(Instant::now() + RETRY_TIME, is_tried_again, attempt).await;
        queried.map_err(|error| match error {
            error if error.is_missing_privilege() => {
                CliError::invalid(RemaskError::Denied(target.table.clone()))
            }
            error => error.into(),
        })
    }

    async fn try_query(
        &mut self,
        sql: &str,
        parameters: &[(Parameter<'_>, Type)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let client = connect(&mut self.database).await?;
        Ok(client.query_typed(sql, parameters).await?)
    }
}

/// The elements of an array that was read as JSON; an array of arrays, which no mapping stores, is one value.
fn elements_of(json: &str) -> Vec<Option<String>> {
    serde_json::from_str(json).unwrap_or_else(|_| vec![Some(json.to_owned())])
}

/// An array as Postgres reads it.
/// Source: <https://www.postgresql.org/docs/18/arrays.html#ARRAYS-IO>.
fn array_of(elements: &[Option<String>]) -> String {
    let elements = elements.iter().map(|element| match element {
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        None => "NULL".to_owned(),
    });
    format!("{{{}}}", elements.collect::<Vec<_>>().join(","))
}

/// One cell of every change, for an array.
fn column<'a>(
    changes: &'a [Change],
    cell: impl Fn(&'a Change) -> Option<&'a String>,
) -> Vec<Option<&'a str>> {
    changes
        .iter()
        .map(|change| cell(change).map(String::as_str))
        .collect()
}
