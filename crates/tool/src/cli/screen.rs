//! The terminal: how wide it is, and text that fits into it.

use clap::builder::styling::{AnsiColor, Effects, Style};
use console::{Term, measure_text_width, truncate_str};

pub(crate) const PLAIN: Style = Style::new();
pub(crate) const BOLD: Style = PLAIN.effects(Effects::BOLD);
pub(crate) const DIM: Style = PLAIN.effects(Effects::DIMMED);
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();

const CUT: &str = "…";

/// The width of the terminal that stdout is; `None` if it is a file or a pipe, for which nothing is shortened.
pub(crate) fn width() -> Option<usize> {
    width_of(&Term::stdout())
}

/// The width of this terminal.
pub(crate) fn width_of(terminal: &Term) -> Option<usize> {
    let is_terminal = terminal.is_term();
    let size = terminal.size_checked().filter(|_| is_terminal);
    size.map(|(_, columns)| usize::from(columns))
        .filter(|columns| *columns > 0)
}

/// How many columns of a terminal a text takes.
pub(crate) fn columns(text: &str) -> usize {
    measure_text_width(text)
}

/// The text, or its beginning if it is wider.
pub(crate) fn cut(text: &str, width: usize) -> String {
    truncate_str(text, width, CUT).into_owned()
}

/// The text, or its end if it is wider.
pub(crate) fn cut_start(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(columns(CUT));
    let fits = |character: &char| {
        let taken = columns(character.encode_utf8(&mut [0; 4]));
        let is_room = taken <= room;
        room = room.saturating_sub(taken);
        is_room
    };
    let mut end: Vec<char> = text.chars().rev().take_while(fits).collect();
    end.reverse();
    format!("{CUT}{}", end.into_iter().collect::<String>())
}

/// A list, separated by commas, in lines of this width; all lines but the first are indented. Without a width on one
/// line.
pub(crate) fn wrapped(text: &str, width: Option<usize>, indent: usize) -> String {
    let (Some(width), Some((first, words))) = (width, text.split_once(", ")) else {
        return text.to_owned();
    };
    let (mut lines, mut taken) = (first.to_owned(), columns(first));
    for word in words.split(", ") {
        let wide = columns(word);
        let is_full = taken + ", ".len() + wide + ",".len() > width;
        lines += if is_full { ",\n" } else { ", " };
        if is_full {
            lines += &" ".repeat(indent);
        }
        taken = wide + if is_full { indent } else { taken + ", ".len() };
        lines += word;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_wide_ends_or_begins_with_an_ellipsis() {
        assert_eq!(cut("address", 7), "address");
        assert_eq!(cut("addresses", 7), "addres…");
        assert_eq!(cut_start("a.b.card.brand", 12), "….card.brand");
        assert_eq!(columns(&cut_start("日本語の列", 6)), 5);
        assert_eq!(cut_start("brand", 5), "brand");
    }

    #[test]
    fn a_list_is_wrapped_between_its_entries_and_no_entry_is_cut() {
        let text = "  null: aaa, bbb, ccc";
        assert_eq!(wrapped(text, Some(17), 4), "  null: aaa, bbb,\n    ccc");
        assert_eq!(wrapped(text, Some(16), 4), "  null: aaa,\n    bbb, ccc");
        assert_eq!(wrapped(text, None, 4), text);
        let long = "x".repeat(40);
        assert_eq!(
            wrapped(&format!("a, {long}, b"), Some(20), 2),
            format!("a,\n  {long},\n  b")
        );
    }
}
