//! What becomes of a message, as a JSON object.

use mapping::{Column, OnNull, Rejection, Scalar, TableMapping, TimeSpelling};
use serde_json::{Value, json};

use crate::cli::output;

use super::{Explained, Explainer, Row, is_newer};

impl Explainer {
    pub(super) fn json(&self, place: &str, explained: &Explained) -> Value {
        let mut json = self.json_rows(place, &explained.rows);
        if !explained.why.is_empty() {
            output::set(&mut json, "why", explained.why.clone());
        }
        json
    }

    fn json_rows(&self, place: &str, rows: &Result<Vec<Row>, Rejection>) -> Value {
        match rows {
            Ok(rows) => match (&rows[..], self.pipeline.tables.len()) {
                ([row], 1) => {
                    let mut json = json!({"message": place, "outcome": "row", "columns": self.json_cells(row)});
                    if row.is_deleted {
                        output::set(&mut json, "deleted", true);
                    }
                    self.mark_tombstone(row, &mut json);
                    json
                }
                _ => {
                    let rows = rows.iter().map(|row| {
                        let table = self.mapping(row).table.unquoted();
                        let mut json = json!({"table": table, "deleted": row.is_deleted, "columns": self.json_cells(row)});
                        self.mark_tombstone(row, &mut json);
                        json
                    });
                    json!({"message": place, "outcome": "rows", "rows": rows.collect::<Vec<_>>()})
                }
            },
            Err(rejection) => {
                let place_of = rejection.place.as_ref();
                json!({
                    "message": place, "outcome": "rejected", "rule": rejection.rule.name(), "reason": rejection.to_string(),
                    "table": place_of.map(|place| &place.table), "column": place_of.map(|place| &place.column), "path": place_of.map(|place| &place.path),
                })
            }
        }
    }

    fn mark_tombstone(&self, row: &Row, json: &mut Value) {
        if row.is_deleted && self.mapping(row).keeps_tombstones() {
            output::set(json, "tombstone", true);
        }
    }

    fn json_cells(&self, row: &Row) -> Vec<Value> {
        let mapping = self.mapping(row);
        let columns = mapping.columns.iter().zip(&row.cells);
        columns
            .map(|(column, cell)| self.json_cell(mapping, column, cell.text.as_deref()))
            .collect()
    }

    fn json_cell(&self, mapping: &TableMapping, column: &Column, cell: Option<&str>) -> Value {
        let transforms: Vec<String> = column.transforms.iter().map(ToString::to_string).collect();
        let mut json = json!({
            "column": column.name, "type": column.type_text(), "from": column.source.to_string(),
            "transform": transforms, "mask": column.mask.map(|mask| mask.to_string()), "is_null": cell.is_none(),
            "clear": column.clear, "newer": is_newer(mapping, column),
        });
        for (word, value) in column.spelling.iter().flat_map(TimeSpelling::words) {
            output::set(&mut json, word, value);
        }
        if !column.null_if.is_empty() {
            let values = column.null_if.iter().map(Scalar::json);
            let values = values.filter_map(|json| serde_json::from_str::<Value>(&json).ok());
            output::set(&mut json, "null_if", values.collect::<Vec<_>>());
        }
        if column.on_null == OnNull::Keep {
            output::set(&mut json, "on_null", "keep");
        }
        match column.mask {
            Some(_) if self.has_key => output::set(&mut json, "token", cell),
            None if self.shows_values => output::set(&mut json, "value", cell),
            _ => {}
        }
        json
    }
}
