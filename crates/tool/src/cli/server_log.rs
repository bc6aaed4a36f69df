//! Settings with which the server writes the parameters of statements, and so values of messages, into its log.

use sqs_to_postgres::database::DatabaseError;
use tokio_postgres::Client;

/// The settings by which the server would log parameters of statements that succeed, each as it must be instead.
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

/// The setting by which the server would log parameters of statements that it refuses.
const LOGS_ON_ERROR: &str = "SELECT 'log_parameter_max_length_on_error = 0' \
    WHERE pg_catalog.current_setting('log_parameter_max_length_on_error') <> '0'";

/// The settings that the role needs so that the server logs no parameter of a statement that succeeds.
pub(crate) async fn settings_that_log(client: &Client) -> Result<Vec<String>, DatabaseError> {
    settings(client, LOGS).await
}

/// The settings that it needs so that the server logs no parameter of a refused statement.
pub(crate) async fn settings_that_log_errors(
    client: &Client,
) -> Result<Vec<String>, DatabaseError> {
    settings(client, LOGS_ON_ERROR).await
}

async fn settings(client: &Client, sql: &str) -> Result<Vec<String>, DatabaseError> {
    let rows = client.query_typed(sql, &[]).await?;
    let settings = rows.iter().map(|row| row.try_get(0));
    Ok(settings.collect::<Result<_, _>>()?)
}
