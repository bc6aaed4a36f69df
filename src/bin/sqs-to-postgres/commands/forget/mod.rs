//! `forget`: deletes the rows and dead letters of people.
//!
//! Values are given to Postgres as parameters, and are in no output: the receipt has digests of them.

mod column;
mod dead_letters;
mod person;
mod receipt;
mod rows;

use std::sync::Arc;

use aws_sdk_sqs::Client;
use clap::Args;

use crate::cli::Outcome;
use crate::cli::error::CliError;
use crate::cli::output::counted;
use crate::cli::settings::{DatabaseFlags, DeadLetterFlags, MappingFlags, MaskFlags, QueueFlags};
use crate::cli::signals::Stop;
use crate::cli::values::Values;
use dead_letters::DeadLetters;
use person::People;
use receipt::Receipt;
use rows::Rows;

const EXAMPLES: &str = "\
Examples:
  read -r id && sqs-to-postgres forget --column user_id --queue-url \"$QUEUE_URL\" <<< \"$id\"
  sqs-to-postgres forget --column masked_ip --yes --json < addresses.txt > receipt.json";

/// Delete the rows and dead letters of people, and print a receipt
///
/// Finds their rows in every table of the mapping that has the column: by the value,
/// and by its token under each mask key. Rows of child tables are deleted with those
/// that they belong to, in one transaction. Of the dead letters those are theirs from
/// which the mapping would make such a row, or that have the value where the column is
/// read from; all others become visible again at the end, with one more delivery.
///
/// Without --yes nothing is deleted, and the receipt says what would be. It has digests
/// of the values, with a key derived from the mask key. Exit code 1: something was left,
/// and the receipt says what. Run it again then; what is deleted already does no harm.
///
/// Values may be tokens: one of aes-siv stands for its value, and a hash for itself.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Forget {
    #[command(flatten)]
    values: Values,
    /// The column that says whose row it is, masked or not
    #[arg(long, value_name = "NAME")]
    column: String,
    /// Delete; without it, nothing is changed
    #[arg(long)]
    pub(crate) yes: bool,
    /// Delete nothing, and print what would be deleted: the default
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Print the receipt as a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    queue: QueueFlags,
    #[command(flatten)]
    dead_letters: DeadLetterFlags,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    mask: MaskFlags,
    #[command(flatten)]
    database: DatabaseFlags,
}

impl Forget {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let stop = Stop::on_signal()?;
        let (file, pipeline) = self.mapping.read()?;
        let aws = Arc::new(self.queue.aws());
        let keys = self.mask.keys(&aws).await?;
        let values = self.values.read()?;
        let people = People::new((&file, pipeline), &self.column, keys.as_ref(), &values)?;
        let database = self.database.database(&aws)?;
        let mut rows = Rows::find(database, &people).await?;
        // First, so that nobody moves one back after its rows are deleted.
        let sqs = Client::new(aws.config().await);
        let mut dead_letters = DeadLetters::of(&sqs, &self.queue, &self.dead_letters).await?;
        if let Some(dead_letters) = &mut dead_letters {
            dead_letters.look_through(&people, self.yes, &stop).await?;
        }
        let mut left = delete(&mut rows, self.yes, &stop).await;
        left.extend(
            dead_letters
                .iter()
                .flat_map(|dead_letters| dead_letters.left(self.yes)),
        );
        let receipt = Receipt {
            deletes: self.yes,
            people: &people,
            keys: keys.as_ref(),
            tables: &rows.tables,
            dead_letters: dead_letters.as_ref(),
            left,
        };
        receipt.write(self.json)
    }
}

/// Deletes the rows, and says what is left of them, and why.
async fn delete(rows: &mut Rows<'_>, deletes: bool, stop: &Stop) -> Vec<String> {
    let tables = &rows.tables;
    let forbidden = tables.iter().filter(|found| found.rows > 0);
    let forbidden = forbidden.filter_map(|found| found.grant.as_ref());
    let forbidden: Vec<_> = forbidden.cloned().collect();
    let count: u64 = tables.iter().map(|found| found.rows).sum();
    let all = |why: &str| vec![format!("{} ({why})", counted(count as usize, "row"))];
    if !forbidden.is_empty() {
        let why = format!("the role lacks DELETE: {}", forbidden.join(" "));
        return all(&why);
    }
    match rows.references().await {
        Ok(references) if references.is_empty() => {}
        Ok(references) => return all(&references.join("; ")),
        Err(error) => return all(&error.to_string()),
    }
    if !deletes {
        return Vec::new();
    }
    match stop.or_done(rows.delete()).await {
        None => return all("interrupted: run it again"),
        Some(Err(error)) => return all(&error.to_string()),
        Some(Ok(())) => {}
    }
    match rows.count().await {
        Err(error) => vec![format!("perhaps rows of the meantime ({error})")],
        Ok(counts) => {
            let new = rows.tables.iter().zip(counts).filter(|(_, rows)| *rows > 0);
            let new = new.map(|(found, rows)| {
                let rows = counted(rows as usize, "row");
                format!(
                    "{rows} of {}, stored in the meantime: run it again",
                    found.table
                )
            });
            new.collect()
        }
    }
}
