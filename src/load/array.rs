//! The parameter that carries one column of the selected rows, in Postgres's binary form of an array.
//! `unnest` opens arrays of arrays to the last element, so values that are arrays themselves go as text.

use std::fmt;

use bytes::{BufMut, BytesMut};
use thiserror::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use mapping::internals::{put_array_head, put_null, put_value, readable};
use mapping::{ColumnType, Rows, TableMapping};

pub(super) struct ColumnArray<'a> {
    pub(super) rows: &'a Rows,
    pub(super) selected: &'a [usize],
    pub(super) column: usize,
    pub(super) column_type: ColumnType,
}

impl<'a> ColumnArray<'a> {
    /// One for each of the columns.
    pub(super) fn of_columns(
        mapping: &TableMapping,
        columns: impl IntoIterator<Item = usize>,
        rows: &'a Rows,
        selected: &'a [usize],
    ) -> impl Iterator<Item = Self> {
        let columns = columns.into_iter();
        columns.filter_map(move |column| {
            let column_type = mapping.columns.get(column)?.column_type;
            Some(Self {
                rows,
                selected,
                column,
                column_type,
            })
        })
    }
}

/// tokio-postgres prints parameters; this one shows no value.
impl fmt::Debug for ColumnArray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values of {}", self.selected.len(), self.column_type)
    }
}

/// The value has no text form.
#[derive(Debug, Error)]
#[error("a value of {0} has no text form")]
struct NoText(ColumnType);

impl ColumnArray<'_> {
    /// Writes a value as the text that Postgres prints of it, from which the statement casts it back.
    fn put_text(&self, row: usize, out: &mut BytesMut) -> Result<(), NoText> {
        let Some(value) = self.rows.value(row, self.column) else {
            put_null(out);
            return Ok(());
        };
        let text = readable(self.column_type, value).ok_or(NoText(self.column_type))?;
        put_value(out, |out| {
            out.put_slice(text.as_bytes());
            Ok(())
        })
    }
}

impl ToSql for ColumnArray<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        if let ColumnType::Array(_) = self.column_type {
            put_array_head(out, &Type::TEXT, self.selected.len());
            for &row in self.selected {
                self.put_text(row, out)?;
            }
            return Ok(IsNull::No);
        }
        put_array_head(out, &self.column_type.element(), self.selected.len());
        for &row in self.selected {
            out.put_slice(self.rows.cell(row, self.column));
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
