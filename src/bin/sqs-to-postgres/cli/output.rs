//! What was asked for, to stdout. A pipe that nobody reads is an error like any other, not a panic;
//! colours are left out where they would not be seen. Text that others wrote goes through [`escaped`] or
//! [`json`], so that it never reaches a terminal as a command.

use std::fmt;
use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::Value;

use crate::cli::Outcome;
use crate::cli::error::CliError;

/// Writes bytes as they are, and is done.
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

/// JSON leaves most of what a terminal obeys as it is, and takes it escaped all the same.
fn escaped_json(value: &Value) -> String {
    let escape = |text: &mut String, character: char| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            _ = write!(text, "\\u{unit:04x}");
        }
    };
    escaped_by(&value.to_string(), escape)
}

/// Text that others wrote, on one line and without anything that a terminal obeys: control characters,
/// line breaks and marks that reverse the direction of writing look as in Rust, `\n` and `\u{1b}`. Pipes get
/// the same as terminals, since many end in one.
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

/// Whether a terminal or a reader may take it for something else than a character to show.
/// Source: <https://www.unicode.org/reports/tr9/#Directional_Formatting_Codes>.
fn is_obeyed(character: char) -> bool {
    let is_line_break = matches!(character, '\u{2028}' | '\u{2029}');
    let is_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || is_line_break || is_direction
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

/// The widest column that a table aligns, in characters. Longer cells push the rest of their row aside.
const MAX_COLUMN_CHARS: usize = 80;

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

/// The cell with blanks up to the width. `{cell:<width$}` panics from a width of 65,536 on.
fn padded(cell: &str, width: usize) -> String {
    let blanks = width.saturating_sub(cell.chars().count());
    format!("{cell}{}", " ".repeat(blanks))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    /// All that may move a cursor, change colours, set a title or reach a clipboard begins with one of them.
    /// Source: <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>.
    #[test]
    fn no_control_character_is_left_and_all_others_are_as_they_were() {
        let hostile: String = (0..=0x2fff).filter_map(char::from_u32).collect();
        let shown = escaped(&hostile);
        assert!(!shown.contains(is_obeyed));
        assert!(shown.contains("\\u{1b}") && shown.contains("\\n") && shown.contains("\\u{9b}"));
        let plain = "é\u{1F600} \"C:\\Users\" ~ 日本";
        assert_eq!(escaped(plain), plain);
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = json!({"\u{9b}": "\u{1b}[2J\u{7f}\n\u{202e}é\u{1F600}\\"});
        let text = escaped_json(&value);
        assert!(!text.contains(is_obeyed), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_long_cell_leaves_the_other_rows_as_they_are() {
        let long = "x".repeat(70_000);
        let mut table = Table::default();
        table.row(["a", "1"].map(str::to_owned));
        table.row([&long, "2"].map(str::to_owned));
        assert_eq!(table.to_string(), format!("  a  1\n  {long}  2\n"));
    }
}
