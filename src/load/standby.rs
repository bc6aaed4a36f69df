//! What counts as stored where standbys have to confirm it.

use tokio_postgres::Client;

/// Waits for the standbys as a commit does. The message is one of logical replication, the smallest thing that
/// writes to the log of a transaction; where no standby has to confirm, nothing is written.
/// Source: <https://www.postgresql.org/docs/18/functions-admin.html#FUNCTIONS-REPLICATION>.
const CONFIRM: &str = "SELECT pg_logical_emit_message(true, 'sqs-to-postgres', ''::text) \
                       WHERE current_setting('synchronous_standby_names', true) <> ''";

/// Waits until synchronous standbys have what was committed before.
///
/// A statement that finds all its rows in the table writes nothing, so that its commit waits for nobody. The
/// rows may be on no standby yet: Postgres commits locally when a statement that waits for a standby is
/// cancelled, as ours is at the deadline, and then shows its rows to everybody.
/// Source: <https://www.postgresql.org/docs/18/warm-standby.html#SYNCHRONOUS-REPLICATION>.
pub(super) async fn confirm(client: &Client) -> Result<(), tokio_postgres::Error> {
    match client.query_typed(CONFIRM, &[]).await {
        Err(error) if is_unsupported(&error) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Whether the server has no such function, as those that only speak Postgres's protocol, or keeps it from us.
fn is_unsupported(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map_or("", |sqlstate| sqlstate.code());
    code.starts_with("42") || code.starts_with("0A")
}
