//! By which statements the rows of a table came.

use serde_json::Value;

use crate::{Database, Function};

/// After a batch with a duplicate this many are taken for such.
pub const SKIPPED: usize = 8;

pub const SAFE: &str = "INSERT ON CONFLICT";

/// The table of logins, which records the statements that wrote its rows.
pub async fn noting_database() -> Database {
    let database = Database::with_user_logins().await;
    note(&database, "user_logins").await;
    database
}

pub async fn note(database: &Database, table: &str) {
    let sql = "CREATE TABLE noted (at bigserial, how text); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
             EXECUTE format('INSERT INTO %I.noted (how) VALUES ($1)', TG_TABLE_SCHEMA) \
             USING concat_ws(' ', split_part(current_query(), ' ', 1), substring(current_query() FROM 'ON CONFLICT')); \
             RETURN NULL; END $$;";
    database
        .execute(&format!(
            "{sql} CREATE TRIGGER note AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION note()"
        ))
        .await;
}

/// The kind of each statement that stored rows.
pub async fn noted(database: &Database) -> Vec<String> {
    database
        .rows("SELECT how FROM noted ORDER BY at")
        .await
        .concat()
}

/// What the summary of a batch says: rows that were stored, duplicates, failures.
pub fn counted(function: &Function, batch: usize) -> [Value; 3] {
    let summary = &function.lines("batch")[batch];
    ["stored", "duplicates", "failed"].map(|name| summary[name].clone())
}
