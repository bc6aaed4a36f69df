//! JSON strings → text that Postgres can store.
//!
//! JSON can express two things that Postgres cannot store: U+0000, and half of a surrogate pair. Both occur only
//! as `\u` escapes, in strings and in keys, so one pass over the escapes of a raw JSON text finds them at any
//! depth.

use std::borrow::Cow;

use crate::rejection::Rule;

/// What to do with characters that Postgres cannot store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unstorable {
    /// Reject the message.
    Reject,
    /// Remove them.
    Strip,
}

/// The raw JSON text without unstorable escapes, borrowed if it has none.
pub(crate) fn storable(raw: &str, unstorable: Unstorable) -> Result<Cow<'_, str>, Rule> {
    let mut kept = String::new();
    let mut copied = 0;
    let mut position = 0;
    while let Some(escape) = next_escape(raw, position) {
        position = escape.end;
        let Some(rule) = escape.fault else { continue };
        if unstorable == Unstorable::Reject {
            return Err(rule);
        }
        kept.push_str(raw.get(copied..escape.start).unwrap_or_default());
        copied = escape.end;
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(raw));
    }
    kept.push_str(raw.get(copied..).unwrap_or_default());
    Ok(Cow::Owned(kept))
}

/// A backslash escape: where it starts and ends, and what makes it unstorable.
struct Escape {
    start: usize,
    end: usize,
    fault: Option<Rule>,
}

fn next_escape(raw: &str, from: usize) -> Option<Escape> {
    let bytes = raw.as_bytes();
    let start = from + memchr::memchr(b'\\', bytes.get(from..)?)?;
    let Some(unit) = unicode_escape(bytes, start) else {
        return Some(Escape {
            start,
            end: start + 2,
            fault: None,
        });
    };
    let follows = || unicode_escape(bytes, start + 6);
    let (length, fault) = match unit {
        0 => (6, Some(Rule::NulCharacter)),
        0xD800..=0xDBFF if matches!(follows(), Some(0xDC00..=0xDFFF)) => (12, None),
        0xD800..=0xDFFF => (6, Some(Rule::LoneSurrogate)),
        _ => (6, None),
    };
    Some(Escape {
        start,
        end: start + length,
        fault,
    })
}

/// The code unit of a `\uXXXX` that starts here.
fn unicode_escape(bytes: &[u8], start: usize) -> Option<u16> {
    let digits = bytes.get(start..start + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The text of a raw JSON string. `raw` includes the quotes.
pub(crate) fn unescape(raw: &str, unstorable: Unstorable) -> Result<Cow<'_, str>, Rule> {
    let inner = raw
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(raw);
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inner));
    }
    let storable = storable(raw, unstorable)?;
    serde_json::from_str(&storable)
        .map(Cow::Owned)
        .map_err(|_| Rule::LoneSurrogate)
}

/// Text that does not come from JSON, for example a message attribute.
pub(crate) fn plain(text: Cow<'_, str>, unstorable: Unstorable) -> Result<Cow<'_, str>, Rule> {
    match (memchr::memchr(0, text.as_bytes()).is_some(), unstorable) {
        (false, _) => Ok(text),
        (true, Unstorable::Reject) => Err(Rule::NulCharacter),
        (true, Unstorable::Strip) => Ok(Cow::Owned(text.replace('\0', ""))),
    }
}

#[cfg(test)]
mod tests {
    use super::Unstorable::{Reject, Strip};
    use super::*;

    #[test]
    fn text_without_escapes_is_borrowed() {
        assert!(matches!(
            unescape("\"plain\"", Reject),
            Ok(Cow::Borrowed("plain"))
        ));
        assert!(matches!(
            storable(r#"{"a": "b\n"}"#, Strip),
            Ok(Cow::Borrowed(_))
        ));
    }

    #[test]
    fn a_nul_in_metadata_rejects_the_message_or_is_removed() {
        assert_eq!(plain("a\0b".into(), Reject), Err(Rule::NulCharacter));
        assert_eq!(plain("ab".into(), Reject).unwrap(), "ab");
        assert_eq!(plain("a\0b".into(), Strip).unwrap(), "ab");
    }
}
