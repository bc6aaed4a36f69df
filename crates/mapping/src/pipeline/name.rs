//! The names of tables and columns that Postgres accepts.

use super::Problem;

/// The longest identifier that Postgres keeps, in bytes; it silently truncates longer ones.
/// Source: <https://www.postgresql.org/docs/18/sql-syntax-lexical.html> (NAMEDATALEN − 1).
const MAX_IDENTIFIER_BYTES: usize = 63;

/// The names of columns that every Postgres table has.
/// Source: <https://www.postgresql.org/docs/18/ddl-system-columns.html>.
pub const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Refuses a name that Postgres would not keep as it is.
pub(crate) fn check_identifier(what: &'static str, name: &str) -> Result<(), Problem> {
    let keeps = (1..=MAX_IDENTIFIER_BYTES).contains(&name.len()) && !name.contains('\0');
    if keeps {
        Ok(())
    } else {
        Err(Problem::Identifier {
            what,
            name: name.to_owned(),
        })
    }
}
