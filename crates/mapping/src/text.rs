//! Words and names: those of `pipeline.toml`, how SQL writes them, and what a misspelt one probably stands for.

use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use strsim::osa_distance;

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Base64 with or without padding.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);

/// The same in the alphabet for URLs.
pub(crate) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// A value with one name.
pub(crate) trait Word: Clone + PartialEq + 'static {
    /// Every value and its name, in the order in which an error lists them.
    const NAMES: &'static [(&'static str, Self)];

    fn parse(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, word)| word.clone())
    }

    fn name(&self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, word)| word == self);
        found.map_or("", |(name, _)| name)
    }

    fn list() -> String {
        let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

/// Quotes a name so that Postgres reads it verbatim: `a"b` becomes `"a""b"`.
///
/// Source: <https://www.postgresql.org/docs/18/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quoted names with commas between them.
pub fn quote_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
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

/// The known word that differs least from `word`, if it is similar: at most a third of the letters differ,
/// and not all of them, ignoring case.
pub fn similar<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lower = word.to_lowercase();
    let chars = lower.chars().count();
    let allowed = (chars.max(3) / 3).min(chars.saturating_sub(1));
    let distance = |known: &&str| osa_distance(&lower, &known.to_lowercase());
    let nearest = known.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= allowed).then_some(nearest)
}

/// `; did you mean "required"?`, or nothing if no known word is similar.
pub fn did_you_mean<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    let similar = similar(word, known);
    similar.map_or_else(String::new, |known| format!("; did you mean {known:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_suggests_the_one_that_was_meant() {
        let known = ["type", "required", "detail.battery", "lone_surrogate"];
        let meant = |word| similar(word, known);
        assert_eq!(meant("typ"), Some("type"));
        assert_eq!(meant("Requierd"), Some("required"));
        assert_eq!(meant("detail.batery"), Some("detail.battery"));
        assert_eq!(meant("integer"), None);
        assert_eq!(similar("t", ["", "m"]), None);
        assert_eq!(did_you_mean("typ", known), "; did you mean \"type\"?");
        assert_eq!(did_you_mean("", known), "");
    }
}
