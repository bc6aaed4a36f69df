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

/// The column of a table that has this alias.
pub fn qualified(alias: &str, name: &str) -> String {
    format!("{alias}.{}", quote_identifier(name))
}

/// The operator by which Postgres compares values of its own types. A plain `=` would be looked up by the search path,
/// where somebody else may have created one that fits `varchar` better than the operator of `text`.
/// Source: <https://www.postgresql.org/docs/18/typeconv-oper.html>.
pub const EQUALS: &str = "OPERATOR(pg_catalog.=)";

/// The condition that the columns of two tables, each with its alias, have equal values in pairs. `equals` is the
/// operator for a column of the first one.
pub fn all_equal<'a, 'o>(
    (alias, names): (&str, impl Iterator<Item = &'a str>),
    (other_alias, others): (&str, impl Iterator<Item = &'a str>),
    equals: impl Fn(&str) -> &'o str,
) -> String {
    let pairs = names.zip(others);
    let equal = pairs.map(|(name, other)| {
        let (left, right) = (qualified(alias, name), qualified(other_alias, other));
        format!("{left} {} {right}", equals(name))
    });
    equal.collect::<Vec<_>>().join(" AND ")
}

/// A string as an SQL literal, whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}
