//! Values as a column stores them, to find rows by them.

use mapping::{Column, Compiled, KeyRing, Message, Path, Pipeline, Record, Rule, Source, Wrapping};
use serde::Deserialize as _;
use serde_json::json;

use crate::cli::error::CliError;

/// For each mask key a mapping of one column, so that a value is treated exactly like one of a message.
pub(crate) struct CompiledColumn(Vec<Compiled>);

impl CompiledColumn {
    /// For values that are given.
    pub(crate) fn new(
        file: &str,
        column: &Column,
        keys: Option<&KeyRing>,
    ) -> Result<Self, CliError> {
        let source = Source::Path(Path(vec!["value".to_owned()]));
        Self::at(file, column, source, keys)
    }

    /// For the values of messages at this source.
    pub(crate) fn at(
        file: &str,
        column: &Column,
        source: Source,
        keys: Option<&KeyRing>,
    ) -> Result<Self, CliError> {
        let alone = Pipeline::of_column(Column {
            source,
            required: true,
            default: None,
            fallbacks: Vec::new(),
            ..column.clone()
        });
        let rings = keys.map(|keys| keys.one_by_one().map(Some).collect());
        let rings: Vec<Option<KeyRing>> = rings.unwrap_or_else(|| vec![None]);
        let compiled = rings
            .iter()
            .map(|keys| Compiled::new(file, &alone, keys.as_ref()));
        Ok(Self(compiled.collect::<Result<_, _>>()?))
    }

    /// The different cells of a value, the cell of the current key first.
    pub(crate) fn cells(&self, value: &str) -> Result<Vec<Vec<u8>>, Rule> {
        let body = json!({"value": value}).to_string();
        let record = json!({"messageId": "", "body": body});
        let record = Record::deserialize(record).map_err(|_| Rule::Internal)?;
        self.cells_of(&Message::extract(&record, &Wrapping::default())?)
    }

    /// The different cells of the value in a message, the cell of the current key first.
    pub(crate) fn cells_of(&self, message: &Message<'_>) -> Result<Vec<Vec<u8>>, Rule> {
        let mut cells = Vec::new();
        for compiled in &self.0 {
            let rows = compiled
                .rows_of(message)
                .map_err(|rejection| rejection.rule)?;
            let table = rows.tables().first();
            let cell = table.and_then(|table| table.rows.value(0, 0));
            let cell = cell.unwrap_or_default().to_vec();
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        Ok(cells)
    }
}
