//! `null_if` and `on_null`: which values mean that there is none, and what a missing value does to the stored row.

use super::condition::scalar;
use super::{Column, Mistake, OnConflict, Pattern, Problem, Scalar, Source, TableMapping};
use crate::text::Word;

/// What a missing value does to the row that a message updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNull {
    /// The column becomes null.
    Overwrite,
    /// The column keeps its value.
    Keep,
}

impl Word for OnNull {
    const NAMES: &'static [(&'static str, Self)] =
        &[("overwrite", Self::Overwrite), ("keep", Self::Keep)];
}

impl TableMapping {
    /// Positions of the columns that keep their value if a message has none.
    pub fn kept(&self) -> impl Iterator<Item = usize> {
        let columns = self.columns.iter().enumerate();
        let kept = columns.filter(|(_, column)| column.on_null == OnNull::Keep);
        kept.map(|(position, _)| position)
    }
}

/// The values that mean that there is none.
pub(super) fn check_null_if(
    values: Option<Vec<toml::Value>>,
    sources: &[Source],
) -> Result<Vec<Scalar>, Problem> {
    let Some(values) = values else {
        return Ok(Vec::new());
    };
    if values.is_empty() {
        return Err(Problem::NoNullIf);
    }
    let checked = values.into_iter().map(|value| {
        let scalar = scalar(value).ok_or(Problem::NullIfValue)?;
        let pattern = Pattern::Equals(scalar.clone());
        match sources.iter().any(|source| source.can_be(&pattern)) {
            true => Ok(scalar),
            false => Err(Problem::NullIfNoEffect),
        }
    });
    checked.collect()
}

pub(super) fn check_on_null(name: Option<String>) -> Result<OnNull, Problem> {
    let Some(name) = name else {
        return Ok(OnNull::Overwrite);
    };
    OnNull::parse(&name).ok_or(Problem::UnknownOnNull(name))
}

/// Whether each column that keeps its value can do so.
pub(super) fn check(
    columns: &[Column],
    on_conflict: OnConflict,
    is_child: bool,
    newer: Option<usize>,
) -> Result<(), Mistake> {
    for (position, column) in columns.iter().enumerate() {
        let problem = match column.on_null {
            OnNull::Overwrite => continue,
            OnNull::Keep if is_child => Problem::KeepInChild,
            OnNull::Keep if on_conflict != OnConflict::Update => Problem::KeepWithoutUpdate,
            OnNull::Keep if newer == Some(position) => Problem::KeepNewer,
            OnNull::Keep if column.is_never_null() => Problem::KeepNoEffect,
            OnNull::Keep => continue,
        };
        return Err(problem.of(&column.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Pipeline;
    use super::super::tests::refusal;

    const VALID: &str = "table = 't'\nkey = ['k']\non_conflict = 'update'\nnewer = 'v'\n\
        column = [{ name = 'k', type = 'text', required = true }, { name = 'v', type = 'integer' }, \
        { name = 'n', type = 'text', null_if = ['x', 1.5, true], on_null = 'keep' }]";

    #[test]
    fn impossible_words_about_missing_values_are_refused_with_the_fix() {
        Pipeline::parse("p", VALID).unwrap();
        let keep = "on_null = 'keep'";
        for (from, to, expected) in [
            ("['x', 1.5, true]", "[]", "null_if is an empty list"),
            (
                "['x', 1.5, true]",
                "[['x']]",
                "null_if takes strings, numbers and booleans",
            ),
            (
                "['x', 1.5, true]",
                "[2026-11-02]",
                "null_if takes strings, numbers and booleans",
            ),
            (
                "null_if = ['x', 1.5, true]",
                "from = '@group_id', null_if = [1]",
                "a value that its source can never have",
            ),
            (
                "'keep'",
                "'keeps'",
                "on_null \"keeps\" is unknown: use one of overwrite, keep",
            ),
            (
                "on_conflict = 'update'\nnewer = 'v'",
                "",
                "column \"n\": on_null = \"keep\" requires on_conflict",
            ),
            (
                "type = 'integer'",
                "type = 'integer', on_null = 'keep'",
                "no effect on the column of newer",
            ),
            (
                "required = true",
                "required = true, on_null = 'keep'",
                "because the column is never null",
            ),
            (
                keep,
                "on_null = 'keep', default = 'y'",
                "because the column is never null",
            ),
            (
                keep,
                "on_null = 'keep', required = true",
                "because the column is never null",
            ),
        ] {
            let refused = refusal(&VALID.replace(from, to));
            assert!(refused.contains(expected), "{expected}: {refused}");
        }
    }

    #[test]
    fn a_child_table_keeps_no_value() {
        let orders = "[[table]]\nname = 'o'\nkey = ['k']\non_conflict = 'update'\n\
            column = [{ name = 'k', type = 'text', required = true }]\n";
        let lines = "[[table]]\nname = 'l'\nparent = 'o'\neach = 'lines'\nkey = ['k', 'i']\ncolumn = [\
            { name = 'k', type = 'text', from = '^.k', required = true }, { name = 'i', type = 'integer', from = '@index' }, \
            { name = 'n', type = 'text', on_null = 'keep' }]";
        let refused = refusal(&format!("{orders}{lines}"));
        assert!(
            refused.contains("is for tables without a parent"),
            "{refused}"
        );
    }

    /// A source that every message has is missing all the same where it has such a value.
    #[test]
    fn a_column_whose_value_may_mean_missing_may_be_null() {
        let table = |null_if: &str| {
            let column = format!("{{ name = 'b', type = 'text', from = '@body'{null_if} }}");
            VALID.replace("{ name = 'n'", &format!("{column}, {{ name = 'n'"))
        };
        for (null_if, is_never_null) in [("", true), (", null_if = ['']", false)] {
            let pipeline = Pipeline::parse("p", &table(null_if)).unwrap();
            assert_eq!(pipeline.tables[0].columns[2].is_never_null(), is_never_null);
        }
    }
}
