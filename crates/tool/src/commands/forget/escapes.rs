//! The escapes of JSON, in text that may not be JSON.

use std::iter::from_fn;

/// The text with its escapes replaced by what they stand for; what is not an escape is unchanged.
pub(super) fn unescaped(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        rest = match units(escape) {
            (units, after) if !units.is_empty() => {
                plain.push_str(&String::from_utf16_lossy(&units));
                after
            }
            (_, unread) => {
                let mut chars = unread.chars();
                plain.extend(match (chars.next(), chars.next()) {
                    (_, Some('n' | 'r' | 't')) => Some(' '),
                    (backslash, escaped) => escaped.or(backslash),
                });
                chars.as_str()
            }
        };
    }
    plain + rest
}

/// The code units at the beginning that are written as `\uXXXX`, and the rest.
fn units(text: &str) -> (Vec<u16>, &str) {
    let mut rest = text;
    let units = from_fn(|| {
        let (digits, after) = rest.strip_prefix("\\u")?.split_at_checked(4)?;
        let unit = u16::from_str_radix(digits, 16).ok()?;
        rest = after;
        Some(unit)
    });
    (units.collect(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_replaced_at_every_depth_and_all_else_is_unchanged() {
        let cases = [
            (r"ada\u0040example.org", "ada@example.org"),
            (r"\uD83D\uDE00!", "😀!"),
            (r"a\/b\nc", "a/b c"),
            (r"a\u00", "au00"),
            ("ü\\", "ü\\"),
        ];
        for (text, plain) in cases {
            assert_eq!(unescaped(text), plain);
        }
        let nested = unescaped(&unescaped(r"ada\\u0040x"));
        assert_eq!(nested, "ada@x");
    }
}
