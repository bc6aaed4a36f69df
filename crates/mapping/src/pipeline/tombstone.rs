//! `deleted`: a deleted row remains as a tombstone, which says how new its deletion is.
//!
//! A tombstone has the key of the row, the column of `newer`, and the time of the deletion. That is when the message
//! that deletes was sent, not when it was stored: however often and in whatever order messages are delivered, the row
//! is the same.

use super::column::MAX_COLUMNS;
use super::name::{SYSTEM_COLUMNS, check_identifier};
use super::{Column, Mistake, OnNull, Problem, Source, TableMapping};
use crate::message::Metadata;
use crate::types::ColumnType;

impl TableMapping {
    /// Whether a row that is deleted remains, as a tombstone.
    pub fn keeps_tombstones(&self) -> bool {
        self.tombstone.is_some()
    }

    /// The column with the time of the deletion, null in rows that are not tombstones.
    pub fn tombstone_column(&self) -> Option<&Column> {
        self.columns.get(self.tombstone?)
    }

    /// Whether no row, nor a tombstone, can hold a null in one of the columns.
    pub fn is_never_null(&self, column: &Column) -> bool {
        column.is_never_null() && (!self.keeps_tombstones() || self.identifies(column))
    }

    /// Whether a row is deleted by this column, or a tombstone keeps it: it is in the key, says which row is newer, or
    /// with which key the tokens of the key were made.
    pub(crate) fn identifies(&self, column: &Column) -> bool {
        let identifying = self.identifying();
        let mut identifying = identifying
            .into_iter()
            .filter_map(|at| self.columns.get(at));
        let is_key_id = self.keeps_tombstones() && column.reads(&Metadata::MaskKeyId);
        is_key_id || identifying.any(|other| other.name == column.name)
    }
}

/// Adds the column of this name, and returns its position.
pub(super) fn check(
    name: Option<String>,
    deletes: bool,
    newer: Option<usize>,
    columns: &mut Vec<Column>,
) -> Result<Option<usize>, Mistake> {
    let Some(name) = name else { return Ok(None) };
    if !deletes {
        return Err(Problem::TombstoneWithoutDelete.into());
    }
    if newer.is_none() {
        return Err(Problem::TombstoneWithoutNewer.into());
    }
    check_identifier("column", &name)?;
    if SYSTEM_COLUMNS.contains(&name.as_str()) {
        return Err(Problem::SystemTombstone(name).into());
    }
    if columns.iter().any(|column| column.name == name) {
        return Err(Problem::MappedTombstone.of(&name));
    }
    if columns.len() == MAX_COLUMNS {
        return Err(Problem::TooManyColumns(MAX_COLUMNS).into());
    }
    columns.push(time_of_deletion(name));
    Ok(Some(columns.len() - 1))
}

fn time_of_deletion(name: String) -> Column {
    Column {
        name,
        column_type: ColumnType::TimestampTz,
        cast: None,
        source: Source::Metadata(Metadata::SentAt),
        fallbacks: Vec::new(),
        null_if: Vec::new(),
        on_null: OnNull::Overwrite,
        required: false,
        default: None,
        transforms: Vec::new(),
        spelling: None,
        mask: None,
        clear: false,
        except: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pipeline;
    use super::super::tests::refusal;

    const VALID: &str = "[[table]]\nname = 't'\nkey = ['k']\non_conflict = 'update'\nnewer = 'v'\n\
        delete_when = { op = 'd' }\ndeleted = 'deleted_at'\ncolumn = [{ name = 'k', type = 'text', required = true }, \
        { name = 'v', type = 'integer', required = true }, { name = 'n', type = 'text', required = true }]";

    #[test]
    fn an_impossible_tombstone_is_refused_with_the_fix() {
        Pipeline::parse("p", VALID).unwrap();
        for (from, to, expected) in [
            (
                "delete_when = { op = 'd' }\n",
                "",
                "deleted requires delete_when",
            ),
            ("newer = 'v'\n", "", "deleted requires newer"),
            (
                "'deleted_at'",
                "'n'",
                "column \"n\": deleted names it, but it is mapped",
            ),
            (
                "'deleted_at'",
                "'xmin'",
                "a column that Postgres has in every table",
            ),
            (
                "'deleted_at'",
                "''",
                "column \"\" is not a valid Postgres name",
            ),
        ] {
            let refused = refusal(&VALID.replace(from, to));
            assert!(refused.contains(expected), "{expected}: {refused}");
        }
    }

    #[test]
    fn what_a_tombstone_lacks_may_be_null() {
        let pipeline = Pipeline::parse("p", VALID).unwrap();
        let table = &pipeline.tables[0];
        let never_null = table
            .columns
            .iter()
            .map(|column| table.is_never_null(column));
        assert_eq!(never_null.collect::<Vec<_>>(), [true, true, false, false]);
        let without = VALID.replace("deleted = 'deleted_at'\n", "");
        let pipeline = Pipeline::parse("p", &without).unwrap();
        let table = &pipeline.tables[0];
        assert!(
            table
                .columns
                .iter()
                .all(|column| table.is_never_null(column))
        );
    }
}
