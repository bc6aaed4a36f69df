//! Times in every spelling that a mapping can name, and those that need no word.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use mapping::internals::readable;
use mapping::{Compiled, Pipeline, Rejection, read_event};
use proptest::prelude::*;
use serde_json::{Value, json};

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01, and to 2200-01-01: `date -ud 2200-01-01 +%s` divided by 86,400.
const DAYS_TO_2000: i64 = 10_957;
const DAYS_TO_2200: i64 = 84_006;
const MICROS_TO_2000: i64 = DAYS_TO_2000 * MICROS_PER_DAY;
const MICROS_TO_2200: i64 = DAYS_TO_2200 * MICROS_PER_DAY;

/// Zones with summer time in either half of the year, with half hours, and without any changes.
const ZONES: [&str; 6] = [
    "Europe/Zurich",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "UTC",
];

fn parse(words: &str) -> Result<Pipeline, String> {
    let text = format!(
        "table = 't'\nkey = ['id']\n[[column]]\nname = 'id'\ntype = 'text'\nfrom = '@message_id'\n[[column]]\nname = 'v'\n{words}"
    );
    Pipeline::parse("p", &text).map_err(|error| error.to_string())
}

/// A mapping whose column `v` has these words.
struct Mapping(Pipeline, Compiled);

impl Mapping {
    fn new(words: &str) -> Self {
        let pipeline = parse(words).unwrap();
        let compiled = Compiled::new("p", &pipeline, None).unwrap();
        Self(pipeline, compiled)
    }

    fn cell(&self, value: &Value) -> Result<Option<Vec<u8>>, Rejection> {
        let record = json!({
            "messageId": "m", "body": json!({"v": value}).to_string(), "attributes": {"SentTimestamp": "1793610000000"},
        });
        let payload = json!({"Records": [record]}).to_string();
        let records = read_event(payload.as_bytes()).unwrap();
        let rows = self.1.rows(&records[0])?;
        Ok(rows.tables()[0].rows.value(0, 1).map(<[u8]>::to_vec))
    }

    /// The stored value, as Postgres prints it.
    fn stored(&self, value: Value) -> Result<String, Rejection> {
        let column_type = self.0.tables[0].columns[1].column_type;
        let cell = self.cell(&value)?.unwrap();
        Ok(readable(column_type, &cell).unwrap())
    }

    /// Microseconds since 1970, of a column of 64 bits.
    fn unix_micros(&self, value: Value) -> Result<i64, String> {
        let cell = self
            .cell(&value)
            .map_err(|rejection| rejection.rule.name().to_owned())?;
        let micros = i64::from_be_bytes(cell.unwrap().try_into().unwrap());
        Ok(micros + MICROS_TO_2000)
    }
}

fn assert_stored(words: &str, cases: &[(Value, &str)]) {
    let mapping = Mapping::new(words);
    for (value, expected) in cases {
        let stored = mapping.stored(value.clone());
        assert_eq!(stored.as_deref(), Ok(*expected), "{words}: {value}");
    }
}

/// Each value breaks the rule, and the sentence contains the text.
fn assert_rejected(words: &str, cases: &[(Value, &str, &str)]) {
    let mapping = Mapping::new(words);
    for (value, rule, text) in cases {
        let rejection = mapping.stored(value.clone()).expect_err(words);
        let sentence = rejection.to_string();
        assert_eq!(rejection.rule.name(), *rule, "{words}: {value}");
        assert!(sentence.contains(text), "{words}: {value}: {sentence}");
    }
}

#[test]
fn numbers_in_a_unit_are_times_since_1970_or_since_midnight() {
    let instant = "2026-11-02 09:00:00+00";
    for (unit, value) in [
        ("s", json!(1_793_610_000)),
        ("s", json!("1793610000")),
        ("s", json!("1.79361e9")),
        ("ms", json!(1_793_610_000_000_i64)),
        ("us", json!("1793610000000000")),
        ("ns", json!(1_793_610_000_000_000_000_i64)),
    ] {
        assert_stored(
            &format!("type = 'timestamptz'\nunit = '{unit}'"),
            &[(value, instant)],
        );
    }
    assert_stored(
        "type = 'timestamptz'\nunit = 's'",
        &[
            (json!(1_762_081_234.5), "2025-11-02 11:00:34.5+00"),
            (json!("1762081234.123"), "2025-11-02 11:00:34.123+00"),
            (json!("0.0000005"), "1970-01-01 00:00:00+00"),
            (json!("0.00000009"), "1970-01-01 00:00:00+00"),
            (json!("1793610000e-0"), "2026-11-02 09:00:00+00"),
            (json!("0.0000015"), "1970-01-01 00:00:00.000002+00"),
            (
                json!("0.00000050000000001"),
                "1970-01-01 00:00:00.000001+00",
            ),
            (json!(0), "1970-01-01 00:00:00+00"),
            (json!("7258118399.999999"), "2199-12-31 23:59:59.999999+00"),
        ],
    );
    assert_stored(
        "type = 'timestamp'\nunit = 'ns'",
        &[(json!("1793610000000000500"), "2026-11-02 09:00:00")],
    );
    assert_stored(
        "type = 'date'\nunit = 'days'",
        &[
            (json!(20_759), "2026-11-02"),
            (json!("20759.0"), "2026-11-02"),
        ],
    );
    assert_stored(
        "type = 'timestamptz'\nunit = 'days'",
        &[(json!(20_759), "2026-11-02 00:00:00+00")],
    );
    assert_stored(
        "type = 'date'\nunit = 'ms'",
        &[(json!(1_793_663_999_999_i64), "2026-11-02")],
    );
    assert_stored(
        "type = 'time'\nunit = 'ms'",
        &[
            (json!(32_400_001), "09:00:00.001"),
            (json!(86_400_000), "24:00:00"),
            (json!(0), "00:00:00"),
        ],
    );
    assert_stored(
        "type = 'timestamptz[]'\nunit = 's'",
        &[(
            json!([1_793_610_000, null]),
            "{\"2026-11-02 09:00:00+00\",NULL}",
        )],
    );
}

#[test]
fn a_number_that_another_unit_fits_is_rejected_with_that_unit() {
    let range = "range";
    for (unit, value, text) in [
        (
            "s",
            json!(1_793_610_000_000_i64),
            "it looks like milliseconds, set unit = \"ms\"",
        ),
        (
            "ms",
            json!(1_793_610_000_000_000_i64),
            "it looks like microseconds, set unit = \"us\"",
        ),
        (
            "s",
            json!("1793610000000000000"),
            "it looks like nanoseconds, set unit = \"ns\"",
        ),
        (
            "days",
            json!(1_793_610_000),
            "it looks like seconds, set unit = \"s\"",
        ),
        (
            "s",
            json!(7_258_118_400_i64),
            "outside 1970–2200: fix the producer",
        ),
        ("us", json!(-1), "outside 1970–2200: fix the producer"),
        ("ns", json!("1e30"), "outside 1970–2200: fix the producer"),
        ("days", json!("1e30"), "outside 1970–2200: fix the producer"),
        (
            "s",
            json!("7258118399.9999996"),
            "outside 1970–2200: fix the producer",
        ),
    ] {
        for column_type in ["timestamptz", "timestamp", "date"] {
            let words = format!("type = '{column_type}'\nunit = '{unit}'");
            assert_rejected(&words, &[(value.clone(), range, text)]);
        }
    }
    let midnight = "outside 00:00–24:00";
    let outside = [
        (json!(86_400_001), range, midnight),
        (json!(-1), range, midnight),
    ];
    assert_rejected("type = 'time'\nunit = 'ms'", &outside);
}

/// In microseconds it would be 1978, and with that unit all other times would be wrong without a word.
#[test]
fn a_time_that_stands_for_no_end_does_not_suggest_another_unit() {
    for (unit, value) in [
        ("ms", json!(253_402_300_799_000_i64)),
        ("s", json!(253_402_300_799_i64)),
        ("days", json!(2_932_896)),
    ] {
        let words = format!("type = 'timestamptz'\nunit = '{unit}'");
        assert_rejected(
            &words,
            &[(value, "range", "fix the producer, or correct unit")],
        );
    }
}

#[test]
fn what_is_not_a_number_is_rejected_with_the_unit_of_the_column() {
    let text = "the column has unit = \"ms\", and the value is not a number of milliseconds";
    let cases = [
        json!("2026-11-02T09:00:00Z"),
        json!(true),
        json!("0042"),
        json!(""),
        json!({}),
    ];
    let cases = cases.map(|value| (value, "type", text));
    assert_rejected("type = 'timestamptz'\nunit = 'ms'", &cases);
    assert_rejected(
        "type = 'date'\nunit = 'days'",
        &[(json!(20_759.5), "type", "not a number of whole days")],
    );
}

#[test]
fn texts_in_a_format_are_times() {
    assert_stored(
        "type = 'date'\nformat = '%d.%m.%Y'",
        &[
            (json!("02.11.2026"), "2026-11-02"),
            (json!("2.1.0001"), "0001-01-02"),
        ],
    );
    assert_stored(
        "type = 'date'\nformat = '%y%j'",
        &[(json!("26306"), "2026-11-02")],
    );
    assert_stored(
        "type = 'date'\nformat = '%Y%m%d'",
        &[(json!(20_261_102), "2026-11-02")],
    );
    assert_stored(
        "type = 'timestamp'\nformat = '%m/%d/%Y %I:%M %p'",
        &[(json!("11/2/2026 9:05 PM"), "2026-11-02 21:05:00")],
    );
    assert_stored(
        "type = 'time'\nformat = '%H%M%S'",
        &[(json!("090507"), "09:05:07")],
    );
    assert_stored(
        "type = 'timestamptz'\nformat = '%a, %d %b %Y %T %z'",
        &[(
            json!("Mon, 02 Nov 2026 09:00:00 +0100"),
            "2026-11-02 08:00:00+00",
        )],
    );
    assert_stored(
        "type = 'timestamptz'\nformat = '%d/%b/%Y:%T%.f %z'",
        &[
            (
                json!("02/Nov/2026:09:00:00.0000015 -0330"),
                "2026-11-02 12:30:00.000002+00",
            ),
            (
                json!("02/Nov/1960:09:00:59.5 +0000"),
                "1960-11-02 09:00:59.5+00",
            ),
        ],
    );
    assert_stored(
        "type = 'date'\nformat = '%FT%T%:z'",
        &[(json!("2026-11-02T00:30:00+01:00"), "2026-11-01")],
    );
    assert_stored(
        "type = 'date[]'\nformat = '%d.%m.%Y'",
        &[(json!(["02.11.2026", null]), "{2026-11-02,NULL}")],
    );
    assert_stored(
        "type = 'date'\nformat = '%d.%m.%Y'\ntransform = ['trim']\ndefault = '01.01.1970'",
        &[
            (json!(" 02.11.2026 "), "2026-11-02"),
            (json!(null), "1970-01-01"),
        ],
    );
}

#[test]
fn a_text_in_another_format_is_rejected_with_an_example() {
    let example = "in the column's format, such as \"23.11.2026\"";
    let cases = [
        "2026-11-02",
        "31.02.2026",
        "02.11.26",
        "02.11.2026 ",
        "",
        "02.11.-026",
    ];
    let cases = cases.map(|text| (json!(text), "type", example));
    assert_rejected("type = 'date'\nformat = '%d.%m.%Y'", &cases);
    let leap = [(json!("2016-12-31 23:59:60"), "type", "2026-11-23 21:48:37")];
    assert_rejected("type = 'timestamp'\nformat = '%F %T'", &leap);
    assert_rejected(
        "type = 'timestamptz'\nformat = '%a %d %b %Y %T %z'",
        &[
            (
                json!("Tue 02 Nov 2026 09:00:00 +0100"),
                "type",
                "\"Mon 23 Nov 2026 21:48:37 +0100\"",
            ),
            (json!("Fri 31 Dec 9999 23:59:59 -0100"), "type", "such as"),
        ],
    );
}

#[test]
fn a_local_time_is_an_instant_of_its_zone_or_rejected() {
    let words = "type = 'timestamptz'\nformat = '%Y-%m-%d %H:%M'\nzone = 'Europe/Zurich'";
    let stored = [
        (json!("2026-11-02 09:00"), "2026-11-02 08:00:00+00"),
        (json!("2026-07-02 09:00"), "2026-07-02 07:00:00+00"),
        (json!("2026-03-29 03:00"), "2026-03-29 01:00:00+00"),
        (json!("2026-10-25 03:00"), "2026-10-25 02:00:00+00"),
    ];
    let rejected = [
        (json!("2026-03-29 02:30"), "local_time", "does not exist"),
        (json!("2026-10-25 02:30"), "local_time", "occurs twice"),
    ];
    assert_stored(words, &stored);
    assert_rejected(words, &rejected);
    let words = "type = 'timestamptz'\nzone = 'Europe/Zurich'";
    assert_stored(words, &stored);
    assert_rejected(words, &rejected);
    assert_stored(
        words,
        &[
            (
                json!("2026-10-25 02:30:00.5+02"),
                "2026-10-25 00:30:00.5+00",
            ),
            (json!("9999-12-31 23:59:59"), "9999-12-31 22:59:59+00"),
        ],
    );
}

#[test]
fn what_postgres_prints_and_common_spellings_need_no_word() {
    let instant = "2026-11-02 09:00:00+00";
    let spelled = [
        "2026-11-02 09:00:00+00",
        "2026-11-02T09:00Z",
        "2026-11-02t09:00:00z",
        "2026-11-02 10:00:00+01",
        "2026-11-02T10:00:00+0100",
        "2026-11-02 10:00 +01:00",
        "2026-11-02 09:00:00 UTC",
        "2026-11-02 09:34:08+00:34:08",
        "2026-11-02 03:30:00.000-05:30",
    ];
    assert_stored(
        "type = 'timestamptz'",
        &spelled.map(|text| (json!(text), instant)),
    );
    assert_stored(
        "type = 'date'",
        &[(json!("2026-11-02 00:30+0100"), "2026-11-01")],
    );
    let shows = "such as \"2026-11-02T09:00:00Z\": send one, or set unit for numbers, or format";
    let rejected = [
        json!(1_793_610_000),
        json!("2026-11-02T09:00:00"),
        json!("2026-11-02"),
        json!("2026-11-02T09:00:00+1"),
        json!("2026-11-02T09:00:00+24"),
        json!("2026-11-02T09:00:00+01:60"),
        json!("2026-11-02T09:00:00+01:"),
        json!("2026-11-02T09:00:00Zx"),
        json!("2026-11-02T09Z"),
        json!("2026-11-02T09:00:00.Z"),
        json!("2026-11-02T09:00:61Z"),
        json!("2026-11-02T09:00:60Z"),
        json!("2016-12-31T23:59:60.25Z"),
        json!("2026-11-02_09:00:00Z"),
        json!("0000-12-31T23:59:59Z"),
        json!("9999-12-31T23:59:59.9999996Z"),
        json!("9999-12-31T23:59:59-01"),
    ];
    assert_rejected(
        "type = 'timestamptz'",
        &rejected.map(|value| (value, "type", shows)),
    );
    assert_stored(
        "type = 'timestamptz'",
        &[
            (json!("2016-12-31T23:59:60Z"), "2017-01-01 00:00:00+00"),
            (json!("2017-01-01 00:59:60+01"), "2017-01-01 00:00:00+00"),
            (json!("0001-01-01T00:00:00Z"), "0001-01-01 00:00:00+00"),
            (
                json!("9999-12-31T23:59:59.999999Z"),
                "9999-12-31 23:59:59.999999+00",
            ),
        ],
    );
    for (column_type, example) in [
        ("date", "2026-11-02"),
        ("time", "09:00:00"),
        ("timestamp", "2026-11-02T09:00:00"),
    ] {
        let words = format!("type = '{column_type}'");
        assert_rejected(
            &words,
            &[(json!("x"), "type", &format!("such as {example:?}"))],
        );
        assert!(
            Mapping::new(&words).stored(json!(example)).is_ok(),
            "{example}"
        );
    }
}

#[test]
fn an_instant_of_sqs_needs_no_unit_where_it_is_a_fallback() {
    let words = "type = 'timestamptz'\nfrom = ['v', '@sent_at']\nunit = 's'";
    assert_stored(
        words,
        &[
            (json!(null), "2026-11-02 09:00:00+00"),
            (json!(0), "1970-01-01 00:00:00+00"),
        ],
    );
}

#[test]
fn impossible_spellings_are_refused_with_the_fix() {
    for (words, expected) in [
        (
            "type = 'timestamptz'\nunit = 'sec'",
            "unit \"sec\" is unknown: use one of s, ms, us, ns, days",
        ),
        (
            "type = 'bigint'\nunit = 'ms'",
            "unit is for times, and a column of type bigint has none",
        ),
        (
            "type = 'text'\nmask = 'sha256'\nformat = '%F'",
            "format is for times, and a column of type text",
        ),
        (
            "type = 'date'\nmask = 'sha256'\nformat = '%F'",
            "tokens are text",
        ),
        (
            "type = 'timestamptz'\nzone = 'Etc/Unknown'",
            "zone \"Etc/Unknown\" is unknown",
        ),
        (
            "type = 'timestamptz'\nzone = 'factory'",
            "zone \"factory\" is unknown",
        ),
        ("type = 'time'\nunit = 'days'", "use s, ms, us or ns"),
        ("type = 'time[]'\nunit = 'days'", "use s, ms, us or ns"),
        (
            "type = 'date'\nunit = 's'\nformat = '%F'",
            "exclude each other",
        ),
        (
            "type = 'timestamptz'\nunit = 's'\nzone = 'UTC'",
            "zone has no effect beside unit",
        ),
        (
            "type = 'timestamp'\nzone = 'UTC'",
            "remove it, or use timestamptz",
        ),
        (
            "type = 'timestamptz'\nzone = 'Europe/Zürich'",
            "did you mean \"Europe/Zurich\"?",
        ),
        (
            "type = 'timestamptz'\nfrom = '@sent_at'\nunit = 'ms'",
            "@sent_at needs none: remove it",
        ),
        (
            "type = 'date'\nformat = 'DD.MM.YYYY'",
            "does not lead to a day: add %Y, %m and %d",
        ),
        ("type = 'date'\nformat = '%d.%m'", "does not lead to a day"),
        (
            "type = 'date'\nformat = '%F %M'",
            "does not lead to a time of day",
        ),
        (
            "type = 'date'\nformat = '%F %z'",
            "does not lead to a time of day",
        ),
        (
            "type = 'date'\nformat = '%d.%m.%J'",
            "has a directive that cannot be read",
        ),
        (
            "type = 'date'\nformat = '%F %Z'",
            "has a directive that cannot be read",
        ),
        (
            "type = 'date'\nformat = '%F %'",
            "has a directive that cannot be read",
        ),
        (
            "type = 'date'\nformat = '%s'",
            "replace format with unit = \"s\"",
        ),
        ("type = 'time'\nformat = '%I:%M'", "add %H, or %I with %p"),
        ("type = 'timestamp'\nformat = '%F'", "add %H, or %I with %p"),
        (
            "type = 'timestamp'\nformat = '%F %T%z'",
            "use type timestamptz",
        ),
        (
            "type = 'timestamptz'\nformat = '%F %T'",
            "name their zone, for example zone = \"UTC\"",
        ),
        (
            "type = 'timestamptz'\nformat = '%F %T %Q'",
            "replace %Q with zone",
        ),
        (
            "type = 'timestamptz'\nformat = '%F %T%z'\nzone = 'UTC'",
            "so zone has no effect",
        ),
        (
            "type = 'timestamptz'\nformat = ''\nzone = 'UTC'",
            "does not lead to a day",
        ),
    ] {
        let refused = parse(words).map(|_| ()).expect_err(words);
        assert!(refused.contains(expected), "{words}: {refused}");
        assert!(refused.contains("column \"v\": "), "{refused}");
    }
    let pipeline = parse("type = 'timestamptz'\nunit = 'ms'\ndefault = '2026-11-02'").unwrap();
    let refused = Compiled::new("p", &pipeline, None).map(|_| ()).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("the default does not fit (type)"),
        "{refused}"
    );
}

#[test]
fn a_child_key_must_spell_its_times_as_the_key_of_its_parent() {
    let text = |own: &str| {
        format!(
            "[[table]]\nname = 'a'\nkey = ['at']\n\
             column = [{{ name = 'at', type = 'timestamptz', unit = 'ms', required = true }}]\n\
             [[table]]\nname = 'b'\nparent = 'a'\neach = 'items'\nkey = ['at', 'i']\n\
             column = [{{ name = 'at', type = 'timestamptz', from = '^.at', required = true{own} }}, {{ name = 'i', type = 'integer', from = '@index' }}]"
        )
    };
    assert!(Pipeline::parse("p", &text(", unit = 'ms'")).is_ok());
    for own in ["", ", unit = 's'", ", zone = 'UTC'"] {
        let refused = Pipeline::parse("p", &text(own)).unwrap_err().to_string();
        assert!(
            refused.contains("type, cast, null_if, transform, unit, format, zone and mask"),
            "{refused}"
        );
    }
}

/// The instants at which clocks of the zone show a local time, found by trying the offsets of the days around it.
fn instants(zone: &TimeZone, local: DateTime) -> Vec<Timestamp> {
    let utc = TimeZone::UTC.to_timestamp(local).unwrap();
    let day = SignedDuration::from_hours(24);
    let mut offsets = [utc - day, utc, utc + day]
        .map(|near| zone.to_offset(near))
        .to_vec();
    offsets.sort_unstable();
    offsets.dedup();
    let instants = offsets
        .into_iter()
        .map(|offset| utc - SignedDuration::from_secs(offset.seconds().into()));
    instants
        .filter(|&instant| zone.to_datetime(instant) == local)
        .collect()
}

fn zoned(name: &str) -> [Mapping; 2] {
    let words = format!("type = 'timestamptz'\nzone = '{name}'");
    [
        Mapping::new(&words),
        Mapping::new(&format!("{words}\nformat = '%Y-%m-%d %H:%M:%S'")),
    ]
}

fn assert_local(mappings: &[Mapping; 2], zone: &TimeZone, local: DateTime) {
    let expected = match instants(zone, local)[..] {
        [instant] => Ok(instant.as_microsecond()),
        _ => Err("local_time".to_owned()),
    };
    let text = local.strftime("%Y-%m-%d %H:%M:%S").to_string();
    for mapping in mappings {
        assert_eq!(
            mapping.unix_micros(json!(text)),
            expected,
            "{zone:?}: {text}"
        );
    }
}

#[test]
fn every_change_of_the_clocks_rejects_what_it_skips_or_repeats_and_nothing_else() {
    for name in ZONES {
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        let mappings = zoned(name);
        let changes = zone.following(Timestamp::UNIX_EPOCH).take(20);
        for change in changes.map(|change| change.timestamp()) {
            for minutes in (-150..150).step_by(30) {
                let near = change + SignedDuration::from_mins(minutes);
                for offset in [near - SignedDuration::from_hours(1), near] {
                    let local = zone.to_datetime(offset);
                    assert_local(&mappings, &zone, local);
                    assert_local(&mappings, &zone, local + SignedDuration::from_hours(1));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn a_unit_gives_the_microseconds_of_integer_arithmetic(micros in 0..MICROS_TO_2200, nanos in 0..MICROS_TO_2200 * 1_000) {
        let fraction = |places: u32| {
            let divisor = 10_i64.pow(places);
            format!("{}.{:0width$}", micros / divisor, micros % divisor, width = places as usize)
        };
        for (unit, text) in [("s", fraction(6)), ("ms", fraction(3)), ("us", micros.to_string()), ("ns", format!("{micros}000"))] {
            let number: Value = serde_json::from_str(&text).unwrap();
            for column_type in ["timestamptz", "timestamp"] {
                let mapping = Mapping::new(&format!("type = '{column_type}'\nunit = '{unit}'"));
                prop_assert_eq!(mapping.unix_micros(json!(text)), Ok(micros));
                // serde_json's own number is a double, which has the digits of a whole number below 2^53 only.
                if unit == "us" {
                    prop_assert_eq!(mapping.unix_micros(number.clone()), Ok(micros));
                }
            }
            let date = Mapping::new(&format!("type = 'date'\nunit = '{unit}'")).cell(&json!(text)).unwrap();
            let days = micros / MICROS_PER_DAY - DAYS_TO_2000;
            prop_assert_eq!(date, Some(i32::try_from(days).unwrap().to_be_bytes().to_vec()));
            let since_midnight = micros % (MICROS_PER_DAY + 1);
            let time = Mapping::new("type = 'time'\nunit = 'us'").unix_micros(json!(since_midnight));
            prop_assert_eq!(time, Ok(since_midnight + MICROS_TO_2000));
        }
        let (floor, rest) = (nanos / 1_000, nanos % 1_000);
        let rounded = floor + i64::from(rest > 500 || rest == 500 && floor % 2 == 1);
        prop_assume!(rounded < MICROS_TO_2200);
        let mapping = Mapping::new("type = 'timestamptz'\nunit = 'ns'");
        prop_assert_eq!(mapping.unix_micros(json!(nanos.to_string())), Ok(rounded));
    }

    #[test]
    fn a_local_time_becomes_the_instant_at_which_the_clocks_of_its_zone_show_it(second in 0..MICROS_TO_2200 / 1_000_000, zone in 0..ZONES.len()) {
        let name = ZONES[zone];
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        let local = TimeZone::UTC.to_datetime(Timestamp::from_second(second).unwrap());
        assert_local(&zoned(name), &zone, local);
    }

    #[test]
    fn one_instant_in_every_spelling_is_stored_alike(micros in -MICROS_TO_2200..MICROS_TO_2200, hours in -15..=15_i32, minutes in 0..60_i32) {
        let mapping = Mapping::new("type = 'timestamptz'");
        let offset_secs = hours * 3_600 + hours.signum() * minutes * 60;
        let offset = jiff::tz::Offset::from_seconds(offset_secs).unwrap();
        let local = offset.to_datetime(Timestamp::from_microsecond(micros).unwrap());
        let sign = if offset_secs < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset_secs.abs() / 3_600, offset_secs.abs() / 60 % 60);
        for separator in ['T', ' '] {
            let time = local.strftime(&format!("%Y-%m-%d{separator}%H:%M:%S%.6f")).to_string();
            for offset in [format!("{sign}{hours:02}:{minutes:02}"), format!("{sign}{hours:02}{minutes:02}"), format!(" {sign}{hours:02}:{minutes:02}:00")] {
                prop_assert_eq!(mapping.unix_micros(json!(format!("{time}{offset}"))), Ok(micros));
            }
        }
    }

    #[test]
    fn any_text_is_a_time_or_breaks_a_rule_of_times(text in "\\PC{0,30}|[0-9:.+TZ \\-]{0,30}") {
        for words in [
            "type = 'timestamptz'", "type = 'date'", "type = 'time'", "type = 'timestamp'\nunit = 'ns'",
            "type = 'timestamptz'\nzone = 'Europe/Zurich'", "type = 'date'\nformat = '%G-%V-%u'", "type = 'date'\nformat = '%Y %U %w'",
            "type = 'timestamptz'\nformat = '%a %d %b %y %I:%M%p %:z'", "type = 'timestamp'\nformat = '%Y%m%d%H%M%S%f'",
        ] {
            let stored = Mapping::new(words).stored(json!(text));
            prop_assert!(stored.is_ok() || stored.is_err_and(|rejection| ["type", "range", "local_time"].contains(&rejection.rule.name())));
        }
    }
}
