//! A transaction in which Postgres hides no row, and logs no value.

use sqs_to_postgres::database::{Database, DatabaseError};
use tokio_postgres::Client;

use crate::cli::database::connect;
use crate::cli::server_log;

/// Begins a transaction. A parent that is replaced with its children meanwhile is refused (40001) rather than deleted
/// without them. Postgres refuses a query if row security would hide rows from it. No error quotes a parameter in the
/// server's log, no plan does, and for a superuser no logged statement.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL row_security = off; \
    SET LOCAL log_parameter_max_length_on_error = 0; SET LOCAL plan_cache_mode = force_generic_plan; \
    SELECT pg_catalog.set_config(name, value, true) FROM (VALUES ('log_parameter_max_length', '0'), \
    ('auto_explain.log_min_duration', '-1'), ('pgaudit.log_parameter', 'off')) AS silent(name, value) \
    WHERE pg_catalog.current_setting('is_superuser') = 'on' AND pg_catalog.current_setting(name, true) IS NOT NULL";

/// Begins such a transaction.
pub(super) async fn begin(database: &mut Database) -> Result<&Client, DatabaseError> {
    let client = connect(database).await?;
    client.batch_execute(BEGIN).await?;
    Ok(client)
}

/// The settings that the role needs so that the server logs no parameter.
pub(super) async fn settings_that_log(
    database: &mut Database,
) -> Result<Vec<String>, DatabaseError> {
    let client = begin(database).await?;
    let settings = server_log::settings_that_log(client).await?;
    client.batch_execute("COMMIT").await?;
    Ok(settings)
}
