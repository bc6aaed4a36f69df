//! Where a column's value comes from: a path into the body or an element of it, or what is known of the message.

use std::fmt;

use super::{Path, Problem};
use crate::jq::Jq;
use crate::message::{Envelope, Metadata, TypeCheck};
use crate::text::Word as _;
use crate::types::ColumnType;

/// What a path from the top of the body begins with.
const TOP: &str = "$.";
/// What a path from the row of the parent table begins with, once for each generation.
const PARENT: &str = "^.";
const INDEX: &str = "@index";
const ELEMENT: &str = "@element";
const REST: &str = "@rest";
/// What a rejection calls the source of a value that a program gives.
pub(crate) const JQ: &str = "jq";

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path from where the row begins: below `root`, or in the element that `each` makes a row of.
    Path(Path),
    /// `$.`: a path from the top of the body.
    Top(Path),
    /// `^.`: a path from where the row of the parent table begins, or of that one's parent, and so on.
    Parent(usize, Path),
    /// `@index`: the position of the element, from 0; with `^.`, the position of the parent's element, and so on.
    Index(usize),
    /// `@element`: the whole element that the row is made of, whether it has fields or not.
    Element,
    /// `@rest`: every field where the row begins that no path of the mapping touches.
    Rest,
    /// What SQS or the envelope says about the message.
    Metadata(Metadata),
    /// What a program makes of where the row begins.
    Jq(Jq),
}

impl Source {
    pub(super) fn parse(from: &str) -> Result<Self, Problem> {
        if let Some(path) = from.strip_prefix(TOP) {
            return Path::parse(path).map(Self::Top);
        }
        let rest = from.trim_start_matches(PARENT);
        let generations = (from.len() - rest.len()) / PARENT.len();
        match rest {
            INDEX => Ok(Self::Index(generations)),
            ELEMENT if generations == 0 => Ok(Self::Element),
            REST if generations == 0 => Ok(Self::Rest),
            _ if rest.starts_with('@') => match Metadata::parse(from) {
                Some(metadata) if metadata.is_impossible() => {
                    Err(Problem::AttributeName(from.to_owned()))
                }
                Some(metadata) => Ok(Self::Metadata(metadata)),
                None => Err(Problem::UnknownMetadata(from.to_owned())),
            },
            _ if generations > 0 => Path::parse(rest).map(|path| Self::Parent(generations, path)),
            _ => Path::parse(rest).map(Self::Path),
        }
    }

    /// The names of all metadata, with commas between them.
    pub(super) fn list_of_metadata() -> String {
        format!("{}, {INDEX}, {ELEMENT}, {REST}", Metadata::list())
    }

    /// Whether it exists in the envelope of the mapping.
    pub(super) fn check_envelope(&self, envelope: Envelope) -> Result<(), Problem> {
        let needed = match self {
            Self::Metadata(metadata) => metadata.envelope(),
            Self::Path(_) | Self::Top(_) | Self::Parent(..) => None,
            Self::Index(_) | Self::Element | Self::Rest | Self::Jq(_) => None,
        };
        match needed.filter(|&needed| needed != envelope) {
            Some(needed) => Err(Problem::NeedsEnvelope(self.to_string(), needed)),
            None => Ok(()),
        }
    }

    /// The types that a column of it can have, in words and as a check; `None`: any, as it depends on the message.
    pub(super) fn types(&self) -> Option<(&'static str, TypeCheck)> {
        match self {
            Self::Path(_) | Self::Top(_) | Self::Parent(..) => None,
            Self::Element | Self::Jq(_) => None,
            Self::Index(_) => Metadata::ReceiveCount.types(),
            Self::Rest => Some(("jsonb", |column_type| column_type == ColumnType::Jsonb)),
            Self::Metadata(metadata) => metadata.types(),
        }
    }

    /// Whether its values can be strings, on which transforms work.
    pub(super) fn may_be_text(&self) -> bool {
        match self {
            Self::Path(_) | Self::Top(_) | Self::Parent(..) => true,
            Self::Element | Self::Jq(_) => true,
            Self::Index(_) | Self::Rest => false,
            Self::Metadata(metadata) => metadata.is_text(),
        }
    }

    pub(super) fn is_never_null(&self) -> bool {
        match self {
            Self::Path(_) | Self::Top(_) | Self::Parent(..) => false,
            Self::Element | Self::Jq(_) => false,
            Self::Index(_) | Self::Rest => true,
            Self::Metadata(metadata) => metadata.is_never_null(),
        }
    }
}

/// As the mapping writes it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Top(path) => write!(f, "{TOP}{path}"),
            Self::Parent(generations, path) => write!(f, "{}{path}", PARENT.repeat(*generations)),
            Self::Index(generations) => write!(f, "{}{INDEX}", PARENT.repeat(*generations)),
            Self::Element => f.write_str(ELEMENT),
            Self::Rest => f.write_str(REST),
            Self::Metadata(metadata) => metadata.fmt(f),
            Self::Jq(jq) => write!(f, "{JQ} {}", jq.in_one_line()),
        }
    }
}
