//! A transaction in which Postgres hides no row, and logs no value.

use sqs_to_postgres::database::{Database, DatabaseError};
use tokio_postgres::Client;

use crate::cli::database::connect;

/// Begins a transaction. A parent that is replaced with its children in the meantime is refused (40001) rather than
/// deleted without them. Postgres refuses a query of which row security would hide rows. No error quotes a parameter in
/// the server's log, no plan does, and for a superuser no logged statement.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL row_security = off; \
    SET LOCAL log_parameter_max_length_on_error = 0; SET LOCAL plan_cache_mode = force_generic_plan; \
    SELECT pg_catalog.set_config(name, value, true) FROM (VALUES ('log_parameter_max_length', '0'), \
    ('auto_explain.log_min_duration', '-1'), ('pgaudit.log_parameter', 'off')) AS silent(name, value) \
    WHERE pg_catalog.current_setting('is_superuser') = 'on' AND pg_catalog.current_setting(name, true) IS NOT NULL";

/// The settings by which the server would log parameters of statements that succeed, as they have to be instead.
/// Sources: <https://www.postgresql.org/docs/18/runtime-config-logging.html>,
/// <https://www.postgresql.org/docs/18/auto-explain.html>, <https://github.com/pgaudit/pgaudit#settings>.
const LOGS: &str = "SELECT setting FROM (VALUES \
    ('log_parameter_max_length = 0', pg_catalog.current_setting('log_parameter_max_length') <> '0' AND ( \
        pg_catalog.current_setting('log_statement') IN ('mod', 'all') OR pg_catalog.current_setting('log_duration') = 'on' \
        OR pg_catalog.current_setting('log_min_duration_statement') <> '-1' \
        OR pg_catalog.current_setting('log_min_duration_sample') <> '-1' \
        OR pg_catalog.current_setting('log_transaction_sample_rate') <> '0')), \
    ('auto_explain.log_min_duration = -1', \
        pg_catalog.current_setting('auto_explain.log_min_duration', true) NOT IN ('', '-1')), \
    ('pgaudit.log_parameter = off', pg_catalog.current_setting('pgaudit.log_parameter', true) NOT IN ('', 'off')) \
    ) AS logged(setting, is_logged) WHERE is_logged";

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
    let logged = client.query_typed(LOGS, &[]).await?;
    client.batch_execute("COMMIT").await?;
    let settings = logged.iter().map(|row| row.try_get(0));
    Ok(settings.collect::<Result<_, _>>()?)
}
