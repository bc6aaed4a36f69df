//! Rows in Postgres's binary format.

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

/// Source: <https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-BINARY-FORMAT>.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// One cell for each column.
pub(crate) type Row = Vec<Vec<u8>>;

pub(crate) fn copy_data<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Bytes {
    let mut out = BytesMut::from(COPY_HEADER);
    for row in rows {
        out.put_i16(row.len() as i16);
        row.iter().for_each(|cell| put_cell(&mut out, cell));
    }
    out.put_i16(-1);
    out.freeze()
}

fn put_cell(out: &mut BytesMut, cell: &[u8]) {
    out.put_i32(cell.len() as i32);
    out.put_slice(cell);
}

/// A column of rows, as the array that a statement has as a parameter.
#[derive(Debug)]
pub(crate) struct Array(Bytes);

impl Array {
    /// Source: `array_recv` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/arrayfuncs.c>.
    pub(crate) fn of_column<'a>(
        rows: impl Iterator<Item = &'a Row> + Clone,
        column: usize,
        array: &Type,
    ) -> Self {
        const DIMENSIONS: i32 = 1;
        const HOLDS_NO_NULLS: i32 = 0;
        const LOWER_BOUND: i32 = 1;
        let Kind::Array(element) = array.kind() else {
            panic!("{array} is not an array");
        };
        let mut out = BytesMut::new();
        out.put_i32(DIMENSIONS);
        out.put_i32(HOLDS_NO_NULLS);
        out.put_u32(element.oid());
        out.put_i32(rows.clone().count() as i32);
        out.put_i32(LOWER_BOUND);
        rows.for_each(|row| put_cell(&mut out, &row[column]));
        Self(out.freeze())
    }
}

impl ToSql for Array {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
