//! Deleting rows, so that its end is known: a transaction whose answer is lost is looked up.

use std::time::Duration;

use sqs_to_postgres::database::{Canceller, Database, DatabaseError, Server};
use sqs_to_postgres::refusal::RetryAction;
use tokio::pin;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::person::People;
use super::rows::{FoundRows, Rows};
use super::session::begin;
use crate::cli::database::{Parameter, connect};
use crate::cli::error::may_pass;
use crate::cli::signals::Stop;

/// A transaction that met another one is tried this often.
const ATTEMPTS: usize = 5;

/// After a request to stop, how long a `COMMIT` may take to answer, and then its transaction to be found.
pub(super) const GRACE: Duration = Duration::from_millis(1_500);

/// Without such a request, how long a transaction is looked for whose answer was lost.
const LOOKUP_TIME: Duration = Duration::from_secs(60);

/// How often to look.
const PAUSE: Duration = Duration::from_millis(200);

/// The reason why rows remain after a request to stop.
pub(super) const INTERRUPTED: &str = "interrupted: run it again";

/// The state of a transaction: committed, aborted or in progress; null if it is too old.
/// Source: <https://www.postgresql.org/docs/18/functions-info.html#FUNCTIONS-PG-SNAPSHOT>.
const STATUS: &str = "SELECT pg_catalog.pg_xact_status($1::pg_catalog.text::pg_catalog.xid8)";

/// By its id, because behind a pooler its server process may serve somebody else by now. One that waits for a standby is
/// committed, and a request to cancel would only end the wait.
const CANCEL: &str = "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity \
    WHERE backend_xid = $1::pg_catalog.text::pg_catalog.xid8::pg_catalog.xid AND wait_event IS DISTINCT FROM 'SyncRep'";

/// How a deletion ended.
pub(super) enum Deletion {
    /// These many rows of each table are deleted.
    Done(Vec<u64>),
    /// No row is deleted, for this reason.
    RolledBack(String),
    /// Perhaps these many rows of each table: Postgres cannot be asked, for this reason.
    Unknown(Vec<u64>, String),
}

/// Why an attempt did not end with a `COMMIT` that succeeded.
enum Failed {
    RolledBack(DatabaseError),
    Interrupted,
    /// The answer to the `COMMIT` was lost. The transaction has an id, if the server has ids.
    Unanswered(Vec<u64>, Option<String>, DatabaseError),
}

impl From<DatabaseError> for Failed {
    fn from(error: DatabaseError) -> Self {
        Self::RolledBack(error)
    }
}

impl Rows<'_> {
    /// Deletes the rows of the people, with their child rows, in one transaction. A request to stop ends it before its
    /// `COMMIT`, or cancels that.
    pub(super) async fn delete(&mut self, stop: &Stop) -> Deletion {
        for attempt in 1.. {
            let error = match self.delete_once(stop).await {
                Ok(deleted) => return Deletion::Done(deleted),
                Err(Failed::Unanswered(deleted, _, error)) => {
                    return Deletion::Unknown(deleted, error.to_string());
                }
                Err(Failed::Interrupted) => break,
                Err(Failed::RolledBack(error)) => error,
            };
            if stop.is_asked() {
                break;
            }
            if attempt == ATTEMPTS || !met_another(&error) {
                return Deletion::RolledBack(error.to_string());
            }
        }
        Deletion::RolledBack(INTERRUPTED.to_owned())
    }

    /// One attempt, after which no transaction is open.
    async fn delete_once(&mut self, stop: &Stop) -> Result<Vec<u64>, Failed> {
        let database = &mut self.database;
        let failed = match transaction(database, &self.tables, self.people, stop).await {
            Ok(deleted) => return Ok(deleted),
            Err(failed) => failed,
        };
        database.abandon(Instant::now() + GRACE).await;
        let Failed::Unanswered(deleted, Some(id), error) = failed else {
            return Err(failed);
        };
        let found = stop.or_given_up(GRACE, is_committed(database, &id));
        match timeout(LOOKUP_TIME, found).await.ok().flatten().flatten() {
            Some(true) => Ok(deleted),
            Some(false) => Err(error.into()),
            None => Err(Failed::Unanswered(deleted, Some(id), error)),
        }
    }
}

/// Deletes the rows of all tables on one connection, and returns how many of each.
async fn transaction(
    database: &mut Database,
    tables: &[FoundRows],
    people: &People,
    stop: &Stop,
) -> Result<Vec<u64>, Failed> {
    connect(database).await?;
    let (canceller, server) = (database.canceller(), database.server());
    let client = begin(database).await?;
    let deleting = async {
        let deleted = delete_from(client, tables, people).await?;
        let id = match server {
            Server::Postgres => Some(id_of(client).await?),
            Server::Dsql => None,
        };
        Ok::<_, DatabaseError>((deleted, id))
    };
    let deleted = stop.or_done(deleting).await;
    let (deleted, id) = deleted.ok_or(Failed::Interrupted)??;
    if stop.is_asked() {
        return Err(Failed::Interrupted);
    }
    match commit(client, canceller, stop).await {
        Ok(()) => Ok(deleted),
        Err(error) if is_of_connection(&error) => Err(Failed::Unanswered(deleted, id, error)),
        Err(error) => Err(error.into()),
    }
}

async fn delete_from(
    client: &Client,
    tables: &[FoundRows],
    people: &People,
) -> Result<Vec<u64>, DatabaseError> {
    let mut counts = Vec::new();
    // A mapping has parents before their children.
    for table in tables.iter().rev() {
        let mut deleted = 0;
        for (sql, at) in table.delete.iter().zip(&table.columns) {
            if let Some((cells, array)) = people.cells(*at) {
                deleted += client.execute_typed(sql, &[(&cells, array)]).await?;
            }
        }
        counts.push(deleted);
    }
    counts.reverse();
    Ok(counts)
}

/// The id of the transaction.
async fn id_of(client: &Client) -> Result<String, DatabaseError> {
    let sql = "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text";
    Ok(client.query_typed_one(sql, &[]).await?.try_get(0)?)
}

/// Commits. After a request to stop the server is asked to cancel, and its answer is still waited for.
async fn commit(
    client: &Client,
    canceller: Option<Canceller>,
    stop: &Stop,
) -> Result<(), DatabaseError> {
    let commit = client.batch_execute("COMMIT");
    pin!(commit);
    if let Some(answer) = stop.or_done(&mut commit).await {
        return Ok(answer?);
    }
    if let Some(canceller) = canceller {
        canceller.cancel(Instant::now() + GRACE).await;
    }
    let answer = timeout(GRACE, commit).await;
    Ok(answer.map_err(|_| DatabaseError::Late)??)
}

/// Whether an error says nothing about the transaction: it is of the connection, or a pooler made it.
fn is_of_connection(error: &DatabaseError) -> bool {
    error.action() == RetryAction::Reconnect
}

/// Whether a transaction was committed, once it is over; one in progress is cancelled. `None` if that is not known.
async fn is_committed(database: &mut Database, transaction: &String) -> Option<bool> {
    loop {
        match status(database, transaction).await {
            Ok(Some(status)) if status == "committed" => return Some(true),
            Ok(Some(status)) if status == "aborted" => return Some(false),
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) if may_pass(&error) => database.disconnect(),
            Err(_) => return None,
        }
        sleep(PAUSE).await;
    }
}

async fn status(
    database: &mut Database,
    transaction: &String,
) -> Result<Option<String>, DatabaseError> {
    let client = connect(database).await?;
    let parameters: [(Parameter, Type); 1] = [(transaction, Type::TEXT)];
    let row = client.query_typed_one(STATUS, &parameters).await?;
    let status: Option<String> = row.try_get(0)?;
    if status.as_deref() == Some("in progress") {
        client.query_typed(CANCEL, &parameters).await?;
    }
    Ok(status)
}

/// Whether another transaction came in between, for example with a new child.
fn met_another(error: &DatabaseError) -> bool {
    const FOREIGN_KEY_VIOLATION: &str = "23503";
    let is_referenced = matches!(error, DatabaseError::Server(refusal) if refusal.sqlstate == FOREIGN_KEY_VIOLATION);
    is_referenced || error.action() == RetryAction::Retry
}
