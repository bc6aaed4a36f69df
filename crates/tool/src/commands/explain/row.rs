//! A row as text: of each column the name, the value, and dimmed its type and where the value comes from.

use super::describe;
use crate::cli::output::{escaped, listed};
use crate::cli::screen::{DIM, columns, cut, cut_start, wrapped};
use mapping::{Column, TableMapping};

/// Before a line and between its columns.
const GAP: &str = "  ";

/// Wider values do not move what is beside the others.
const MAX_VALUE: usize = 80;

/// The text of a row is at least this wide, however deep it is indented.
const MIN_WIDTH: usize = 40;

#[derive(Default)]
pub(super) struct RowText {
    lines: Vec<Line>,
    nulls: Vec<String>,
    /// Null, so that stored values are kept.
    kept: Vec<String>,
}

struct Line {
    name: String,
    value: String,
    column_type: String,
    source: String,
}

impl RowText {
    pub(super) fn value(&mut self, mapping: &TableMapping, column: &Column, value: String) {
        self.lines.push(Line {
            name: escaped(&column.name),
            value,
            column_type: column.type_text(),
            source: escaped(&describe(mapping, column)),
        });
    }

    pub(super) fn null(&mut self, column: &Column) {
        self.nulls.push(escaped(&column.name));
    }

    /// A null that keeps a stored value.
    pub(super) fn kept(&mut self, column: &Column) {
        self.kept.push(escaped(&column.name));
    }

    /// In lines of this width; unlimited if it is not known.
    pub(super) fn text(&self, width: Option<usize>) -> String {
        let width = width.map(|width| width.max(MIN_WIDTH));
        let widths = Widths::of(&self.lines, width);
        let lines = self.lines.iter().map(|line| widths.line(line));
        let mut lines: Vec<String> = lines.collect();
        let nulls = [
            ("null", &self.nulls),
            ("null, keeps a stored value", &self.kept),
        ];
        for (what, names) in nulls.into_iter().filter(|(_, names)| !names.is_empty()) {
            let text = format!("{GAP}{what}: {}", listed(names));
            lines.push(wrapped(&text, width, 2 * GAP.len()));
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// How wide names and values are, and what remains for the rest of a line.
struct Widths {
    name: usize,
    value: usize,
    rest: Option<usize>,
}

impl Widths {
    fn of(lines: &[Line], width: Option<usize>) -> Self {
        let widest = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or(0);
        let name = widest(|line| columns(&line.name));
        let values = lines.iter().map(|line| columns(&line.value));
        let Some(width) = width else {
            let value = values.filter(|value| *value <= MAX_VALUE).max();
            let (value, rest) = (value.unwrap_or(0), None);
            return Self { name, value, rest };
        };
        let name = name.min(width / 3);
        let room = width.saturating_sub(name + 3 * GAP.len());
        let rest = widest(|line| columns(&line.column_type) + 1 + columns(&line.source));
        let most = (room / 2).max(room.saturating_sub(rest));
        let value = values.max().unwrap_or(0).min(most);
        let rest = Some(room.saturating_sub(value));
        Self { name, value, rest }
    }

    fn line(&self, line: &Line) -> String {
        let (name, value, rest) = match self.rest {
            None => {
                let rest = format!("{} {}", line.column_type, line.source);
                (line.name.clone(), line.value.clone(), rest)
            }
            Some(width) => {
                let value = cut(&line.value, self.value);
                (cut(&line.name, self.name), value, shortened(line, width))
            }
        };
        let (name, value) = (padded(&name, self.name), padded(&value, self.value));
        format!("{GAP}{name}{GAP}{value}{GAP}{DIM}{rest}{DIM:#}")
    }
}

/// Type and source: of a long path the end, which says the most.
fn shortened(line: &Line, width: usize) -> String {
    let (column_type, source) = (&line.column_type, &line.source);
    let path = source.strip_prefix("from ").unwrap_or(source);
    let room = width.checked_sub(columns(column_type) + " from ".len());
    match room.filter(|room| *room >= columns(path).min(8)) {
        Some(room) => format!("{column_type} from {}", cut_start(path, room)),
        None => cut(column_type, width),
    }
}

/// `{text:<width$}` counts characters, and panics from a width of 65,536 on.
fn padded(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(blanks))
}
