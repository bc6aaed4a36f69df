//! Times as numbers: which fields are called like times, and what their numbers count since 1970.

use mapping::Unit;

use super::pii::{ends_with_identifier, is_in, words};

/// Words of fields that hold a time.
const TIMES: &str = "at begin begins created date deadline due end ended ends epoch exp expire expired expires expiry iat \
    latest modified nbf since start started starts stamp t time timestamp ts until updated when zeit datum";

/// Units after the last word: `ts_ms`.
const UNITS: &str = "s ms us ns sec secs millis micros nanos seconds milliseconds unix";

/// The powers of ten above which a number counts seconds, milliseconds and so on since 1970 if it is a time: from
/// 2001 to 2128.
const SMALLEST: [(Unit, f64); 4] = [
    (Unit::Seconds, 1e9),
    (Unit::Millis, 1e12),
    (Unit::Micros, 1e15),
    (Unit::Nanos, 1e18),
];
const FACTOR: f64 = 5.0;

/// Whether a field is called like a time: `created_at`, `ts_ms`, `expires`; but not `time_id`, or the time that something
/// takes.
pub(super) fn is_time_name(name: &str) -> bool {
    let words = words(name);
    let is_unit = |word: &&String| is_in(UNITS, word);
    let mut named = words.iter().rev().skip_while(is_unit);
    let last = named.next().map_or("", String::as_str);
    let is_camel = |suffix: &str| last.len() > suffix.len() && last.ends_with(suffix);
    !ends_with_identifier(name)
        && (is_in(TIMES, last)
            || words.iter().any(|word| is_in("timestamp epoch", word))
            || words
                .first()
                .is_some_and(|first| is_in("created updated modified expires", first))
            || is_camel("timestamp")
            || is_camel("date"))
}

/// What a number counts if it is a time.
pub(super) fn unit_of(number: f64) -> Option<Unit> {
    let fits = |(_, smallest): &&(Unit, f64)| (*smallest..smallest * FACTOR).contains(&number);
    SMALLEST.iter().find(fits).map(|(unit, _)| *unit)
}
