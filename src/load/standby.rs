//! Synchronous replication: rows count as stored once the standbys have confirmed them.

use tokio_postgres::Client;

/// Waits for the standbys as a commit does: a logical message is the smallest write to the WAL. Without synchronous
/// standbys nothing is written.
/// Source: <https://www.postgresql.org/docs/18/functions-admin.html#FUNCTIONS-REPLICATION>.
const CONFIRM: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'sqs-to-postgres', ''::pg_catalog.text) \
                       WHERE pg_catalog.current_setting('synchronous_standby_names', true) <> ''";

/// Waits until synchronous standbys have what was committed before.
///
/// A statement that finds all its rows in the table writes nothing, so its commit does not wait. But the rows may not
/// have reached a standby: when a statement that waits for one is cancelled, as ours is at the deadline, Postgres
/// commits locally and makes the rows visible.
/// Source: <https://www.postgresql.org/docs/18/warm-standby.html#SYNCHRONOUS-REPLICATION>.
pub(super) async fn confirm(client: &Client) -> Result<(), tokio_postgres::Error> {
    match client.query_typed(CONFIRM, &[]).await {
        Err(error) if is_unsupported(&error) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Whether the server lacks the function, as servers do that only speak Postgres's protocol, or does not permit it.
fn is_unsupported(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map_or("", |sqlstate| sqlstate.code());
    code.starts_with("42") || code.starts_with("0A")
}
