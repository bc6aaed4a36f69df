//! The parameter that carries one column of the chosen rows, in Postgres's binary form of an array.
//! Source: `array_recv` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/arrayfuncs.c>.

use std::fmt;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::pipeline::{Column, Pipeline};
use crate::rows::Rows;
use crate::types::ColumnType;

pub(super) struct ColumnArray<'a> {
    pub(super) rows: &'a Rows,
    pub(super) chosen: &'a [usize],
    pub(super) column: usize,
    pub(super) column_type: ColumnType,
}

impl<'a> ColumnArray<'a> {
    /// One for each column of the mapping.
    pub(super) fn of_columns(
        pipeline: &Pipeline,
        rows: &'a Rows,
        chosen: &'a [usize],
    ) -> Vec<Self> {
        let columns = pipeline.columns.iter().enumerate();
        let array = |(column, mapped): (usize, &Column)| Self {
            rows,
            chosen,
            column,
            column_type: mapped.column_type,
        };
        columns.map(array).collect()
    }
}

/// tokio-postgres prints parameters; this one shows no value.
impl fmt::Debug for ColumnArray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values of {}", self.chosen.len(), self.column_type)
    }
}

impl ToSql for ColumnArray<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        const DIMENSIONS: i32 = 1;
        const MAY_HOLD_NULLS: i32 = 1;
        const LOWER_BOUND: i32 = 1;
        out.put_i32(DIMENSIONS);
        out.put_i32(MAY_HOLD_NULLS);
        out.put_u32(self.column_type.element().oid());
        out.put_i32(i32::try_from(self.chosen.len())?);
        out.put_i32(LOWER_BOUND);
        for &row in self.chosen {
            out.put_slice(self.rows.cell(row, self.column));
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
