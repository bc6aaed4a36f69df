//! The function on a table that has grown: a random key, against one led by the day in monthly partitions.

use time::UtcDateTime;

use crate::Effort;
use crate::database::{Database, key_names};
use crate::messages::Workload;
use crate::process::Launch;
use crate::race::{Contender, race};
use crate::report::grouped;
use crate::results::TableGrowth;

pub(crate) const RANDOM_KEY: &str = "random key";
pub(crate) const LED_BY_DAY: &str = "key led by the day";

const BATCH_SIZES: [usize; 2] = [100, 1_000];

/// The rows are of this many days before today.
const DAYS: u64 = 590;
/// Of partitions before that of today.
const MONTHS: usize = 20;

const ROWS_AT_ONCE: u64 = 1_000_000;

pub(crate) async fn table_growth(
    database: &Database,
    ours: &Launch,
    effort: Effort,
) -> Vec<TableGrowth> {
    let [random, by_day] = tables(database).await;
    let contenders = [(RANDOM_KEY, &random), (LED_BY_DAY, &by_day)]
        .map(|(name, workload)| Contender::function(name, ours.clone(), &[workload]));
    let mut races = Vec::new();
    let mut rows = 0;
    for wanted in [0, effort.rows / 20, effort.rows] {
        for workload in [&random, &by_day] {
            fill(database, workload, rows, wanted).await;
        }
        rows = wanted;
        for &size in effort.some_of(&BATCH_SIZES) {
            let race = race(database, &contenders, size, effort).await;
            races.push(TableGrowth { rows, race });
        }
    }
    database.execute("DROP TABLE grown, grown_by_day").await;
    races
}

async fn tables(database: &Database) -> [Workload; 2] {
    let today = UtcDateTime::now().date();
    let mut random = Workload::logins_in("grown", "\"message_id\"");
    let mut by_day = Workload::logins_in("grown_by_day", "\"create_date\", \"message_id\"");
    for workload in [&mut random, &mut by_day] {
        workload.condition = Some(format!("create_date >= '{today}'"));
    }
    database.create_tables(&random).await;
    let partitioned = by_day.table().create_partitioned("create_date", today);
    database.execute(&partitioned.unwrap()).await;
    let earlier = format!(
        "DO $$ BEGIN FOR n IN 1..{MONTHS} LOOP EXECUTE format(
             'CREATE TABLE grown_by_day_%s PARTITION OF grown_by_day FOR VALUES FROM (%L) TO (%L)', n,
             date_trunc('month', DATE '{today}')::date - make_interval(months => n),
             date_trunc('month', DATE '{today}')::date - make_interval(months => n - 1));
         END LOOP; END $$"
    );
    database.execute(&earlier).await;
    // Which would be at work in some turns only.
    let no_vacuum = "DO $$ DECLARE part regclass; BEGIN
         FOR part IN SELECT oid FROM pg_class WHERE relname LIKE 'grown%' AND relkind = 'r'
         LOOP EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', part); END LOOP; END $$";
    database.execute(no_vacuum).await;
    [random, by_day]
}

/// Adds rows until the table has this many, day after day. Afterwards the pages of its index are as full as random
/// keys leave them, and its statistics are up to date.
async fn fill(database: &Database, workload: &Workload, rows: u64, wanted: u64) {
    if rows == wanted {
        return;
    }
    let (table, key) = (workload.table(), key_names(workload.table()));
    let (name, condition) = (&table.table.name, workload.condition.as_ref().unwrap());
    let prepare = format!(
        "DELETE FROM {name} WHERE {condition}; ALTER TABLE {name} DROP CONSTRAINT {name}_pkey"
    );
    database.execute(&prepare).await;
    let (mut next, added) = (rows, wanted - rows);
    while next < wanted {
        let end = wanted.min(next + ROWS_AT_ONCE);
        let insert = format!(
            "INSERT INTO {name} SELECT gen_random_uuid(), gen_random_uuid(), 'android', repeat('a1b2c3d4', 8),
                 repeat('e5f60718', 8), 'RU', 2, CURRENT_DATE - {DAYS} + ((n - {rows}) * {DAYS} / {added})::int
             FROM generate_series({next}::bigint, {end}::bigint - 1) AS n"
        );
        database.execute(&insert).await;
        next = end;
        eprintln!(
            "        {name}: {} of {} rows",
            grouped(next as f64),
            grouped(wanted as f64)
        );
    }
    let index = format!("ALTER TABLE {name} ADD PRIMARY KEY ({key}) WITH (fillfactor = 70)");
    database.execute(&index).await;
    database.execute(&format!("VACUUM ANALYZE {name}")).await;
}
