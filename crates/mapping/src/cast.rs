//! `cast`: the type of a column that Postgres reads from text, by Postgres's own name.
//!
//! The name becomes part of SQL, so it is read into its parts, and SQL is written from these: a schema, a name,
//! modifiers that are numbers or words, and whether it is an array. Nothing else can be written.

use std::fmt;
use std::str::FromStr;

use crate::pipeline::{Problem, check_identifier};
use crate::text::quote_identifier;
use crate::types::ColumnType;

/// The schema of Postgres's own types.
const CATALOG: &str = "pg_catalog";

/// Names that SQL has for types, and the names of these types in the catalog. `serial` is not a type, but an integer
/// with a default.
/// Source: <https://www.postgresql.org/docs/18/datatype.html>.
#[rustfmt::skip]
const ALIASES: &[(&str, &str)] = &[
    ("smallint", "int2"), ("int", "int4"), ("integer", "int4"), ("bigint", "int8"),
    ("smallserial", "int2"), ("serial2", "int2"), ("serial", "int4"), ("serial4", "int4"), ("bigserial", "int8"), ("serial8", "int8"),
    ("real", "float4"), ("float", "float8"), ("double precision", "float8"), ("decimal", "numeric"), ("dec", "numeric"),
    ("boolean", "bool"), ("character", "bpchar"), ("char", "bpchar"), ("character varying", "varchar"), ("bit varying", "varbit"),
    ("time without time zone", "time"), ("time with time zone", "timetz"),
    ("timestamp without time zone", "timestamp"), ("timestamp with time zone", "timestamptz"),
];

/// Postgres's own types that a column can have, besides those of [`ColumnType`].
/// Source: <https://www.postgresql.org/docs/18/datatype.html>.
const BUILT_IN: &[&str] = &[
    "bit",
    "box",
    "bpchar",
    "char",
    "cidr",
    "circle",
    "datemultirange",
    "daterange",
    "int4multirange",
    "int4range",
    "int8multirange",
    "int8range",
    "interval",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "nummultirange",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "pg_snapshot",
    "point",
    "polygon",
    "timetz",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "varbit",
    "xid8",
    "xml",
];

/// Types of well-known extensions.
const OF_EXTENSIONS: &[&str] = &[
    "citext",
    "cube",
    "geography",
    "geometry",
    "halfvec",
    "hstore",
    "ltree",
    "seg",
    "sparsevec",
    "vector",
];

/// Types to which Postgres casts text by cutting it off.
const CUT_OFF: [&str; 2] = ["name", "char"];

/// A type that Postgres reads from text: `interval`, `vector(1536)`, `shop.mood`, `tstzrange[]`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// `None`: found by the search path.
    schema: Option<String>,
    /// As the catalog has it; of an array, the name of its elements.
    name: String,
    modifiers: Vec<String>,
    is_array: bool,
}

/// It is not the name of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAType;

/// A part of a type's name.
#[derive(Debug, PartialEq)]
enum Token {
    /// In lower case, as Postgres reads it.
    Word(String, String),
    Quoted(String),
    Number(String),
    Mark(char),
}

impl FromStr for Cast {
    type Err = NotAType;

    fn from_str(text: &str) -> Result<Self, NotAType> {
        use Token::Mark;
        let tokens = tokens(text).ok_or(NotAType)?;
        let (tokens, is_array) = match &tokens[..] {
            [of_element @ .., Mark('['), Mark(']')] => (of_element, true),
            all => (all, false),
        };
        let (schema, tokens) = match tokens {
            [schema, Mark('.'), own @ ..] => (Some(schema.identifier()?), own),
            own => (None, own),
        };
        let (head, modifiers, tail) = split_modifiers(tokens)?;
        let alias = match schema {
            None => alias(head, tail),
            Some(_) => None,
        };
        let name = match (alias, head, tail) {
            (Some(name), _, _) => name.to_owned(),
            (None, [name], []) => name.identifier()?,
            (None, _, _) => return Err(NotAType),
        };
        let is_of_sql = schema.is_none();
        let mut cast = Self {
            schema,
            name,
            modifiers,
            is_array,
        };
        if is_of_sql && cast.is_of_catalog() {
            cast.schema = Some(CATALOG.to_owned());
        }
        let is_of_one = |word: &str| matches!(word, "bit" | "char" | "character");
        let is_of_one = matches!(tokens, [Token::Word(word, _)] if is_of_one(word));
        if is_of_sql && is_of_one {
            cast.modifiers.push("1".to_owned());
        }
        Ok(cast)
    }
}

/// The name before the modifiers, the modifiers, and the words after them.
type Parts<'t> = (&'t [Token], Vec<String>, &'t [Token]);

fn split_modifiers(tokens: &[Token]) -> Result<Parts<'_>, NotAType> {
    let Some(open) = tokens.iter().position(|token| *token == Token::Mark('(')) else {
        return Ok((tokens, Vec::new(), &[]));
    };
    let (head, rest) = tokens.split_at(open);
    let close = rest.iter().position(|token| *token == Token::Mark(')'));
    let (list, tail) = rest.split_at(close.ok_or(NotAType)?);
    let (list, tail) = (list.get(1..), tail.get(1..));
    let (Some(list), Some(tail)) = (list, tail) else {
        return Err(NotAType);
    };
    let modifiers = list.split(|token| *token == Token::Mark(','));
    let modifiers = modifiers.map(|modifier| match modifier {
        [Token::Number(number)] => Ok(number.clone()),
        [Token::Word(_, word)] => Ok(word.clone()),
        _ => Err(NotAType),
    });
    Ok((head, modifiers.collect::<Result<_, _>>()?, tail))
}

/// The name in the catalog of what SQL calls otherwise, perhaps in several words: `time(3) with time zone`.
fn alias(head: &[Token], tail: &[Token]) -> Option<&'static str> {
    let words = head.iter().chain(tail).map(|token| match token {
        Token::Word(word, _) => Some(word.as_str()),
        Token::Quoted(_) | Token::Number(_) | Token::Mark(_) => None,
    });
    let name = words.collect::<Option<Vec<_>>>()?.join(" ");
    let found = ALIASES.iter().find(|(known, _)| *known == name);
    found.map(|(_, name)| *name)
}

impl Token {
    fn identifier(&self) -> Result<String, NotAType> {
        match self {
            Self::Word(name, _) | Self::Quoted(name) => {
                let checked = check_identifier("type", name);
                checked.map(|()| name.clone()).map_err(|_| NotAType)
            }
            Self::Number(_) | Self::Mark(_) => Err(NotAType),
        }
    }
}

/// The tokens of a type's name; `None` if it has any other.
/// Source: <https://www.postgresql.org/docs/18/sql-syntax-lexical.html>.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_matches(' ');
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' => {
                rest = rest.trim_start_matches(' ');
                continue;
            }
            '.' | '(' | ')' | ',' | '[' | ']' => (Token::Mark(first), 1),
            '"' => quoted(rest)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let is_of_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
                let end = rest.find(|char| !is_of_word(char)).unwrap_or(rest.len());
                let word = rest.get(..end)?;
                (Token::Word(word.to_lowercase(), word.to_owned()), end)
            }
            '-' | '0'..='9' => {
                let digits = rest.strip_prefix('-').unwrap_or(rest);
                let end = digits.find(|char: char| !char.is_ascii_digit());
                let end = end.unwrap_or(digits.len());
                let number = rest.get(..rest.len() - digits.len() + end)?;
                number.parse::<i32>().ok()?;
                (Token::Number(number.to_owned()), number.len())
            }
            _ => return None,
        };
        tokens.push(token);
        rest = rest.get(length..)?;
    }
    Some(tokens)
}

/// A quoted name, and its length with the quotes.
fn quoted(text: &str) -> Option<(Token, usize)> {
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char != '"' {
            name.push(char);
        } else if chars.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            return Some((Token::Quoted(name), at + 1));
        }
    }
    None
}

impl Cast {
    /// Reads the word of a column.
    pub(crate) fn check(
        name: &str,
        column_type: ColumnType,
        is_masked: bool,
    ) -> Result<Self, Problem> {
        let cast: Self = name.parse().map_err(|_| Problem::Cast(name.to_owned()))?;
        if let Some(native) = cast.native() {
            return Err(Problem::NativeCast(name.to_owned(), native));
        }
        if column_type != ColumnType::Text {
            return Err(Problem::CastOn(column_type));
        }
        if is_masked {
            return Err(Problem::CastOfToken(cast.to_string()));
        }
        Ok(cast)
    }

    /// The cast to write for the name of a type that a column cannot have otherwise, if it is one of Postgres, of a
    /// well-known extension, or has a schema.
    pub(crate) fn meant(name: &str) -> Option<Self> {
        let cast: Self = name.parse().ok()?;
        let is_char = cast.is_built_in() && cast.name == "bpchar";
        let is_known = cast.schema.is_some() || OF_EXTENSIONS.contains(&cast.name.as_str());
        (is_known && !is_char && cast.native().is_none()).then_some(cast)
    }

    /// The type of a column that does the same, with values that are checked before Postgres sees them.
    pub fn native(&self) -> Option<ColumnType> {
        if !self.is_built_in() {
            return None;
        }
        let name = self.name.as_str();
        let base = match name {
            "varchar" => ColumnType::Text,
            name if CUT_OFF.contains(&name) => ColumnType::Text,
            name => ColumnType::of_catalog(name)?,
        };
        let array = if self.is_array { "[]" } else { "" };
        let of_length = format!("{name}{}{array}", listed(&self.modifiers));
        let plain = || format!("{base}{array}").parse().ok();
        of_length.parse().ok().or_else(plain)
    }

    /// Whether its values are text, with another comparison.
    pub fn is_text(&self) -> bool {
        !self.is_array && (self.is_built_in() && self.name == "bpchar" || self.name == "citext")
    }

    /// Whether it is an array.
    pub fn is_array(&self) -> bool {
        self.is_array
    }

    /// Whether it is a type of Postgres itself.
    pub fn is_built_in(&self) -> bool {
        self.schema.as_deref() == Some(CATALOG)
    }

    /// Its schema, if that is not left to the search path.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Its name in the catalog; of an array, the name of its elements.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a column of the other one, with the same name, has room for its values, as far as modifiers say.
    pub fn fits(&self, other: &Self) -> bool {
        let pairs = || self.modifiers.iter().zip(&other.modifiers);
        let is_same = self.modifiers.len() == other.modifiers.len()
            && pairs().all(|(a, b)| a.eq_ignore_ascii_case(b));
        other.modifiers.is_empty() || is_same
    }

    /// What separates the elements of an array in its text.
    /// Source: `typdelim` of `pg_type`, and of the types that PostGIS creates.
    pub(crate) fn delimiter(&self) -> char {
        match self.name.as_str() {
            "box" if self.is_built_in() => ';',
            "geometry" | "geography" => ':',
            _ => ',',
        }
    }

    /// The type as SQL writes it.
    pub fn sql(&self) -> String {
        let is_number = |modifier: &str| !modifier.contains(|char: char| char.is_alphabetic());
        let modifiers = self
            .modifiers
            .iter()
            .map(|modifier| match is_number(modifier) {
                true => modifier.clone(),
                false => quote_identifier(modifier),
            });
        let modifiers: Vec<_> = modifiers.collect();
        self.sql_with(&modifiers)
    }

    /// The type without modifiers as SQL writes it, to which values are cast. By a cast to `bit(3)` Postgres cuts off
    /// what is longer, and by an assignment to such a column it refuses it.
    /// Source: <https://www.postgresql.org/docs/18/datatype-bit.html>.
    pub fn sql_without_modifiers(&self) -> String {
        self.sql_with(&[])
    }

    fn sql_with(&self, modifiers: &[String]) -> String {
        let schema = self.schema.as_deref().map(|schema| match schema {
            CATALOG => format!("{CATALOG}."),
            schema => format!("{}.", quote_identifier(schema)),
        });
        let array = if self.is_array { "[]" } else { "" };
        format!(
            "{}{}{}{array}",
            schema.unwrap_or_default(),
            quote_identifier(&self.name),
            listed(modifiers)
        )
    }

    fn is_of_catalog(&self) -> bool {
        BUILT_IN.contains(&self.name.as_str()) || ColumnType::of_catalog(&self.name).is_some()
    }

    /// With quotes only where it would be another type without them.
    fn written(&self, quote: impl Fn(&str) -> String) -> String {
        let schema = self.schema.as_deref().filter(|schema| *schema != CATALOG);
        let schema = schema.map(|schema| format!("{}.", quote(schema)));
        let array = if self.is_array { "[]" } else { "" };
        let name = match self.name.as_str() {
            "bpchar" if self.is_built_in() && !self.modifiers.is_empty() => "char",
            name => name,
        };
        format!(
            "{}{}{}{array}",
            schema.unwrap_or_default(),
            quote(name),
            listed(&self.modifiers)
        )
    }
}

fn listed(modifiers: &[String]) -> String {
    match modifiers {
        [] => String::new(),
        modifiers => format!("({})", modifiers.join(",")),
    }
}

/// As Postgres names it.
impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self.written(str::to_owned);
        match plain.parse::<Self>() {
            Ok(same) if same == *self => f.write_str(&plain),
            _ => f.write_str(&self.written(quote_identifier)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(text: &str) -> Cast {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn a_type_is_written_as_sql_from_its_parts() {
        let cases = [
            ("interval", "pg_catalog.\"interval\"", "interval"),
            ("INTERVAL(3)", "pg_catalog.\"interval\"(3)", "interval(3)"),
            ("pg_catalog.interval", "pg_catalog.\"interval\"", "interval"),
            ("vector(1536)", "\"vector\"(1536)", "vector(1536)"),
            (
                "geometry(Point,4326)",
                "\"geometry\"(\"Point\",4326)",
                "geometry(Point,4326)",
            ),
            ("shop.mood", "\"shop\".\"mood\"", "shop.mood"),
            (
                "shop.\"Mood\"[]",
                "\"shop\".\"Mood\"[]",
                "\"shop\".\"Mood\"[]",
            ),
            (
                "\"a\"\"b\".\"c.d\"",
                "\"a\"\"b\".\"c.d\"",
                "\"a\"\"b\".\"c.d\"",
            ),
            ("bit", "pg_catalog.\"bit\"(1)", "bit(1)"),
            ("\"bit\"", "pg_catalog.\"bit\"", "\"bit\""),
            ("bit varying(5)", "pg_catalog.\"varbit\"(5)", "varbit(5)"),
            ("character(3)", "pg_catalog.\"bpchar\"(3)", "char(3)"),
            (
                "time(3) with time zone",
                "pg_catalog.\"timetz\"(3)",
                "timetz(3)",
            ),
            (
                "time with time zone[]",
                "pg_catalog.\"timetz\"[]",
                "timetz[]",
            ),
            (
                " tstzrange [ ] ",
                "pg_catalog.\"tstzrange\"[]",
                "tstzrange[]",
            ),
        ];
        for (text, sql, shown) in cases {
            let cast = cast(text);
            assert_eq!(
                (cast.sql(), cast.to_string()),
                (sql.into(), shown.into()),
                "{text}"
            );
            assert_eq!(shown.parse(), Ok(cast), "{text}");
        }
        let bits = cast("bit(3)[]").sql_without_modifiers();
        assert_eq!(bits, "pg_catalog.\"bit\"[]");
    }

    #[test]
    fn nothing_but_a_type_can_be_written() {
        let others = [
            "",
            " ",
            "mood; DROP TABLE t",
            "interval)",
            "interval(",
            "interval()",
            "interval(1,)",
            "interval(1)(2)",
            "vector(1536) NOT NULL",
            "vector(1+1)",
            "vector('1')",
            "vector(now())",
            "vector(99999999999)",
            "a.b.c",
            "\"open",
            "\"\"",
            "a--b",
            "a/**/b",
            "a b",
            "setof interval",
            "interval day to second",
            "[]",
            "int4range[][]",
            "int4range[3]",
            "$1",
            "mood\0",
            "mood\nx",
            "naïve",
            "1",
            "interval::text",
            "interval COLLATE \"C\"",
            "\"x\"\"",
        ];
        for text in others {
            assert_eq!(text.parse::<Cast>(), Err(NotAType), "{text:?}");
        }
    }

    #[test]
    fn a_type_that_a_column_can_have_by_itself_is_found() {
        let natives = [
            ("int", "integer"),
            ("int4[]", "integer[]"),
            ("serial", "integer"),
            ("decimal(10,2)", "numeric(10,2)"),
            ("numeric(5,-2)", "numeric"),
            ("character varying(20)", "varchar(20)"),
            ("varchar", "text"),
            ("varchar(5)[]", "varchar(5)[]"),
            ("name", "text"),
            ("\"char\"", "text"),
            ("timestamp(3) with time zone", "timestamptz"),
            ("pg_catalog.jsonb", "jsonb"),
            ("double precision", "double precision"),
        ];
        for (text, native) in natives {
            let found = cast(text).native().map(|native| native.to_string());
            assert_eq!(found.as_deref(), Some(native), "{text}");
        }
        for text in [
            "interval",
            "jsonb[]",
            "shop.text",
            "char(3)",
            "\"INTEGER\"",
            "bit",
        ] {
            assert_eq!(cast(text).native(), None, "{text}");
        }
    }
}
