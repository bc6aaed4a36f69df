//! What was asked for, to stdout. A pipe that nobody reads is an error like any other, not a panic;
//! colours are left out where they would not be seen.

use std::fmt;
use std::io::Write as _;

use crate::Outcome;
use crate::error::CliError;

/// Writes bytes as they are, and is done.
pub(crate) fn bytes(bytes: &[u8]) -> Result<Outcome, CliError> {
    std::io::stdout().lock().write_all(bytes)?;
    Ok(Outcome::Done)
}

/// Writes a line.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    Ok(writeln!(anstream::stdout().lock(), "{text}")?)
}

/// Writes the last line of a command that changes something. Where nobody reads any more, the exit code
/// says all the same how it went.
pub(crate) fn last_line(text: &str) -> Result<(), CliError> {
    match line(text) {
        Err(error) if error.is_unread() => Ok(()),
        written => written,
    }
}

/// So many of a thing: `1 row`, `2 rows`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Rows of cells, printed as columns two blanks apart.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = vec![0; self.rows.first().map_or(0, Vec::len)];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            let line: String = cells
                .map(|(cell, &width)| format!("  {cell:<width$}"))
                .collect();
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
