//! Whether the server would write values of messages into its log.

use mapping::internals::quote_identifier;
use sqs_to_postgres::database::{Database, DatabaseError, Server};

use super::report::Report;
use crate::cli::database::connect;
use crate::cli::server_log::{settings_that_log, settings_that_log_errors};

/// Aurora DSQL has no such settings.
pub(super) async fn check(database: &mut Database, role: &str, report: &mut Report) {
    if report.server == Server::Dsql {
        return;
    }
    let settings = match settings(database).await {
        Ok(settings) => settings,
        Err(error) => return report.ok("server log", format!("unknown: {error}")),
    };
    let role = quote_identifier(role);
    for setting in settings {
        let text =
            "the server may log the parameters of statements, which contain the values of messages";
        let fix = format!("ALTER ROLE {role} SET {setting};");
        report.warning("server log", text, fix);
    }
}

async fn settings(database: &mut Database) -> Result<Vec<String>, DatabaseError> {
    let client = connect(database).await?;
    let mut settings = settings_that_log(client).await?;
    settings.extend(settings_that_log_errors(client).await?);
    Ok(settings)
}
