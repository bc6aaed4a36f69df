//! `format`: times as text in a format of strptime.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZoneDatabase;
use thiserror::Error;

use super::{EPOCH, Misread, Moment, TimeType, Zone};

/// Every format has to write it so that it can be read again. It is in the afternoon, because a format with `%I` needs
/// `%p`, and no two of its numbers are equal.
const SAMPLE: DateTime = jiff::civil::datetime(2026, 11, 23, 21, 48, 37, 250_000_000);
const ZONE_OF_SAMPLE: &str = "Europe/Zurich";

/// A format in which texts are times of a type.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeFormat {
    format: String,
    zone: Option<Zone>,
    example: Box<str>,
}

/// Why texts in a format are not times of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum FormatMistake {
    #[error(
        "has a directive that cannot be read: use those of strptime for numbers and English names, such as %Y, %m, %d, %b, %H, %M, %S, %.f, %I, %p and %z"
    )]
    Unreadable,
    #[error("has %s, a number of seconds: replace format with unit = \"s\"")]
    Number,
    #[error("has the name of a zone without an offset: add %z, or replace %Q with zone")]
    ZoneName,
    #[error("does not lead to a day: add %Y, %m and %d")]
    NoDay,
    #[error(
        "does not lead to a time of day: add %H, or %I with %p, and what the values have of %M and %S"
    )]
    NoTime,
    #[error(
        "has no offset from UTC: add %z where the values have it, or name their zone, for example zone = \"UTC\""
    )]
    NoOffset,
    #[error(
        "has an offset from UTC, which the type of the column does not have: use type timestamptz"
    )]
    Offset,
    #[error("has an offset from UTC, so zone has no effect: remove zone")]
    OffsetAndZone,
}

impl TimeFormat {
    /// A format for a column of a type, or for arrays of it.
    ///
    /// # Errors
    /// What is wrong with the format.
    pub(crate) fn new(
        format: String,
        zone: Option<Zone>,
        time_type: TimeType,
    ) -> Result<Self, FormatMistake> {
        let example = sample(&format).ok_or(FormatMistake::Unreadable)?;
        let read = strtime::parse(&format, &example).map_err(|_| FormatMistake::Unreadable)?;
        check(&read, zone.is_some(), time_type)?;
        let example = example.into_boxed_str();
        Ok(Self {
            format,
            zone,
            example,
        })
    }

    /// As the mapping writes it.
    pub fn as_str(&self) -> &str {
        &self.format
    }

    /// The zone of its times.
    pub fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    /// A text in this format.
    pub(crate) fn example(&self) -> &str {
        &self.example
    }

    pub(crate) fn read(&self, text: &str, time_type: TimeType) -> Result<Moment, Misread> {
        let read = strtime::parse(&self.format, text).map_err(|_| Misread::Spelling)?;
        if self.has_leap_second(&read, text) {
            return Err(Misread::Spelling);
        }
        let time = read.to_time().map_err(|_| Misread::Spelling)?;
        let date = match time_type {
            TimeType::Time => EPOCH.date(),
            TimeType::Date | TimeType::Timestamp | TimeType::TimestampTz => {
                day_as_written(&read, text).ok_or(Misread::Spelling)?
            }
        };
        let second = time.with().subsec_nanosecond(0).build();
        let local = date.to_datetime(second.map_err(|_| Misread::Spelling)?);
        let offset_secs = match (&self.zone, read.offset()) {
            (Some(zone), _) => zone.offset_secs(local).map_err(Misread::LocalTime)?,
            (None, Some(offset)) => offset.seconds().into(),
            (None, None) => 0,
        };
        let fraction = micros_of(time.subsec_nanosecond());
        Ok(Moment::at(local, offset_secs, fraction))
    }

    /// jiff reads 60 seconds as 59. Another second in its place shows that it did.
    fn has_leap_second(&self, read: &BrokenDownTime, text: &str) -> bool {
        if read.second() != Some(59) || !text.contains("60") {
            return false;
        }
        let other = strtime::parse(&self.format, text.replace("60", "58"));
        other.is_ok_and(|other| other.second() != Some(59))
    }
}

/// The day. `26` for `%Y` would be the year 26, which nobody means.
fn day_as_written(read: &BrokenDownTime, text: &str) -> Option<Date> {
    let date = read.to_date().ok()?;
    let is_written = || text.contains(&format!("{:04}", date.year()));
    (date.year() >= 1_000 || is_written()).then_some(date)
}

/// Nanoseconds in microseconds, rounded half to even.
fn micros_of(nanos: i32) -> i64 {
    let (micros, rest) = (i64::from(nanos / 1_000), nanos % 1_000);
    let is_up = rest > 500 || rest == 500 && micros % 2 == 1;
    micros + i64::from(is_up)
}

/// The sample in a format; `None` if it has a directive that is unknown.
fn sample(format: &str) -> Option<String> {
    let zone = TimeZoneDatabase::bundled().get(ZONE_OF_SAMPLE).ok()?;
    let sample = SAMPLE.to_zoned(zone).ok()?;
    BrokenDownTime::from(&sample).to_string(format).ok()
}

/// Whether what was read of the sample is enough for a type.
fn check(read: &BrokenDownTime, has_zone: bool, time_type: TimeType) -> Result<(), FormatMistake> {
    use TimeType as T;
    if read.timestamp().is_some() {
        return Err(FormatMistake::Number);
    }
    let has_offset = read.offset().is_some();
    if read.iana_time_zone().is_some() && !has_offset {
        return Err(FormatMistake::ZoneName);
    }
    if time_type != T::Time && read.to_date().ok() != Some(SAMPLE.date()) {
        return Err(FormatMistake::NoDay);
    }
    let is_day = time_type == T::Date && !has_offset && read.to_time().is_ok();
    if !is_day && !has_time(read) {
        return Err(FormatMistake::NoTime);
    }
    match (has_offset, has_zone) {
        (true, true) => Err(FormatMistake::OffsetAndZone),
        (true, false) if matches!(time_type, T::Time | T::Timestamp) => Err(FormatMistake::Offset),
        (false, false) if time_type == T::TimestampTz => Err(FormatMistake::NoOffset),
        _ => Ok(()),
    }
}

/// Minutes and seconds may be missing, as in `%H:%M`.
fn has_time(read: &BrokenDownTime) -> bool {
    let is_sample = |time: Time| time.hour() == SAMPLE.hour();
    read.hour().is_some() && read.to_time().is_ok_and(is_sample)
}
