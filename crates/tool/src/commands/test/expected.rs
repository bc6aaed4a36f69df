//! Tables as psql prints them: the format of expected rows.

use std::collections::HashMap;
use std::fmt;

/// A table with its title, or the messages without rows.
pub(super) struct Section {
    pub(super) title: String,
    /// The names of the columns and the rows, each with its cells separated by `|`.
    pub(super) lines: Vec<String>,
}

impl Section {
    /// A section of these rows, the first of which has the names of the columns. `right` has the positions of columns
    /// that are aligned to the right.
    pub(super) fn of(title: &str, rows: &[Vec<String>], right: &[usize]) -> Self {
        let columns = rows.first().map_or(0, Vec::len);
        let mut widths = vec![0; columns];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        let mut lines = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, &width))| {
                let blanks = width.saturating_sub(cell.chars().count());
                let before = match (number, right.contains(&column)) {
                    (0, _) => blanks / 2,
                    (_, true) => blanks,
                    (_, false) => 0,
                };
                format!(
                    " {}{cell}{} ",
                    " ".repeat(before),
                    " ".repeat(blanks - before)
                )
            });
            let line = cells.collect::<Vec<_>>().join("|");
            lines.push(line.trim_end().to_owned());
            if number == 0 {
                lines.push(rule.join("+"));
            }
        }
        Self {
            title: title.to_owned(),
            lines,
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// The sections of a file.
pub(super) fn read(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut is_title = true;
    for line in text.lines() {
        if line.is_empty() {
            is_title = true;
        } else if is_title {
            sections.push(Section {
                title: line.to_owned(),
                lines: Vec::new(),
            });
            is_title = false;
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line.to_owned());
        }
    }
    sections
}

/// The lines that one side has and the other has not, as often as they occur: the width of columns and the order of rows
/// do not count.
pub(super) fn differences(expected: &[String], now: &[String]) -> Vec<String> {
    let lines = |lines: &[String]| -> Vec<String> {
        let rows = lines.iter().filter(|line| !line.starts_with("--"));
        rows.map(|line| cells(line)).collect()
    };
    let (mut expected, mut now) = (lines(expected), lines(now));
    // The names of the columns of a section that only one side has are no difference of their own.
    match (expected.is_empty(), now.is_empty()) {
        (true, false) => _ = now.remove(0),
        (false, true) => _ = expected.remove(0),
        (true, true) | (false, false) => {}
    }
    let mut surplus: HashMap<&str, isize> = HashMap::new();
    for line in &expected {
        *surplus.entry(line).or_default() += 1;
    }
    for line in &now {
        *surplus.entry(line).or_default() -= 1;
    }
    let mut differences = Vec::new();
    for (sign, lines, step) in [('-', &expected, 1), ('+', &now, -1)] {
        for line in lines {
            let left = surplus.entry(line).or_default();
            if *left * step > 0 {
                *left -= step;
                differences.push(format!("{sign} {line}"));
            }
        }
    }
    differences
}

/// The cells of a line without the blanks that align them.
fn cells(line: &str) -> String {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    cells.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_differ_by_their_cells_and_their_number_and_not_by_width_or_order() {
        let texts = |lines: &[&str]| -> Vec<String> {
            lines.iter().map(|line| (*line).to_owned()).collect()
        };
        let expected = texts(&[" id | v", "----+---", "  1 | a", "  2 | b", "  2 | b"]);
        let wider = texts(&[
            "  id   | v",
            "-------+---",
            "     2 | b",
            "     1 | a",
            "     2 | b",
        ]);
        assert!(differences(&expected, &wider).is_empty());
        let other = texts(&[" id | v", "----+---", "  1 | a", "  2 | b", "  3 | c"]);
        assert_eq!(differences(&expected, &other), ["- 2 | b", "+ 3 | c"]);
        assert_eq!(differences(&expected, &[]).len(), 3);
    }
}
