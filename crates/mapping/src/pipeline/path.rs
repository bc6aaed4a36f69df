//! Paths into the body: `client.ip`, `tags.0`, `"a.b".c`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::Problem;

const QUOTE: char = '"';

/// The `each` of a body that is an array itself.
pub(super) const BODY: &str = "@body";

/// The steps from the top of the body to a value: object keys, and positions in arrays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(pub Vec<String>);

impl Path {
    /// Parses steps separated by dots. A step that contains a dot, is `$` or `^`, or begins with `@` or a quote, is
    /// quoted; a quote within quotes is doubled, as in SQL.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let (step, after) = match rest.strip_prefix(QUOTE) {
                Some(quoted) => {
                    quoted_step(quoted).ok_or_else(|| Problem::Quotes(text.to_owned()))?
                }
                None => plain_step(rest).ok_or_else(|| Problem::EmptyStep(text.to_owned()))?,
            };
            if !rest.starts_with(QUOTE) && matches!(step.as_str(), "$" | "^") {
                return Err(Problem::PlainMark(text.to_owned()));
            }
            steps.push(step);
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None if after.is_empty() => return Ok(Self(steps)),
                None => return Err(Problem::Quotes(text.to_owned())),
            }
        }
    }

    /// The body itself, which `each` may name as an array: no steps.
    pub(super) fn of_body() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn is_body(&self) -> bool {
        self.0.is_empty()
    }

    /// The value at the path, if there is one.
    pub fn find<'v>(&self, body: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(body, |value, step| match value {
            Value::Object(fields) => fields.get(step),
            Value::Array(elements) => {
                let position: usize = step.parse().ok()?;
                // Positions have no sign and no leading zeros.
                elements
                    .get(position)
                    .filter(|_| position.to_string() == *step)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }
}

/// The path that a mapping would read from this text.
impl FromStr for Path {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::parse(text)
    }
}

/// A step and the rest; `None` if it is empty.
fn plain_step(text: &str) -> Option<(String, &str)> {
    let (step, after) = text.split_at(text.find('.').unwrap_or(text.len()));
    (!step.is_empty()).then(|| (step.to_owned(), after))
}

/// A quoted step without its opening quote, and the rest; `None` if its closing quote is missing.
fn quoted_step(text: &str) -> Option<(String, &str)> {
    let mut step = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once(QUOTE)?;
        step.push_str(part);
        let Some(next) = after.strip_prefix(QUOTE) else {
            return Some((step, after));
        };
        step.push(QUOTE);
        rest = next;
    }
}

/// As the mapping writes it.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_body() {
            return f.write_str(BODY);
        }
        for (position, step) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            let is_special = matches!(step.as_str(), "" | "$" | "^");
            if is_special || step.contains('.') || step.starts_with(['@', QUOTE]) {
                write!(f, "\"{}\"", step.replace(QUOTE, "\"\""))?;
            } else {
                f.write_str(step)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_separated_by_dots_and_may_be_quoted() {
        let cases: [(&str, &[&str]); 8] = [
            ("client.tags.0", &["client", "tags", "0"]),
            (r#""a.b".c"#, &["a.b", "c"]),
            (r#"a."@type""#, &["a", "@type"]),
            (r#""@type""#, &["@type"]),
            (r#""say ""hi""".x"#, &["say \"hi\"", "x"]),
            (r#""".a"#, &["", "a"]),
            (r#""plain""#, &["plain"]),
            (r#"a"b"#, &["a\"b"]),
        ];
        for (text, steps) in cases {
            assert_eq!(Path::parse(text).unwrap().0, steps, "{text}");
        }
    }

    #[test]
    fn a_path_leads_through_fields_and_elements() {
        let body = serde_json::json!({"a.b": {"c": ["x", {"0": "y"}]}, "n": null});
        let cases = [
            (r#""a.b".c.0"#, Some("x")),
            (r#""a.b".c.1.0"#, Some("y")),
            ("a.b", None),
            (r#""a.b".c.2"#, None),
            (r#""a.b".c.00"#, None),
            (r#""a.b".c.+1"#, None),
            (r#""a.b".c.0.x"#, None),
            ("n.x", None),
        ];
        for (text, found) in cases {
            let path: Path = text.parse().unwrap();
            let value = path.find(&body).and_then(Value::as_str);
            assert_eq!(value, found, "{text}");
        }
    }

    #[test]
    fn every_path_is_read_as_it_is_written() {
        let steps = ["a", "a.b", "@a", "\"", "a\"b", "\"\".\"", "", ".", " ", "é"];
        for first in steps {
            for second in steps {
                let path = Path(vec![first.to_owned(), second.to_owned()]);
                assert_eq!(Path::parse(&path.to_string()), Ok(path));
            }
        }
    }

    #[test]
    fn a_mark_that_is_not_followed_by_a_path_is_refused() {
        for text in ["$", "^", "a.$", "$.$", "^.a.b"] {
            assert_eq!(Path::parse(text), Err(Problem::PlainMark(text.to_owned())));
        }
        assert!(Path::parse(r#""$".$ref"#).is_ok());
    }

    #[test]
    fn empty_steps_and_quotes_that_do_not_end_with_their_step_are_refused() {
        for text in ["", ".", "a.", "a..b", ".a", "\"a\"."] {
            let refused = Problem::EmptyStep(text.to_owned());
            assert_eq!(Path::parse(text), Err(refused));
        }
        for text in ["\"a", "\"a\"b", "a.\"", "a.\"b\"\"", "\"a\" .b"] {
            let refused = Problem::Quotes(text.to_owned());
            assert_eq!(Path::parse(text), Err(refused));
        }
    }
}
