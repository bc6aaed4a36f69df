//! Fractions of a second, and every spelling of a time, against what Postgres itself reads from the same text.

use fastrand::Rng;
use serde_json::json;

use crate::child_tables::invoke;
use crate::types::check;
use testkit::batch::{Batch, ids};
use testkit::{Database, Setup};

const VALUES: usize = 3_000;

const TIMES: &str = r#"
table = "times"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "written", type = "text" },
  { name = "local", type = "timestamp", from = "written" },
  { name = "time", type = "time" },
  { name = "instant", type = "timestamptz" },
  { name = "offset_instant", type = "timestamptz" },
]
"#;

/// Every second fraction lies exactly between two microseconds.
fn fraction(rng: &mut Rng) -> String {
    let digits = if rng.bool() { 6 } else { rng.usize(1..12) };
    let mut fraction: String = (0..digits).map(|_| rng.digit(10)).collect();
    if digits == 6 {
        fraction.push('5');
    }
    if rng.u8(..) < 16 {
        fraction.insert_str(0, "999999");
    }
    fraction
}

/// A date and time without an offset.
fn written(rng: &mut Rng) -> String {
    let (year, month, day) = (rng.u32(2..9_999), rng.u32(1..=12), rng.u32(1..=28));
    let (hour, minute, second) = (rng.u32(..24), rng.u32(..60), rng.u32(..60));
    let fraction = fraction(rng);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction}")
}

#[tokio::test]
async fn fractions_of_a_second_are_rounded_as_postgres_rounds_them() {
    let database = Database::with_tables_of(TIMES).await;
    let mut function = Setup::on(&database).mapping(TIMES).start().await;
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let texts = (0..VALUES).map(|_| written(&mut rng));
    let batch = texts.enumerate().fold(Batch::new(), |batch, (number, written)| {
        let (instant, offset_instant) = (format!("{written}Z"), format!("{written}-05:30"));
        let (_, time) = written.split_once('T').unwrap();
        let body = json!({"written": written, "time": time, "instant": instant, "offset_instant": offset_instant});
        batch.body(&number.to_string(), body)
    });
    assert_eq!(invoke(&mut function, batch).await, ids(&[]), "seed {seed}");
    let different = "SELECT written, local::text, time::text, instant::text, offset_instant::text FROM times
        WHERE local <> written::timestamp OR time <> split_part(written, 'T', 2)::time
            OR instant <> (written || 'Z')::timestamptz OR offset_instant <> (written || '-05:30')::timestamptz";
    assert_eq!(database.rows(different).await, [[""; 5]; 0], "seed {seed}");
    assert_eq!(database.count("times").await, VALUES as i64);
}

#[tokio::test]
async fn a_leap_second_is_the_next_one_and_has_no_fraction() {
    check(
        "timestamptz",
        &[
            (r#""2016-12-31T23:59:60Z""#, "'2016-12-31T23:59:60Z'"),
            (
                r#""2016-12-31T23:59:60.0000004Z""#,
                "'2016-12-31T23:59:60.0000004Z'",
            ),
        ],
        &[(r#""2016-12-31T23:59:60.25Z""#, "type")],
    )
    .await;
}

const SPELLED: &str = r#"
table = "spelled"
key = ["id"]
column = [
  { name = "id", type = "uuid", from = "@message_id" },
  { name = "plain", type = "text" },
  { name = "instant", type = "timestamptz", from = "plain" },
  { name = "micros", type = "bigint" },
  { name = "from_s", type = "timestamptz", from = "s", unit = "s" },
  { name = "from_us", type = "timestamp", from = "micros", unit = "us" },
  { name = "from_days", type = "date", from = "days", unit = "days" },
  { name = "written", type = "text" },
  { name = "formatted", type = "timestamp", from = "written", format = "%d.%m.%Y %I:%M:%S%.f %p" },
  { name = "local", type = "text" },
  { name = "zoned", type = "timestamptz", from = "local", zone = "America/New_York" },
]
"#;

/// An instant in a spelling that Postgres reads too.
fn plain(rng: &mut Rng, date: &str) -> String {
    let separator = if rng.bool() { 'T' } else { ' ' };
    let (hour, minute) = (rng.u32(..24), rng.u32(..60));
    let seconds = match rng.u8(..3) {
        0 => String::new(),
        1 => format!(":{:02}", rng.u32(..60)),
        _ => format!(":{:02}.{}", rng.u32(..60), fraction(rng)),
    };
    let (hours, minutes) = (rng.u32(..15), rng.u32(..60));
    let offset = match rng.u8(..7) {
        0 => "Z".to_owned(),
        1 => " UTC".to_owned(),
        2 => format!("+{hours:02}"),
        3 => format!("-{hours:02}{minutes:02}"),
        4 => format!(" +{hours:02}:{minutes:02}"),
        5 => format!("-{hours:02}:{minutes:02}:{minutes:02}"),
        _ => format!("+{hours:02}:{minutes:02}"),
    };
    format!("{date}{separator}{hour:02}:{minute:02}{seconds}{offset}")
}

#[tokio::test]
async fn a_time_in_any_spelling_is_stored_as_postgres_reads_it() {
    const SECONDS_TO_2200: i64 = 7_258_118_400;
    let database = Database::with_tables_of(SPELLED).await;
    let mut function = Setup::on(&database).mapping(SPELLED).start().await;
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let batch = (0..VALUES).fold(Batch::new(), |batch, number| {
        let (year, month, day) = (rng.u32(1_000..9_999), rng.u32(1..=12), rng.u32(1..=28));
        let date = format!("{year:04}-{month:02}-{day:02}");
        let (second, micros) = (rng.i64(0..SECONDS_TO_2200), rng.i64(0..1_000_000));
        let (hour, minute, half) = (rng.u32(1..=12), rng.u32(..60), if rng.bool() { "AM" } else { "pm" });
        let body = json!({
            "plain": plain(&mut rng, &date), "micros": second * 1_000_000 + micros, "s": format!("{second}.{micros:06}"),
            "days": second / 86_400, "written": format!("{day}.{month}.{year} {hour}:{minute}:07.{micros:06} {half}"),
            // The clocks of New York never changed after one in the afternoon.
            "local": format!("{date} {:02}:{minute:02}", rng.u32(13..24)),
        });
        batch.body(&number.to_string(), body)
    });
    assert_eq!(invoke(&mut function, batch).await, ids(&[]), "seed {seed}");
    let different = "SELECT plain, instant::text, micros::text, from_s::text, from_us::text, written, formatted::text, local, zoned::text
        FROM spelled
        WHERE instant <> plain::timestamptz
            OR from_s <> '1970-01-01 00:00+00'::timestamptz + micros * interval '1 microsecond'
            OR from_us <> '1970-01-01'::timestamp + micros * interval '1 microsecond'
            OR from_days <> '1970-01-01'::date + (micros / 86400000000)::integer
            OR formatted <> to_timestamp(written, 'DD.MM.YYYY HH12:MI:SS.US AM')::timestamp
            OR zoned <> local::timestamp AT TIME ZONE 'America/New_York'";
    database.execute("SET TIME ZONE 'UTC'").await;
    assert_eq!(database.rows(different).await, [[""; 9]; 0], "seed {seed}");
    assert_eq!(database.count("spelled").await, VALUES as i64);
}
