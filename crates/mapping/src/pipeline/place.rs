//! Where in the file a mistake or a column is, for those who show the line.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{PipelineError, Problem};

impl PipelineError {
    /// The part of the file that the mistake is about, in bytes: the value of a word, or else the name of the column or
    /// table. `None` if the file has none of these, for example because it has changed.
    pub fn span(&self, text: &str) -> Option<Range<usize>> {
        if let Problem::Toml { span, .. } = &self.problem {
            return Some(span.clone()).filter(|span| text.get(span.clone()).is_some());
        }
        let file = DeTable::parse(text).ok()?;
        let file = file.get_ref();
        let table = self.table.as_deref();
        let table = table.and_then(|name| named(file, "table", name));
        let of = table.unwrap_or(file);
        let column = self.column.as_deref();
        let column = column.and_then(|name| named(of, "column", name));
        let word = self.problem.word();
        let places = [column, table, Some(file)];
        let with_word = places.iter().flatten().find_map(|place| place.get(word));
        let names = [column, table];
        let name = || names.iter().flatten().find_map(|place| place.get("name"));
        with_word.or_else(name).map(Spanned::span)
    }
}

/// Where the columns of a mapping are in its text.
pub struct Places<'t>(DeTable<'t>);

impl<'t> Places<'t> {
    /// `None` if the text is not TOML.
    pub fn of(text: &'t str) -> Option<Self> {
        Some(Self(DeTable::parse(text).ok()?.into_inner()))
    }

    /// The name of a column, in bytes. `table` is as [`Table::unquoted`](super::Table::unquoted) writes it.
    pub fn column(&self, table: &str, column: &str) -> Option<Range<usize>> {
        let of = named(&self.0, "table", table).unwrap_or(&self.0);
        let name = named(of, "column", column)?.get("name");
        name.map(Spanned::span)
    }
}

/// The last entry of a list that has this name: of two, the second one is the mistake.
fn named<'t, 'i>(of: &'t DeTable<'i>, list: &str, name: &str) -> Option<&'t DeTable<'i>> {
    let entries = of.get(list)?.get_ref().as_array()?;
    let mut entries = entries
        .iter()
        .filter_map(|entry| entry.get_ref().as_table());
    let has_name = |entry: &&DeTable<'i>| {
        let found = entry.get("name").map(Spanned::get_ref);
        found.and_then(DeValue::as_str) == Some(name)
    };
    entries.rfind(has_name)
}

impl Problem {
    /// The word of the mapping whose value is at fault; if it is missing, the one beside which it should be.
    fn word(&self) -> &'static str {
        match self {
            Self::NoFile | Self::Unreadable(_) | Self::Toml { .. } => "",
            Self::NoTable => "table",
            Self::Identifier { .. }
            | Self::TableParts(_)
            | Self::DuplicateTable
            | Self::DuplicateColumn
            | Self::SystemColumn(_) => "name",
            Self::UnknownParent(_) | Self::ParentLater(_) => "parent",
            Self::DecidedByParent(word)
            | Self::NeverMatches { word, .. }
            | Self::UnknownWord { word, .. }
            | Self::NotOneWord { word, .. }
            | Self::WordTakes { word, .. }
            | Self::NotAPath(word, _)
            | Self::SpellingType(word, _)
            | Self::SpellingOn(word, _) => word,
            Self::ChildKey(..)
            | Self::NoKey
            | Self::TooManyKeyColumns(_)
            | Self::UnknownKey(_)
            | Self::DuplicateKey => "key",
            Self::DeleteWithoutUpdate => "delete_when",
            Self::TombstoneWithoutDelete
            | Self::TombstoneWithoutNewer
            | Self::SystemTombstone(_)
            | Self::MappedTombstone => "deleted",
            Self::UnknownUnmatched(_) | Self::UnmatchedNoEffect => "unmatched",
            Self::ChildKeyDiffers(..)
            | Self::NoSuchParent(_)
            | Self::NoElement(_)
            | Self::NoSource
            | Self::EmptyStep(_)
            | Self::PlainMark(_)
            | Self::Quotes(_)
            | Self::Unreachable { .. }
            | Self::AttributeName(_)
            | Self::UnknownMetadata(_)
            | Self::NeedsEnvelope(..)
            | Self::StoredInClear(_)
            | Self::ReceiveCountKey
            | Self::NewerReceiveCount
            | Self::KeyIdNoEffect => "from",
            Self::ExceptNoEffect => "except",
            Self::NoColumn | Self::TooManyColumns(_) => "column",
            Self::NullableKey | Self::UnsignedOrigin => "name",
            Self::DefaultKey | Self::RequiredAndDefault | Self::Default(_) => "default",
            Self::KeyType(_)
            | Self::NewerType(_)
            | Self::UnknownType(_)
            | Self::MetadataType { .. }
            | Self::MaskType(_)
            | Self::MaskWidth { .. } => "type",
            Self::NewerWithoutUpdate | Self::UnknownNewer(_) | Self::NewerKey => "newer",
            Self::ClearNoEffect => "clear",
            Self::TrustNoEffect => "trust_origin",
            Self::UnknownOnConflict(_) => "on_conflict",
            Self::UnknownEnvelope(_) => "envelope",
            Self::UnknownEncoding(_) => "encoding",
            Self::BucketName(_) | Self::NoBucket => "s3_pointers",
            Self::UnknownFormat(_) | Self::LinesWithoutEach => "body",
            Self::BodyWithin => "each",
            Self::Jq(_) | Self::JqAndFrom => "jq",
            Self::UnknownTransform(_)
            | Self::TransformOn(..)
            | Self::TransformType(..)
            | Self::BesideJson(_) => "transform",
            Self::UnknownUnit(_) | Self::DaysOfTime | Self::UnitAndFormat => "unit",
            Self::UnitAndZone | Self::ZoneType(_) | Self::UnknownZone(_) => "zone",
            Self::Format(..) => "format",
            Self::Cast(_) | Self::NativeCast(..) | Self::CastOn(_) | Self::CastOfToken(_) => "cast",
            Self::NoNullIf | Self::NullIfValue | Self::NullIfNoEffect => "null_if",
            Self::UnknownOnNull(_)
            | Self::KeepWithoutUpdate
            | Self::KeepInChild
            | Self::KeepNewer
            | Self::KeepNoEffect => "on_null",
            Self::UnknownMask(_) | Self::Base64Mask | Self::Key(_) => "mask",
        }
    }
}
