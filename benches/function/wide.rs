//! Messages of many fields, each a column: a message, a row.

use uuid::Uuid;

use crate::rows::Row;

/// Of the table.
pub(crate) const COLUMNS: usize = 60;

/// The columns but for the key have these in turn.
const TYPES: [&str; 6] = [
    "text",
    "integer",
    "bigint",
    "boolean",
    "double precision",
    "timestamptz",
];

/// 2026-01-01, in seconds since 2000-01-01, where Postgres's calendar starts.
const DAY_SECS: i64 = 9_497 * 86_400;

pub(crate) fn mapping() -> String {
    let columns = (1..COLUMNS).zip(TYPES.iter().cycle());
    let columns = columns.map(|(number, column_type)| {
        format!("[[column]]\nname = \"column_{number}\"\ntype = \"{column_type}\"\n")
    });
    let key = "[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n";
    let columns = columns.collect::<String>();
    format!("table = \"wide\"\nkey = [\"id\"]\n{key}{columns}")
}

/// The body of the message with this id, and its row.
pub(crate) fn message(id: Uuid) -> (String, Vec<Vec<Row>>) {
    let mut fields = Vec::new();
    let mut row = vec![id.as_bytes().to_vec()];
    for (number, column_type) in (1..COLUMNS).zip(TYPES.iter().cycle()) {
        let (json, cell) = value(column_type);
        fields.push(format!("\"column_{number}\":{json}"));
        row.push(cell);
    }
    (format!("{{{}}}", fields.join(",")), vec![vec![row]])
}

/// As JSON, and in Postgres's binary format.
fn value(column_type: &str) -> (String, Vec<u8>) {
    match column_type {
        "text" => {
            let text = format!("value {:05}", fastrand::u16(..));
            (format!("\"{text}\""), text.into_bytes())
        }
        "integer" => {
            let number = fastrand::i32(..);
            (number.to_string(), number.to_be_bytes().to_vec())
        }
        "bigint" => {
            let number = fastrand::i64(..);
            (number.to_string(), number.to_be_bytes().to_vec())
        }
        "boolean" => {
            let is_true = fastrand::bool();
            (is_true.to_string(), vec![u8::from(is_true)])
        }
        "double precision" => {
            let number = f64::from(fastrand::i16(..)) + 0.5;
            (number.to_string(), number.to_be_bytes().to_vec())
        }
        "timestamptz" => {
            let [hour, minute, second] = [24, 60, 60].map(|below| fastrand::i64(0..below));
            let micros = (DAY_SECS + hour * 3_600 + minute * 60 + second) * 1_000_000;
            (
                format!("\"2026-01-01T{hour:02}:{minute:02}:{second:02}Z\""),
                micros.to_be_bytes().to_vec(),
            )
        }
        other => unreachable!("{other} is missing here"),
    }
}
