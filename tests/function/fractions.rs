//! Fractions of a second, against what Postgres itself reads from the same text.

use fastrand::Rng;
use serde_json::json;

use crate::families::invoke;
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
