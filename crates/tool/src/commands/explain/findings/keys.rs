//! Messages whose rows have the same key.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;

use mapping::{Message, OnConflict, Source, TableMapping, TableRows};

use super::{Finding, noun};
use crate::cli::output::{counted, listed};

/// The keys of a table's rows.
#[derive(Default)]
pub(super) struct Keys {
    groups: HashMap<Key, Group>,
    hasher: RandomState,
    /// How many rows have the key of another row of their message.
    repeated: usize,
}

/// The values of a key's columns.
type Key = Vec<Option<Vec<u8>>>;

/// Rows with one key.
struct Group {
    /// Hashes of what the rows were made of: a message that was delivered again counts once.
    contents: HashSet<u64>,
    /// Where the first two messages are.
    places: Vec<String>,
}

impl Keys {
    /// Adds the rows of a message.
    pub(super) fn add(
        &mut self,
        place: &str,
        message: &Message<'_>,
        mapping: &TableMapping,
        table: &TableRows,
    ) {
        let mut own: HashMap<Key, u64> = HashMap::new();
        let attributes = message.attributes();
        let of_message = self.hasher.hash_one((message.body().trim(), attributes));
        for row in 0..table.rows.len() {
            let cell = |column| table.rows.value(row, column).map(<[u8]>::to_owned);
            let key: Vec<_> = mapping.key.iter().map(|&column| cell(column)).collect();
            let columns = mapping.columns.iter().enumerate();
            let is_of_body = |source: &Source| !matches!(source, Source::Metadata(_));
            let of_body = columns.filter(|(_, column)| column.sources().all(is_of_body));
            let cells: Vec<_> = of_body.map(|(column, _)| cell(column)).collect();
            let content = self.hasher.hash_one((of_message, cells));
            let group = self.groups.entry(key.clone()).or_insert_with(|| Group {
                contents: HashSet::new(),
                places: Vec::new(),
            });
            if group.contents.insert(content) && group.places.len() < 2 {
                group.places.push(place.to_owned());
            }
            let first = *own.entry(key).or_insert(content);
            self.repeated += usize::from(first != content);
        }
    }

    /// What becomes of rows with equal keys.
    pub(super) fn finding(&self, mapping: &TableMapping) -> Option<Finding> {
        let rows: usize = self.groups.values().map(|group| group.contents.len()).sum();
        let (keys, others) = (self.groups.len(), rows - self.groups.len());
        if others == 0 {
            return None;
        }
        let names = listed(mapping.key_names());
        let keys = counted(keys, "different key");
        let found = format!("key ({names}): {keys} in {}", counted(rows, noun(mapping)));
        let pair = self.example();
        Some(match (mapping.on_conflict, self.repeated) {
            (OnConflict::Ignore, _) => Finding::error(
                format!("{found}: {others} would not be stored{pair}"),
                "add the columns that distinguish them to key, or set on_conflict = \"update\" if the last one should win",
            ),
            (OnConflict::Update, 0) => Finding::note(
                format!(
                    "{found}: {others} would replace the row of another, or be older than that row{pair}"
                ),
                "to keep a row for each, add the columns that distinguish them to key",
            ),
            (OnConflict::Update, repeated) => {
                let have = if repeated == 1 { "has" } else { "have" };
                Finding::error(
                    format!(
                        "{found}: {repeated} {have} the key of another element of the same message{pair}"
                    ),
                    "add the columns that distinguish them to key, for example @index",
                )
            }
        })
    }

    /// Where two rows with the same key are.
    fn example(&self) -> String {
        let pairs = self.groups.values().map(|group| &group.places[..]);
        let mut pairs: Vec<_> = pairs.filter(|places| places.len() > 1).collect();
        pairs.sort_unstable();
        match pairs[..] {
            [[a, b], ..] if a == b => format!(" ({a} has two of them)"),
            [[a, b], ..] => format!(" ({a} and {b} have the same)"),
            _ => String::new(),
        }
    }
}
