//! A program → a program that counts its work, or the reason why it is refused.
//!
//! Each operation whose cost grows with a value is followed, and where needed preceded, by a function of [`super::cost`],
//! which takes the size of the value from the work that is left, and stops the program when nothing is left. What neither the size of
//! its input nor of its output bounds is refused: recursion, and functions that repeat.

use std::collections::BTreeSet;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::load::{Lexer, Parser};
use jaq_core::ops::Math;
use jaq_core::path::Part;
use thiserror::Error;

use super::cost::{
    CHARGE, CHARGE_ENTRIES, CHARGE_JOIN, CHARGE_MATCH, CHARGE_PRODUCT, CHARGE_SEARCH, CHARGE_TABLE,
    CHECK_JSON,
};
use super::regex;

/// The name of the program as a function, its call, and its arguments. No program can name the function.
const NAME: &str = "mapped";
pub(super) const CALL: &str = "mapped($body; $parent)";
pub(super) const VARIABLES: [&str; 2] = ["$body", "$parent"];

/// What these take, where a program would evaluate it twice. No program can write the names.
const LEFT: &str = "$!left";
const RIGHT: &str = "$!right";

/// Why a program is not one that a mapping can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JqProblem {
    /// It is not jq.
    #[error("it cannot be read at {0:?}: correct the program")]
    Syntax(String),
    /// It is not jq, for a reason without a place.
    #[error("it cannot be read: correct the program")]
    Unreadable,
    /// Nothing has this name.
    #[error("the {0} {1:?} is not defined: correct the program")]
    Undefined(&'static str, String),
    /// A function that is not available.
    #[error(
        "{0}/{1} is not available, because a program reads only its input and always ends: use a function that the documentation of mappings lists"
    )]
    Unavailable(String, usize),
    /// A function that calls itself.
    #[error("{0:?} calls itself, so the program need not end: use map, add, any, all or reduce")]
    Recursive(String),
    /// A regular expression that cannot be compiled.
    #[error(
        "the regular expression {expression:?} of {function} cannot be compiled: correct it or its flags; look-around, back references and classes such as \\p{{L}} are not available, nor are very large ones"
    )]
    Regex {
        /// The function that takes it.
        function: String,
        /// As the program writes it.
        expression: String,
    },
    /// A regular expression that comes from the message.
    #[error("the regular expression of {0} is not a string in the program: write it there")]
    Expression(String),
    /// The left side of an assignment is not a path.
    #[error("an assignment changes fields and elements only: name them on its left side")]
    Assignment,
}

/// The functions that a program can call, with the numbers of their arguments. Each of them ends, at a cost that its
/// input, its arguments and its output bound; none reads anything else.
#[rustfmt::skip]
const FUNCTIONS: &[(&str, &[usize])] = &[
    ("abs", &[0]), ("add", &[0, 1]), ("all", &[0, 1, 2]), ("any", &[0, 1, 2]), ("arrays", &[0]),
    ("ascii_downcase", &[0]), ("ascii_upcase", &[0]), ("booleans", &[0]), ("capture", &[1, 2]), ("ceil", &[0]),
    ("contains", &[1]), ("del", &[1]), ("empty", &[0]), ("endswith", &[1]), ("error", &[0, 1]), ("explode", &[0]),
    ("false", &[0]), ("finites", &[0]), ("first", &[0, 1]), ("flatten", &[0, 1]), ("floor", &[0]),
    ("from_entries", &[0]), ("fromdate", &[0]), ("fromdateiso8601", &[0]), ("fromjson", &[0]), ("group_by", &[1]),
    ("gsub", &[2, 3]), ("has", &[1]), ("implode", &[0]), ("in", &[1]), ("index", &[1]), ("indices", &[1]),
    ("inside", &[1]), ("isempty", &[1]), ("isfinite", &[0]), ("isinfinite", &[0]), ("isnan", &[0]),
    ("isnormal", &[0]), ("iterables", &[0]), ("join", &[1]), ("keys", &[0]), ("keys_unsorted", &[0]),
    ("last", &[0, 1]), ("length", &[0]), ("limit", &[2]), ("log", &[0]), ("log10", &[0]), ("log2", &[0]),
    ("ltrim", &[0]), ("ltrimstr", &[1]), ("map", &[1]), ("map_values", &[1]), ("match", &[1, 2]), ("max", &[0]),
    ("max_by", &[1]), ("min", &[0]), ("min_by", &[1]), ("not", &[0]), ("nth", &[1, 2]), ("null", &[0]),
    ("nulls", &[0]), ("numbers", &[0]), ("objects", &[0]), ("pick", &[1]), ("pow", &[2]), ("range", &[1, 2]),
    ("reverse", &[0]), ("rindex", &[1]), ("round", &[0]), ("rtrim", &[0]), ("rtrimstr", &[1]), ("scalars", &[0]),
    ("scan", &[1, 2]), ("select", &[1]), ("skip", &[2]), ("sort", &[0]), ("sort_by", &[1]), ("split", &[1, 2]),
    ("splits", &[1, 2]), ("sqrt", &[0]), ("startswith", &[1]), ("strings", &[0]), ("sub", &[2, 3]), ("test", &[1, 2]),
    ("to_entries", &[0]), ("toboolean", &[0]), ("todate", &[0]), ("todateiso8601", &[0]), ("tojson", &[0]),
    ("tonumber", &[0]), ("tostring", &[0]), ("transpose", &[0]), ("trim", &[0]), ("true", &[0]), ("trunc", &[0]),
    ("type", &[0]), ("unique", &[0]), ("unique_by", &[1]), ("utf8bytelength", &[0]), ("values", &[0]), ("walk", &[1]),
    ("with_entries", &[1]),
    ("@base64", &[0]), ("@base64d", &[0]), ("@html", &[0]), ("@json", &[0]), ("@sh", &[0]), ("@text", &[0]),
    ("@uri", &[0]), ("@urid", &[0]),
];

/// Those that take a regular expression first. `split` does so with two arguments.
const EXPRESSIONS: [&str; 7] = ["capture", "gsub", "match", "scan", "splits", "sub", "test"];

/// Those that compare each part of the input with an argument.
const SEARCHES: [&str; 5] = ["contains", "index", "indices", "inside", "rindex"];

/// Those that make an object of each field or element.
const ENTRIES: [&str; 2] = ["to_entries", "with_entries"];

/// Those that give what their arguments give, so that they can be assigned to.
const PATHS: [&str; 5] = ["first", "last", "limit", "nth", "skip"];

/// Those that give parts of their input, whatever their names are.
const PARTS: [&str; 13] = [
    "add",
    "first",
    "flatten",
    "from_entries",
    "group_by",
    "last",
    "map",
    "map_values",
    "max_by",
    "min_by",
    "nth",
    "to_entries",
    "with_entries",
];

/// Those that read JSON in a string.
const READERS: [&str; 3] = ["fromjson", "toboolean", "tonumber"];

/// A program that counts its work.
pub(super) struct Program<'s> {
    body: Term<&'s str>,
    /// Every field that it names, and every other string in it.
    pub(super) names: BTreeSet<&'s str>,
    /// Whether it reads fields without naming any.
    pub(super) reads_any: bool,
    variables: BTreeSet<&'s str>,
}

impl<'s> Program<'s> {
    pub(super) fn reads(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    pub(super) fn into_definition(self) -> Def<&'s str> {
        Def {
            name: NAME,
            args: VARIABLES.to_vec(),
            body: self.body,
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Program<'_>, JqProblem> {
    let place = |found: &str| match found.lines().next().unwrap_or_default() {
        "" => JqProblem::Syntax("its end".to_owned()),
        line => JqProblem::Syntax(line.to_owned()),
    };
    let tokens = Lexer::new(text).lex().map_err(|errors| {
        let first = errors.first().map(|(_, found)| *found);
        place(first.unwrap_or_default())
    })?;
    let parsed = Parser::new(&tokens).parse(|parser| parser.term());
    let term = parsed.map_err(|errors| {
        let first = errors.first().and_then(|(_, found)| *found);
        place(first.map_or("", |token| token.as_str()))
    })?;
    let mut meter = Meter::default();
    let body = meter.term(term)?;
    Ok(Program {
        body: charged(body),
        names: meter.names,
        reads_any: meter.reads_any,
        variables: meter.variables,
    })
}

/// Rewrites a program.
#[derive(Default)]
struct Meter<'s> {
    names: BTreeSet<&'s str>,
    /// Whether a field is read that no name leads to.
    reads_any: bool,
    variables: BTreeSet<&'s str>,
    /// The functions of the program that are known here: their names, how many arguments they take, and whether they
    /// are being defined.
    own: Vec<(&'s str, usize, bool)>,
    /// Whether the term is on the left side of an assignment.
    is_assigned: bool,
}

type Terms<'s> = Result<Term<&'s str>, JqProblem>;

impl<'s> Meter<'s> {
    fn term(&mut self, term: Term<&'s str>) -> Terms<'s> {
        Ok(match term {
            Term::Id | Term::Num(_) | Term::Break(_) | Term::Arr(None) => term,
            Term::Recurse => {
                self.reads_any = true;
                then(call(CHARGE), Term::Recurse)
            }
            Term::Var(name) => {
                self.variables.insert(name);
                term
            }
            Term::Str(format, parts) => self.text(format, parts)?,
            Term::Arr(Some(elements)) => charged(Term::Arr(Some(self.boxed(*elements)?))),
            Term::Obj(fields) => self.object(fields)?,
            Term::Neg(negated) => Term::Neg(self.boxed(*negated)?),
            Term::BinOp(left, operator, right) => self.operation(*left, operator, *right)?,
            Term::Label(name, within) => Term::Label(name, self.boxed(*within)?),
            Term::Fold(..) if self.is_assigned => return Err(JqProblem::Assignment),
            Term::Fold(kind, over, pattern, steps) => {
                let over = self.boxed(*over)?;
                let pattern = self.pattern(pattern)?;
                Term::Fold(kind, over, pattern, self.all(steps)?)
            }
            Term::TryCatch(tried, caught) => {
                let caught = caught.map(|caught| self.boxed(*caught)).transpose()?;
                Term::TryCatch(self.boxed(*tried)?, caught)
            }
            Term::IfThenElse(branches, otherwise) => {
                let branches = branches
                    .into_iter()
                    .map(|(condition, then)| Ok((self.read(condition)?, self.term(then)?)));
                let branches = branches.collect::<Result<_, JqProblem>>()?;
                let otherwise = otherwise.map(|term| self.boxed(*term)).transpose()?;
                Term::IfThenElse(branches, otherwise)
            }
            Term::Def(definitions, within) => self.definitions(definitions, *within)?,
            Term::Call(name, arguments) => self.call(name, arguments)?,
            Term::Path(from, path) => {
                let from = self.term(*from)?;
                let is_name = |part: &Part<_>| matches!(part, Part::Index(Term::Str(..)));
                let begins_with_name = path.0.first().is_some_and(|(part, _)| is_name(part));
                self.reads_any |= self.names.is_empty() && !begins_with_name;
                let parts = path
                    .0
                    .into_iter()
                    .map(|(part, optional)| Ok((self.part(part)?, optional)));
                let parts: Vec<_> = parts.collect::<Result<_, JqProblem>>()?;
                // A field, or an element by its position, costs nothing.
                let is_step =
                    |part: &Part<_>| matches!(part, Part::Index(Term::Str(..) | Term::Num(_)));
                let from = match parts.iter().all(|(part, _)| is_step(part)) {
                    true => from,
                    false => charged(from),
                };
                Term::Path(Box::new(from), jaq_core::path::Path(parts))
            }
        })
    }

    fn boxed(&mut self, term: Term<&'s str>) -> Result<Box<Term<&'s str>>, JqProblem> {
        self.term(term).map(Box::new)
    }

    fn all(&mut self, terms: Vec<Term<&'s str>>) -> Result<Vec<Term<&'s str>>, JqProblem> {
        terms.into_iter().map(|term| self.term(term)).collect()
    }

    /// A term that is read, also if it stands on the left side of an assignment.
    fn read(&mut self, term: Term<&'s str>) -> Terms<'s> {
        let is_assigned = std::mem::replace(&mut self.is_assigned, false);
        let read = self.term(term);
        self.is_assigned = is_assigned;
        read
    }

    /// A term that is assigned to.
    fn assigned(&mut self, term: Term<&'s str>) -> Terms<'s> {
        let is_assigned = std::mem::replace(&mut self.is_assigned, true);
        let assigned = self.term(term);
        self.is_assigned = is_assigned;
        assigned
    }

    fn text(
        &mut self,
        format: Option<&'s str>,
        parts: Vec<StrPart<&'s str, Term<&'s str>>>,
    ) -> Terms<'s> {
        if let Some(format) = format {
            self.check_available(format, 0)?;
        }
        let mut is_filled = false;
        let parts = parts.into_iter().map(|part| {
            Ok(match part {
                StrPart::Str(text) => {
                    self.names.insert(text);
                    StrPart::Str(text)
                }
                StrPart::Char(char) => StrPart::Char(char),
                StrPart::Term(term) => {
                    is_filled = true;
                    StrPart::Term(charged(self.read(term)?))
                }
            })
        });
        let parts = parts.collect::<Result<_, JqProblem>>()?;
        let text = Term::Str(format, parts);
        Ok(if is_filled { charged(text) } else { text })
    }

    fn object(&mut self, fields: Vec<(Term<&'s str>, Option<Term<&'s str>>)>) -> Terms<'s> {
        let is_empty = fields.is_empty();
        let fields = fields.into_iter().map(|(key, value)| {
            let value = value.map(|value| self.read(value)).transpose()?;
            Ok((self.read(key)?, value))
        });
        let object = Term::Obj(fields.collect::<Result<_, JqProblem>>()?);
        Ok(if is_empty { object } else { charged(object) })
    }

    fn operation(
        &mut self,
        left: Term<&'s str>,
        operator: BinaryOp<&'s str>,
        right: Term<&'s str>,
    ) -> Terms<'s> {
        use BinaryOp as Op;
        Ok(match operator {
            Op::Pipe(None) => then(self.term(left)?, self.term(right)?),
            Op::Pipe(Some(pattern)) => {
                let (left, pattern) = (self.read(left)?, self.pattern(pattern)?);
                operation(left, Op::Pipe(Some(pattern)), self.term(right)?)
            }
            Op::Comma | Op::Alt => operation(self.term(left)?, operator, self.term(right)?),
            Op::Or | Op::And => operation(self.read(left)?, operator, self.read(right)?),
            // A string times a number is as long as the number is large.
            Op::Math(Math::Mul) => {
                let (left, right) = (charged(self.read(left)?), charged(self.read(right)?));
                let product = with_variable(LEFT, left, |left| {
                    with_variable(RIGHT, right, |right| then(left, product_with(right)))
                });
                charged(product)
            }
            Op::Math(_) => {
                let (left, right) = (charged(self.read(left)?), charged(self.read(right)?));
                charged(operation(left, operator, right))
            }
            Op::Cmp(_) => {
                let (left, right) = (charged(self.read(left)?), charged(self.read(right)?));
                operation(left, operator, right)
            }
            Op::UpdateMath(Math::Mul) => {
                let (left, right) = (self.assigned(left)?, charged(self.read(right)?));
                with_variable(RIGHT, right, |right| {
                    let updated = operation(left, Op::Update, product_with(right));
                    charged(then(call(CHARGE), updated))
                })
            }
            Op::Assign | Op::Update | Op::UpdateMath(_) | Op::UpdateAlt => {
                let right = charged(self.read(right)?);
                let updated = operation(self.assigned(left)?, operator, right);
                charged(then(call(CHARGE), updated))
            }
        })
    }

    fn pattern(&mut self, pattern: Pattern<&'s str>) -> Result<Pattern<&'s str>, JqProblem> {
        Ok(match pattern {
            Pattern::Var(_) => pattern,
            Pattern::Arr(patterns) => {
                let patterns = patterns.into_iter().map(|pattern| self.pattern(pattern));
                Pattern::Arr(patterns.collect::<Result<_, _>>()?)
            }
            Pattern::Obj(fields) => {
                let fields = fields
                    .into_iter()
                    .map(|(key, pattern)| Ok((self.read(key)?, self.pattern(pattern)?)));
                Pattern::Obj(fields.collect::<Result<_, JqProblem>>()?)
            }
        })
    }

    fn part(&mut self, part: Part<Term<&'s str>>) -> Result<Part<Term<&'s str>>, JqProblem> {
        let mut end = |term: Option<Term<&'s str>>| term.map(|term| self.read(term)).transpose();
        Ok(match part {
            Part::Range(from, to) => Part::Range(end(from)?, end(to)?),
            Part::Index(term) => Part::Index(self.read(term)?),
        })
    }

    fn definitions(&mut self, definitions: Vec<Def<&'s str>>, within: Term<&'s str>) -> Terms<'s> {
        let outer = self.own.len();
        let mut metered = Vec::with_capacity(definitions.len());
        for Def { name, args, body } in definitions {
            let known = self.own.len();
            self.own.push((name, args.len(), true));
            let functions = args.iter().filter(|argument| !argument.starts_with('$'));
            self.own
                .extend(functions.map(|argument| (*argument, 0, false)));
            let body = self.read(body)?;
            self.own.truncate(known);
            self.own.push((name, args.len(), false));
            metered.push(Def { name, args, body });
        }
        let within = self.term(within);
        self.own.truncate(outer);
        Ok(Term::Def(metered, Box::new(within?)))
    }

    fn call(&mut self, name: &'s str, arguments: Vec<Term<&'s str>>) -> Terms<'s> {
        let arity = arguments.len();
        let is_it = |(own, takes, _): &&(&str, usize, bool)| *own == name && *takes == arity;
        match self.own.iter().rev().find(is_it) {
            Some((_, _, true)) => return Err(JqProblem::Recursive(name.to_owned())),
            // What it gives need not be a path, and may be a fold.
            Some(_) if self.is_assigned => return Err(JqProblem::Assignment),
            Some(_) => return Ok(charged(Term::Call(name, self.all(arguments)?))),
            None => self.check_available(name, arity)?,
        }
        self.reads_any |= name == "walk" || self.names.is_empty() && PARTS.contains(&name);
        let takes_expression = EXPRESSIONS.contains(&name) || (name, arity) == ("split", 2);
        let states = takes_expression.then(|| states_of(name, &arguments));
        let states = states.transpose()?;
        let metered = arguments.into_iter().map(|argument| match name {
            "del" => self.assigned(argument),
            name if PATHS.contains(&name) => self.term(argument),
            _ => Ok(charged(self.read(argument)?)),
        });
        let arguments: Vec<_> = metered.collect::<Result<_, _>>()?;
        let called = match name {
            _ if let Some(states) = states => {
                let charge = Term::Call(CHARGE_MATCH, vec![Term::Num(states)]);
                then(charge, Term::Call(name, arguments))
            }
            "join" => with_first(CHARGE_JOIN, name, arguments),
            _ if SEARCHES.contains(&name) => with_first(CHARGE_SEARCH, name, arguments),
            "transpose" => then(call(CHARGE_TABLE), Term::Call(name, arguments)),
            _ if ENTRIES.contains(&name) => then(call(CHARGE_ENTRIES), Term::Call(name, arguments)),
            _ if READERS.contains(&name) => then(call(CHECK_JSON), Term::Call(name, arguments)),
            _ => Term::Call(name, arguments),
        };
        Ok(charged(then(call(CHARGE), called)))
    }

    fn check_available(&self, name: &str, arity: usize) -> Result<(), JqProblem> {
        let mut known = FUNCTIONS.iter();
        match known.any(|(known, arities)| *known == name && arities.contains(&arity)) {
            true => Ok(()),
            false => Err(JqProblem::Unavailable(name.to_owned(), arity)),
        }
    }
}

/// How many states the regular expression of a call has. It is compiled at each call, so one that cannot be compiled would
/// fail for every message.
fn states_of(name: &str, arguments: &[Term<&str>]) -> Result<&'static str, JqProblem> {
    let not_in_program = || JqProblem::Expression(name.to_owned());
    let expression = arguments.first().and_then(text_in_program);
    let expression = expression.ok_or_else(not_in_program)?;
    let has_replacement = matches!(name, "sub" | "gsub");
    let flags = arguments.get(if has_replacement { 2 } else { 1 });
    let flags = match flags.map(text_in_program) {
        Some(Some(flags)) => flags,
        Some(None) if has_replacement => return Err(not_in_program()),
        Some(None) | None => String::new(),
    };
    let states = regex::states(&expression, &flags);
    states.ok_or_else(|| JqProblem::Regex {
        function: name.to_owned(),
        expression,
    })
}

/// The text of a string that the program contains; `None` if it depends on the message.
fn text_in_program(term: &Term<&str>) -> Option<String> {
    let Term::Str(None, parts) = term else {
        return None;
    };
    let mut text = String::new();
    for part in parts {
        match part {
            StrPart::Str(part) => text.push_str(part),
            StrPart::Char(char) => text.push(*char),
            StrPart::Term(_) => return None,
        }
    }
    Some(text)
}

fn call(name: &'static str) -> Term<&'static str> {
    Term::Call(name, Vec::new())
}

fn operation<'s>(
    left: Term<&'s str>,
    operator: BinaryOp<&'s str>,
    right: Term<&'s str>,
) -> Term<&'s str> {
    Term::BinOp(Box::new(left), operator, Box::new(right))
}

/// `first | second`
fn then<'s>(first: Term<&'s str>, second: Term<&'s str>) -> Term<&'s str> {
    operation(first, BinaryOp::Pipe(None), second)
}

/// A term whose values are charged, unless the program contains the value.
fn charged(term: Term<&str>) -> Term<&str> {
    match term {
        Term::Num(_) => term,
        _ => then(term, call(CHARGE)),
    }
}

/// `term as $variable | …`
fn with_variable<'s>(
    variable: &'static str,
    term: Term<&'s str>,
    within: impl FnOnce(Term<&'s str>) -> Term<&'s str>,
) -> Term<&'s str> {
    let pattern = BinaryOp::Pipe(Some(Pattern::Var(variable)));
    operation(term, pattern, within(Term::Var(variable)))
}

/// A call at a cost that depends on its first argument too.
fn with_first<'s>(
    charge: &'static str,
    name: &'s str,
    mut arguments: Vec<Term<&'s str>>,
) -> Term<&'s str> {
    let first = arguments.remove(0);
    with_variable(RIGHT, first, |first| {
        arguments.insert(0, first.clone());
        let called = Term::Call(name, arguments);
        then(Term::Call(charge, vec![first]), called)
    })
}

/// `. * factor`, at the cost of the product.
fn product_with(factor: Term<&str>) -> Term<&str> {
    let product = operation(Term::Id, BinaryOp::Math(Math::Mul), factor.clone());
    then(Term::Call(CHARGE_PRODUCT, vec![factor]), product)
}
