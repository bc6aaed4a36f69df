//! `zone`: local times → instants.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::text::similar;

/// A time zone of the IANA database, as it was when this program was built: no file is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone);

/// Why a local time of a zone is not one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalTime {
    /// The clocks were set forward over it.
    Skipped,
    /// It occurs twice, because the clocks were set back.
    Repeated,
}

impl Zone {
    /// `None` if the database has no zone of this name. `Etc/Unknown` and `Factory` stand for a zone that nobody has
    /// set, and would be read as UTC.
    /// Source: <https://github.com/eggert/tz/blob/main/factory>.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        let is_set = !zone.is_unknown() && zone.iana_name() != Some("Factory");
        is_set.then_some(Self(zone))
    }

    /// The zone that was probably meant by the name of an unknown one.
    pub(crate) fn meant(name: &str) -> Option<String> {
        let database = TimeZoneDatabase::bundled();
        let known: Vec<_> = database.available().map(|name| name.to_string()).collect();
        similar(name, known.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Its name in the database.
    pub fn as_str(&self) -> &str {
        self.0.iana_name().unwrap_or_default()
    }

    /// By how many seconds its clocks are ahead of UTC when they show a time.
    pub(super) fn offset_secs(&self, local: DateTime) -> Result<i64, LocalTime> {
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => Ok(offset.seconds().into()),
            AmbiguousOffset::Gap { .. } => Err(LocalTime::Skipped),
            AmbiguousOffset::Fold { .. } => Err(LocalTime::Repeated),
        }
    }
}
