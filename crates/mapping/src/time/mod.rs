//! `unit`, `format`, `zone`: how the times of a column are written, and times as text → moments.
//!
//! Without these words, [`plain`] reads the spellings of Postgres.

mod format;
pub(crate) mod plain;
mod unit;
mod zone;

use jiff::SignedDuration;
use jiff::civil::{DateTime, Time, datetime};

pub use format::{FormatMistake, TimeFormat};
pub use unit::Unit;
pub use zone::{LocalTime, Zone};

/// Postgres counts days and microseconds from here.
/// Source: <https://www.postgresql.org/docs/18/datatype-datetime.html>, `POSTGRES_EPOCH_JDATE`.
pub(crate) const EPOCH: DateTime = datetime(2000, 1, 1, 0, 0, 0, 0);
const UNIX_EPOCH: DateTime = datetime(1970, 1, 1, 0, 0, 0, 0);

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// The types of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeType {
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `timestamp`.
    Timestamp,
    /// `timestamptz`.
    TimestampTz,
}

impl TimeType {
    /// A valid text.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Date => "2026-11-02",
            Self::Time => "09:00:00",
            Self::Timestamp => "2026-11-02T09:00:00",
            Self::TimestampTz => "2026-11-02T09:00:00Z",
        }
    }
}

/// How the times of a column are written, if not as Postgres writes them.
#[derive(Debug, Clone, PartialEq)]
pub enum TimeSpelling {
    /// `unit`: as numbers.
    Unit(Unit),
    /// `format`, perhaps with `zone`: as text in this format.
    Format(TimeFormat),
    /// `zone` alone: as Postgres writes them, where those without an offset are local times of the zone.
    Zone(Zone),
}

impl TimeSpelling {
    /// The words of the mapping and their values.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let (first, zone) = match self {
            Self::Unit(unit) => (Some(("unit", unit.as_str())), None),
            Self::Format(format) => (Some(("format", format.as_str())), format.zone()),
            Self::Zone(zone) => (None, Some(zone)),
        };
        first
            .into_iter()
            .chain(zone.map(|zone| ("zone", zone.as_str())))
    }
}

/// A moment: an instant in UTC, a date and time of day without an offset as if in UTC, or a time of day as if of
/// 2000-01-01.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moment {
    /// The whole seconds since 2000-01-01, in microseconds.
    second: i64,
    /// The microseconds after it: a million if the fraction is rounded up to the next second.
    fraction: i64,
}

/// Why a text is not a time.
#[derive(Debug, PartialEq)]
pub(crate) enum Misread {
    /// It is not spelled like one.
    Spelling,
    /// Not one instant.
    LocalTime(LocalTime),
}

impl Moment {
    pub(crate) fn of_micros(micros: i64) -> Self {
        let fraction = micros.rem_euclid(MICROS_PER_SECOND);
        Self {
            second: micros.saturating_sub(fraction),
            fraction,
        }
    }

    /// `None` if it is too far away for 64 bits.
    pub(crate) fn of_unix_micros(micros: i64) -> Option<Self> {
        micros
            .checked_add(micros_since_epoch(UNIX_EPOCH))
            .map(Self::of_micros)
    }

    /// A date and time of day, in whole seconds, where clocks are ahead of UTC by this many seconds.
    fn at(local: DateTime, offset_secs: i64, fraction: i64) -> Self {
        Self {
            second: micros_since_epoch(local) - offset_secs * MICROS_PER_SECOND,
            fraction,
        }
    }

    /// Microseconds since 2000-01-01; `None` before the year 1 and after 9999.
    pub(crate) fn micros(self) -> Option<i64> {
        within_years(self.second + self.fraction)
    }

    /// Days since 2000-01-01; `None` before the year 1 and after 9999.
    pub(crate) fn day(self) -> Option<i32> {
        let days = within_years(self.second)?.div_euclid(MICROS_PER_DAY);
        i32::try_from(days).ok()
    }

    /// Whether the first second of a month begins with it.
    fn begins_month(self) -> bool {
        let since = SignedDuration::from_micros(self.second + self.fraction);
        let is_first = |time: DateTime| time.day() == 1 && time.time() == Time::midnight();
        EPOCH.checked_add(since).is_ok_and(is_first)
    }
}

fn within_years(micros: i64) -> Option<i64> {
    const DAYS_SINCE_YEAR_1: i64 = 730_119;
    const DAYS_TO_YEAR_10000: i64 = 2_921_940;
    let years = -DAYS_SINCE_YEAR_1 * MICROS_PER_DAY..DAYS_TO_YEAR_10000 * MICROS_PER_DAY;
    years.contains(&micros).then_some(micros)
}

/// Microseconds from 2000-01-01 to the second of a date and time.
fn micros_since_epoch(time: DateTime) -> i64 {
    time.duration_since(EPOCH).as_secs() * MICROS_PER_SECOND
}
