//! `jq`: programs that shape the body or give the value of a column. Language: <https://jqlang.org/manual/v1.7/>,
//! as jaq implements it.
//!
//! `metered` checks a program when the mapping is read, and rewrites it so that it counts its work; `json` is the way
//! from a JSON text to the values of a program and back. A program reads its input and nothing else, and it ends: what
//! could run for ever is refused when the mapping is read, and what grows with the message stops at [`MAX_WORK`].

mod cost;
mod json;
mod metered;
mod regex;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use jaq_core::data::HasLut;
use jaq_core::load::parse::Def;
use jaq_core::load::{Arena, File, Loader, parse};
use jaq_core::{Compiler, Ctx, DataT, Filter, Lut, Vars};
use jaq_json::Val;

pub(crate) use json::{Output, json_of, read};
pub use metered::JqProblem;

/// The most work that the programs of a mapping do for one message: a value that is read or made costs 32, and each
/// byte of a string costs one. It bounds the time to about a second, and the memory to about 64 MiB.
const MAX_WORK: u64 = 64 << 20;

/// The largest JSON text that a program reads, in bytes: the largest message of SQS.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// The deepest nesting of a value. jaq calls itself for each level, and the stack is finite.
const MAX_NESTING: usize = 128;

/// The most digits of a number that is read: the time that it takes grows with their square.
const MAX_DIGITS: usize = 1_000;

/// Where jaq would give something else than jq without an error: `join` writes null as `""`, `flatten(1)` of an empty
/// array is one, `scan` gives all groups of an expression that has any, `from_entries` reads the `Key` and `Value` of
/// AWS, `todate` drops the fraction of a second, the `length` of the least integer is not negative, and a negative
/// number is not a character.
const DEFINITIONS: &str = r#"
def from_entries:
  reduce (
    .[] | {(.key // .name // .Name // .Key): (if has("value") then .value else .Value end)}
  ) as $entry ({}; . + $entry);
def with_entries(f): to_entries | map(f) | from_entries;
def date_of: todateiso8601;
def todateiso8601: floor | date_of;
def todate: todateiso8601;
def length_of: length;
def length: if isnumber then abs else length_of end;
def text_of: implode;
def implode: if all(.[]; isnumber and . >= 0) then text_of else error("not characters") end;
def join($s):
  .[] |= (if . == null then "" elif . >= [] then error("not a scalar") else tostring end)
  | .[:-1][] += $s
  | reduce .[] as $x (""; . + $x);
def flatten($d):
  if $d < 0 then error("negative depth")
  elif $d > 0 then map(if isarray then flatten($d - 1) else [.] end) | add + []
  end;
def scan(re; flags):
  matches(re; "g" + flags)[] | [.[].string] | if length > 1 then .[1:] else .[0] end;
def scan(re): scan(re; "");
"#;

/// A program of the mapping, compiled when the mapping is read.
#[derive(Clone)]
pub struct Jq {
    text: String,
    /// Every field that it names, and every other string in it.
    names: Vec<String>,
    /// Whether it reads fields without naming any.
    reads_any: bool,
    /// Whether it reads `$body`.
    pub(crate) reads_body: bool,
    /// Whether it reads `$parent`.
    pub(crate) reads_parent: bool,
    pub(crate) program: Arc<Program>,
}

/// What is compiled depends on the text alone.
impl PartialEq for Jq {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Jq {}

impl fmt::Debug for Jq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Jq").field(&self.text).finish()
    }
}

/// Why a program gives no value for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JqFault {
    /// It fails: an operation does not fit the values that it finds.
    Fails,
    /// It gives more than one value.
    Several,
    /// Its input is larger than a program reads, in bytes.
    TooLarge(usize),
    /// It takes more work than a message may.
    TooMuch,
    /// It gives a value that JSON does not have.
    NotJson,
    /// Its input holds half of a surrogate pair.
    LoneSurrogate,
}

impl fmt::Display for JqFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fails => f.write_str("the jq program fails on it: correct the program, for example by \"?\" or \"//\" where a value may be missing, or the producer"),
            Self::Several => f.write_str("the jq program gives several values: take one by first(…), or collect them by […]"),
            Self::TooLarge(bytes) => write!(f, "the jq program reads at most {} MiB: split the message", bytes >> 20),
            Self::TooMuch => f.write_str("the jq program takes too much work, or nests too deeply: split the message, or simplify the program"),
            Self::NotJson => f.write_str("the jq program gives a value that JSON does not have, such as nan: correct the program"),
            Self::LoneSurrogate => f.write_str("the jq program reads half of a surrogate pair: fix the producer"),
        }
    }
}

impl Jq {
    /// Checks a program.
    ///
    /// # Errors
    /// The first thing in it that is not allowed, or not jq.
    pub(crate) fn parse(text: String) -> Result<Self, JqProblem> {
        let metered = metered::parse(&text)?;
        let names = metered.names.iter().map(|name| (*name).to_owned());
        Ok(Self {
            names: names.collect(),
            reads_any: metered.reads_any,
            reads_body: metered.reads("$body"),
            reads_parent: metered.reads("$parent"),
            program: Arc::new(Program::compile(metered)?),
            text,
        })
    }

    /// The program without line breaks and indentation, for people.
    pub(crate) fn in_one_line(&self) -> String {
        self.text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Whether it may read a field: because it names it, or reads fields whatever their names are.
    pub(crate) fn may_read(&self, field: &str) -> bool {
        self.reads_any || self.names.iter().any(|name| name == field)
    }
}

/// What the programs of a mapping may still do for a message.
pub(crate) struct Work(Cell<u64>);

impl Default for Work {
    fn default() -> Self {
        Self(Cell::new(MAX_WORK))
    }
}

impl Work {
    /// Takes what a value costs, and says whether that much was left.
    fn take(&self, cost: u64) -> bool {
        let left = self.0.get().checked_sub(cost);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

/// A program that is ready to run.
pub(crate) struct Program(Filter<Metered>);

/// The values that a program starts from. A variable that it does not read is null.
#[derive(Default)]
pub(crate) struct Inputs {
    /// `.`
    pub(crate) own: Val,
    /// `$body`
    pub(crate) body: Val,
    /// `$parent`
    pub(crate) parent: Val,
}

/// Values of jaq, and the work that is left.
pub(crate) struct Metered;

impl DataT for Metered {
    type V<'a> = Val;
    type Data<'a> = Running<'a>;
}

#[derive(Clone, Copy)]
pub(crate) struct Running<'a> {
    lut: &'a Lut<Metered>,
    work: &'a Work,
}

impl<'a> HasLut<'a, Metered> for Running<'a> {
    fn lut(&self) -> &'a Lut<Metered> {
        self.lut
    }
}

impl Program {
    fn compile(metered: metered::Program<'_>) -> Result<Self, JqProblem> {
        let known = jaq_core::defs().chain(jaq_std::defs());
        let known = known.chain(jaq_json::defs());
        let own = parse(DEFINITIONS, |parser| parser.defs()).unwrap_or_default();
        let mut definitions: Vec<Def<&str>> = known.chain(own).collect();
        definitions.push(metered.into_definition());
        let arena = Arena::default();
        let main = File {
            code: metered::CALL,
            path: (),
        };
        let modules = Loader::new(definitions).load(&arena, main);
        let modules = modules.map_err(|_| JqProblem::Unreadable)?;
        let natives = jaq_core::funs()
            .chain(jaq_std::funs().filter(|(name, ..)| !regex::REPLACED.contains(name)))
            .chain(jaq_json::funs())
            .chain(regex::natives())
            .chain(cost::natives());
        let compiled = Compiler::default()
            .with_funs(natives)
            .with_global_vars(metered::VARIABLES)
            .compile(modules);
        compiled.map(Self).map_err(|errors| {
            let mut unknown = errors.into_iter().flat_map(|(_, unknown)| unknown);
            unknown
                .next()
                .map_or(JqProblem::Unreadable, |(name, what)| {
                    JqProblem::Undefined(what.as_str(), name.to_owned())
                })
        })
    }

    /// The value that it gives; `None` if it gives none.
    pub(crate) fn value(&self, inputs: Inputs, work: &Work) -> Result<Option<Val>, JqFault> {
        let mut values = self.values(inputs, work)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(JqFault::Several),
        }
    }

    /// All values that it gives.
    pub(crate) fn values(&self, inputs: Inputs, work: &Work) -> Result<Vec<Val>, JqFault> {
        let running = Running {
            lut: &self.0.lut,
            work,
        };
        let variables = Vars::new([inputs.body, inputs.parent]);
        let context = Ctx::<Metered>::new(running, variables);
        let given = self.0.id.run((context, inputs.own));
        let values: Result<Vec<Val>, _> = given.collect();
        match values {
            _ if work.is_spent() => Err(JqFault::TooMuch),
            Ok(values) => Ok(values),
            Err(_) => Err(JqFault::Fails),
        }
    }
}

#[cfg(test)]
mod tests;
