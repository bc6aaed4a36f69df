//! Output to stdout. A closed pipe is an error like any other, not a panic; colours appear only at a terminal.
//! Text from elsewhere goes through [`escaped`] or [`json`], so that a terminal never obeys it.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

use crate::cli::Outcome;
use crate::cli::error::CliError;

/// Writes SQL, as all of the output: unchanged to a program, since a name may have any character; escaped line by line
/// at a terminal.
pub(crate) fn sql(text: &str) -> Result<Outcome, CliError> {
    if !std::io::stdout().is_terminal() {
        return bytes(text.as_bytes());
    }
    let lines = text.lines().map(|line| escaped(line) + "\n");
    bytes(lines.collect::<String>().as_bytes())
}

/// Writes bytes unchanged, as all of the output.
pub(crate) fn bytes(bytes: &[u8]) -> Result<Outcome, CliError> {
    std::io::stdout().lock().write_all(bytes)?;
    Ok(Outcome::Done)
}

/// Writes a line.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    Ok(writeln!(anstream::stdout().lock(), "{text}")?)
}

/// Writes a JSON object as a line.
pub(crate) fn json(value: &Value) -> Result<(), CliError> {
    line(&escaped_json(value))
}

/// Sets a field of a JSON object.
pub(crate) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object {
        fields.insert(field.to_owned(), value.into());
    }
}

/// Escapes control characters that JSON allows unescaped.
fn escaped_json(value: &Value) -> String {
    let escape = |text: &mut String, character: char| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    };
    escaped_by(&value.to_string(), escape)
}

/// Text from elsewhere, on one line and without anything that a terminal obeys: control characters, line breaks
/// and marks that change the direction of text are escaped as in Rust, `\n` and `\u{1b}`. In a pipe, too, since
/// many pipes end at a terminal.
pub(crate) fn escaped(text: &str) -> String {
    escaped_by(text, |text, character| {
        text.extend(character.escape_debug())
    })
}

fn escaped_by(text: &str, escape: impl Fn(&mut String, char)) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) {
            escape(&mut safe, character);
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Whether a character has an effect other than being shown.
/// Source: <https://www.unicode.org/reports/tr9/#Directional_Formatting_Codes>.
fn is_obeyed(character: char) -> bool {
    let is_line_break = matches!(character, '\u{2028}' | '\u{2029}');
    let is_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || is_line_break || is_direction
}

/// Writes the last line of a command that changes something. If nobody reads it, the exit code still says how
/// it went.
pub(crate) fn last_line(text: &str) -> Result<(), CliError> {
    match line(text) {
        Err(error) if error.is_unread() => Ok(()),
        written => written,
    }
}

/// Writes the last line of a command that may print JSON, which belongs to stdout alone.
pub(crate) fn summary(text: &str, is_json: bool) -> Result<(), CliError> {
    if is_json {
        eprintln!("{text}");
        return Ok(());
    }
    last_line(text)
}

/// The texts, separated by commas.
pub(crate) fn listed<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut list = String::new();
    for text in texts {
        if !list.is_empty() {
            list += ", ";
        }
        list += text.as_ref();
    }
    list
}

/// A number and a noun: `1 row`, `2 rows`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Maximum width of an aligned column, in characters. Longer cells push the rest of their row to the right.
const MAX_COLUMN_CHARS: usize = 80;

/// Rows of cells, printed as aligned columns.
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
                let chars = cell.chars().count();
                if chars <= MAX_COLUMN_CHARS {
                    *width = chars.max(*width);
                }
            }
        }
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            let line: String = cells
                .map(|(cell, width)| format!("  {}", padded(cell, *width)))
                .collect();
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Pads a cell with spaces. `{cell:<width$}` panics from a width of 65,536 on.
fn padded(cell: &str, width: usize) -> String {
    let blanks = width.saturating_sub(cell.chars().count());
    format!("{cell}{}", " ".repeat(blanks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_does_not_change_the_other_rows() {
        let long = "x".repeat(70_000);
        let mut table = Table::default();
        table.row(["a", "1"].map(str::to_owned));
        table.row([&long, "2"].map(str::to_owned));
        assert_eq!(table.to_string(), format!("  a  1\n  {long}  2\n"));
    }
}
