//! `forget`: deletes the rows and dead letters of people.
//!
//! Values are given to Postgres as parameters, and are in no output: the receipt has digests of them.

mod column;
mod dead_letters;
mod delete;
mod erase;
mod escapes;
mod left;
mod person;
mod place;
mod receipt;
mod rows;
mod session;
mod tokens;

use std::sync::Arc;

use aws_sdk_sqs::Client;
use clap::Args;
use clap_complete::ArgValueCandidates;

use crate::cli::Outcome;
use crate::cli::complete::columns;
use crate::cli::error::CliError;
use crate::cli::settings::{DatabaseFlags, DeadLetterFlags, MappingFlags, MaskFlags, QueueFlags};
use crate::cli::signals::Stop;
use crate::cli::values::Values;
use dead_letters::queues;
use left::{Accept, Left};
use person::People;
use place::Place;
use receipt::Receipt;
use rows::Rows;

const EXAMPLES: &str = "\
Examples:
  read -r id && sqs-to-postgres forget --column user_id --queue-url \"$QUEUE_URL\" <<< \"$id\"
  sqs-to-postgres forget --column masked_ip --yes --json < addresses.txt > receipt.json";

/// Delete the rows and dead letters of people, and print a receipt
///
/// Finds their rows in every table of the mapping that has the column: by the value, and by
/// its tokens under every mask and each mask key. Rows of child tables are deleted with the
/// rows that they belong to, in one transaction. A dead letter belongs to a person if the
/// mapping would produce such a row from it, or if the value is where the column is read
/// from. All other dead letters become visible again at the end, with one more delivery.
///
/// Without --yes nothing is deleted, and the receipt says what would be. It has digests of
/// the values, with a key derived from the mask key. Exit code 1: something remains, or
/// cannot be excluded, as listed in the receipt. Fix it, or accept it by name with
/// --accept, and run the command again, which is safe.
///
/// Values may be tokens: an aes-siv token stands for its value, and a hash for itself.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub(crate) struct Forget {
    #[command(flatten)]
    values: Values,
    /// The column that says whose row it is, masked or not
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(columns))]
    column: String,
    /// Delete; without it, nothing is changed
    #[arg(long)]
    pub(crate) yes: bool,
    /// Delete nothing, and print what would be deleted: the default
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// What may remain, separated by commas; the receipt lists it as accepted
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    accept: Vec<Accept>,
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
        let sqs = Client::new(aws.config().await);
        let opened = async {
            let database = self.database.database(&aws)?;
            let mut rows = Rows::find(database, &people).await?;
            let place = Place::of(&mut rows.database).await?;
            let mut left = rows.of_unknown_keys(keys.as_ref()).await?;
            left.extend(rows.below_tombstones().await?);
            let queues = queues(&sqs, &self.queue, &self.dead_letters).await?;
            Ok::<_, CliError>((rows, place, left, queues))
        };
        let Some(opened) = stop.or_done(opened).await else {
            eprintln!("interrupted before anything was deleted");
            return Ok(Outcome::SomeFailed);
        };
        let (mut rows, place, mut left, (mut source, mut dead_letters)) = opened?;
        // First, so that nobody moves one back after its rows are deleted.
        if let Some(dead_letters) = &mut dead_letters {
            let searched = dead_letters.look_through(&people, self.yes, &stop).await;
            let failed = searched
                .err()
                .map(|error| Left::new(format!("dead letters that were not searched ({error})")));
            left.extend(failed.into_iter().chain(dead_letters.left(self.yes)));
        }
        let erased = rows.erase(self.yes, &mut source, &stop).await;
        left.extend(erased.left);
        let receipt = Receipt {
            deletes: self.yes,
            people: &people,
            keys: keys.as_ref(),
            place: &place,
            tables: &rows.tables,
            analyze: &erased.analyze,
            source: source.as_ref(),
            dead_letters: dead_letters.as_ref(),
            left,
            accepts: &self.accept,
        };
        receipt.write(self.json)
    }
}
