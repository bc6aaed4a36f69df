//! Names and strings as SQL writes them.

/// Quotes a name so that Postgres reads it verbatim: `a"b` becomes `"a""b"`.
///
/// Source: <https://www.postgresql.org/docs/18/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) fn quote_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(quote_identifier)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A string as an SQL literal, whatever `standard_conforming_strings` is.
pub(crate) fn quote_literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}
