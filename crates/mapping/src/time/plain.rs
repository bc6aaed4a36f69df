//! Times as Postgres writes them, and their common spellings: ISO 8601 with `T` or a space, with or without seconds,
//! with an offset of hours, minutes or seconds.
//! Source: <https://www.postgresql.org/docs/18/datatype-datetime.html#DATATYPE-DATETIME-INPUT>.

use jiff::civil::{Date, Time};

use super::{EPOCH, MICROS_PER_DAY, MICROS_PER_SECOND, Misread, Moment, TimeType, Zone};

/// No place is further from UTC, and Postgres refuses more.
/// Source: `MAX_TZDISP_HOUR` in Postgres, src/include/datatype/timestamp.h.
const MAX_OFFSET_HOURS: i8 = 15;

/// A time of a type.
pub(crate) fn read(text: &str, time_type: TimeType) -> Option<Moment> {
    match time_type {
        TimeType::Date => day(text),
        TimeType::Time => time_of_day(text),
        TimeType::Timestamp => local(text),
        TimeType::TimestampTz => instant(text),
    }
}

/// A calendar day, or an instant.
fn day(text: &str) -> Option<Moment> {
    let mut rest = Rest(text.as_bytes());
    let date = rest.date()?;
    if rest.is_empty() {
        return Some(Moment::at(date.to_datetime(Time::midnight()), 0, 0));
    }
    instant(text)
}

/// A date and time of day with its offset.
fn instant(text: &str) -> Option<Moment> {
    let mut rest = Rest(text.as_bytes());
    let (date, clock) = rest.date_and_clock()?;
    clock.moment(date, rest.offset_secs()?)
}

/// An instant, or a date and time of day without an offset in this zone.
pub(crate) fn instant_in(zone: &Zone, text: &str) -> Result<Moment, Misread> {
    if let Some(instant) = instant(text) {
        return Ok(instant);
    }
    let mut rest = Rest(text.as_bytes());
    let local = rest.date_and_clock().filter(|_| rest.is_empty());
    let (date, clock) = local.ok_or(Misread::Spelling)?;
    let offset = zone.offset_secs(date.to_datetime(clock.time));
    let offset_secs = offset.map_err(Misread::LocalTime)?;
    clock.moment(date, offset_secs).ok_or(Misread::Spelling)
}

/// A date and time of day without an offset.
fn local(text: &str) -> Option<Moment> {
    let mut rest = Rest(text.as_bytes());
    let (date, clock) = rest.date_and_clock()?;
    rest.is_empty().then(|| clock.moment(date, 0))?
}

/// A time of day.
fn time_of_day(text: &str) -> Option<Moment> {
    if matches!(text, "24:00" | "24:00:00") {
        return Some(Moment::of_micros(MICROS_PER_DAY));
    }
    let mut rest = Rest(text.as_bytes());
    let clock = rest.clock()?;
    rest.is_empty().then(|| clock.moment(EPOCH.date(), 0))?
}

/// What a clock shows.
struct Clock {
    /// With 59 seconds where the clock shows 60.
    time: Time,
    is_leap: bool,
    fraction: i64,
}

impl Clock {
    /// `None` for a leap second with a fraction, which Postgres refuses, or not at the end of a month in UTC.
    fn moment(self, date: Date, offset_secs: i64) -> Option<Moment> {
        let local = date.to_datetime(self.time);
        if !self.is_leap {
            return Some(Moment::at(local, offset_secs, self.fraction));
        }
        let next = Moment::at(local, offset_secs, MICROS_PER_SECOND);
        (self.fraction == 0 && next.begins_month()).then_some(next)
    }
}

/// What has not been read of a text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Passes a byte if it is the next one.
    fn skip(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A number of exactly this many digits.
    fn number<const DIGITS: usize>(&mut self) -> Option<i16> {
        let (digits, rest) = self.0.split_first_chunk::<DIGITS>()?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, digit| {
            let is_digit = digit.is_ascii_digit();
            is_digit.then(|| number * 10 + i16::from(digit - b'0'))
        })
    }

    fn two_digits(&mut self) -> Option<i8> {
        i8::try_from(self.number::<2>()?).ok()
    }

    fn date(&mut self) -> Option<Date> {
        let year = self.number::<4>()?;
        let month = self.skip(b'-').then(|| self.two_digits())??;
        let day = self.skip(b'-').then(|| self.two_digits())??;
        Date::new(year, month, day).ok()
    }

    fn date_and_clock(&mut self) -> Option<(Date, Clock)> {
        let date = self.date()?;
        let is_separated = self.skip(b'T') || self.skip(b' ') || self.skip(b't');
        is_separated.then_some((date, self.clock()?))
    }

    fn clock(&mut self) -> Option<Clock> {
        let hour = self.two_digits()?;
        let minute = self.skip(b':').then(|| self.two_digits())??;
        let (second, fraction) = match self.skip(b':') {
            true => (self.two_digits()?, self.fraction()?),
            false => (0, 0),
        };
        Some(Clock {
            time: Time::new(hour, minute, second.min(59), 0).ok()?,
            is_leap: match second {
                ..60 => false,
                60 => true,
                _ => return None,
            },
            fraction,
        })
    }

    /// What a time has beyond its second, in microseconds, rounded as Postgres does: as a double, half to even.
    /// Source: `ParseFraction` in
    /// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/datetime.c>.
    fn fraction(&mut self) -> Option<i64> {
        if !self.0.starts_with(b".") {
            return Some(0);
        }
        let is_part = |&byte: &u8| byte == b'.' || byte.is_ascii_digit();
        let length = self.0.iter().position(|byte| !is_part(byte));
        let (digits, rest) = self.0.split_at(length.unwrap_or(self.0.len()));
        self.0 = rest;
        let fraction: f64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some((fraction * MICROS_PER_SECOND as f64).round_ties_even() as i64)
    }

    /// The offset from UTC, with which the text ends: `Z`, `+01`, `+0100`, `+01:00` or `+01:00:00`, also after a space.
    fn offset_secs(&mut self) -> Option<i64> {
        self.skip(b' ');
        if matches!(self.0, b"Z" | b"z" | b"UTC") {
            return Some(0);
        }
        let sign = match (self.skip(b'+'), self.skip(b'-')) {
            (true, false) => 1,
            (false, true) => -1,
            _ => return None,
        };
        let hours = self
            .two_digits()
            .filter(|&hours| hours <= MAX_OFFSET_HOURS)?;
        let minutes = self.sixtieths()?;
        let seconds = self.sixtieths()?;
        let secs = i64::from(hours) * 3600 + minutes * 60 + seconds;
        self.is_empty().then_some(sign * secs)
    }

    /// Minutes or seconds of an offset; zero if the text ends here.
    fn sixtieths(&mut self) -> Option<i64> {
        if self.is_empty() {
            return Some(0);
        }
        self.skip(b':');
        let number = self.two_digits().filter(|&number| number < 60)?;
        Some(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_one_that_postgres_reads() {
        for (offset, is_read) in [
            ("+15:59", true),
            ("-15:59:59", true),
            ("+1400", true),
            ("+16", false),
            ("-16:00", false),
            ("+23:59", false),
        ] {
            let read = instant(&format!("2026-11-02T09:00:00{offset}"));
            assert_eq!(read.is_some(), is_read, "{offset}");
        }
    }
}
