//! Regular expressions, in place of those of jaq: each match costs what it takes in memory, a group without a match is
//! null as in jq, and the groups of a match may be in any order.

use jaq_core::box_iter::box_once;
use jaq_core::native::{self, Fun};
use jaq_core::{Cv, Error, Exn, Native};
use jaq_json::Val;
use jaq_std::ValT as _;
use regex_bites::bytes::{Captures, Regex, RegexBuilder};

use super::Metered;
use super::cost::paid;

/// What a group of a match costs, as an object of four fields.
const GROUP: u64 = 512;

/// How much memory compiled expressions take at most, in bytes, and how many states they then have at most: of 32 bytes.
const SIZES: [(usize, &str); 7] = [
    (512, "16"),
    (2 << 10, "64"),
    (8 << 10, "256"),
    (32 << 10, "1024"),
    (128 << 10, "4096"),
    (512 << 10, "16384"),
    (2 << 20, "65536"),
];

/// The names of the functions that these replace.
pub(super) const REPLACED: [&str; 3] = ["matches", "split_matches", "split_"];

/// What is wanted of a text.
#[derive(Clone, Copy, PartialEq)]
enum Parts {
    Matches,
    Between,
    Both,
}

pub(super) fn natives() -> impl Iterator<Item = Fun<Metered>> {
    let matches: Native<Metered> = Native::new(|cv| box_once(parts(cv, Parts::Matches)));
    let both: Native<Metered> = Native::new(|cv| box_once(parts(cv, Parts::Both)));
    let between: Native<Metered> = Native::new(|cv| box_once(parts(cv, Parts::Between)));
    let natives = [matches, both, between];
    REPLACED
        .into_iter()
        .zip(natives)
        .map(|(name, native)| (name, native::v(2), native))
}

/// An array of the matches, of the texts between them, or of both in turn.
fn parts<'a>((mut context, value): Cv<'a, Metered>, wanted: Parts) -> Result<Val, Exn<'a, Val>> {
    let flags = context.pop_var();
    let expression = context.pop_var();
    let flags = match &flags {
        Val::Null => "",
        flags => text_of(flags)?,
    };
    let regex = builder(text_of(&expression)?, flags)?.build();
    let regex = regex.map_err(|_| Error::str("invalid expression"))?;
    let text = value.try_as_utf8_bytes()?;
    let groups = u64::try_from(regex.captures_len()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    let (mut last, mut last_char) = (0, 0);
    for found in regex.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        if whole.is_empty() && flags.contains('n') {
            continue;
        }
        paid(context.data().work, groups.saturating_mul(GROUP))?;
        let between = text.get(last..whole.start()).unwrap_or_default();
        let first_char = last_char + chars(between);
        if wanted != Parts::Matches {
            parts.push(value.as_sub_str(between));
        }
        if wanted != Parts::Between {
            parts.push(groups_of(&value, &regex, &found, first_char));
        }
        (last, last_char) = (whole.end(), first_char + chars(whole.as_bytes()));
        if !flags.contains('g') {
            break;
        }
    }
    if wanted != Parts::Matches {
        parts.push(value.as_sub_str(text.get(last..).unwrap_or_default()));
    }
    Ok(parts.into_iter().collect())
}

fn text_of(value: &Val) -> Result<&str, Error<Val>> {
    std::str::from_utf8(value.try_as_utf8_bytes()?).map_err(|_| Error::str("not UTF-8"))
}

/// About how many states an expression has when it is compiled; `None` if it cannot be, or has too many.
pub(super) fn states(expression: &str, flags: &str) -> Option<&'static str> {
    let mut builder = builder(expression, flags).ok()?;
    let mut sizes = SIZES.iter();
    let size = sizes.find(|(bytes, _)| builder.size_limit(*bytes).build().is_ok());
    size.map(|(_, states)| *states)
}

/// The letters are those of jaq.
fn builder(expression: &str, flags: &str) -> Result<RegexBuilder, Error<Val>> {
    if !flags.chars().all(|flag| "gnimslxp".contains(flag)) {
        return Err(Error::str("invalid flag"));
    }
    let has = |flag| flags.contains(flag);
    let mut builder = RegexBuilder::new(expression);
    builder
        .case_insensitive(has('i'))
        .multi_line(has('m') || has('p'))
        .dot_matches_new_line(has('s') || has('p'))
        .swap_greed(has('l'))
        .ignore_whitespace(has('x'));
    Ok(builder)
}

/// The groups of a match, the first of which is all of it, at this character of the text.
fn groups_of(value: &Val, regex: &Regex, found: &Captures<'_>, first_char: usize) -> Val {
    let whole = found.get(0);
    let (start, text) = whole.map_or((0, &[][..]), |whole| (whole.start(), whole.as_bytes()));
    let groups = (0..).zip(found.iter()).zip(regex.capture_names());
    let groups = groups.map(|((number, group), name)| {
        let (offset, length, string) = match group {
            Some(group) => {
                let before = text.get(..group.start().saturating_sub(start));
                let offset = first_char + chars(before.unwrap_or_default());
                let offset = isize::try_from(offset).unwrap_or(isize::MAX);
                let string = value.as_sub_str(group.as_bytes());
                (offset, chars(group.as_bytes()), string)
            }
            None => (-1, 0, Val::Null),
        };
        let mut fields = vec![
            (key("offset"), Val::from(offset)),
            (key("length"), Val::from(length)),
            (key("string"), string),
        ];
        if number > 0 {
            let name = name.map_or(Val::Null, |name| Val::utf8_str(name.to_owned()));
            fields.push((key("name"), name));
        }
        Val::obj(fields.into_iter().collect())
    });
    groups.collect()
}

fn key(name: &'static str) -> Val {
    Val::utf8_str(name.as_bytes())
}

fn chars(text: &[u8]) -> usize {
    // Every other byte of UTF-8 continues a character.
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}
