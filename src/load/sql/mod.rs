//! The SQL of a batch. Its length depends on the mapping, never on the batch.

mod expressions;
mod several;

use mapping::internals::quote_list;
use mapping::{Pipeline, TableMapping};

use crate::schema::Known;
use expressions::{STORED, conflict_action, expression, reads_stored};
pub(super) use several::{COUNTS, FIRST_COUNT, needs_snapshot};
use several::{Stored, has_lasting_plan, of_several_tables};

pub(super) struct Statements {
    /// Stores rows, whether or not they are in the table.
    safe: String,
    plain: Plain,
    known: Known,
    has_lasting_plan: bool,
}

/// The statement for rows that are not in the table: without `ON CONFLICT`, which makes Postgres look up every row
/// first. Then only the tables' constraints keep a row from being stored twice.
enum Plain {
    Unknown,
    /// No constraint makes the key of a table unique.
    Never,
    /// Stores nothing once the constraint is gone.
    Statement(String),
}

impl Statements {
    pub(super) fn new(pipeline: &Pipeline, known: Known) -> Self {
        let single = pipeline.single_table();
        let safe = match single {
            Some(table) => on_conflict(&insert(table, &known), table),
            None => of_several_tables(pipeline, &known, Stored::Handled),
        };
        Self {
            safe,
            plain: Plain::Unknown,
            has_lasting_plan: single.is_some() || has_lasting_plan(pipeline, &known),
            known,
        }
    }

    /// The optimistic statement if it is wanted and there is one, otherwise the safe one.
    pub(super) fn text(&self, is_optimistic: bool) -> &str {
        match &self.plain {
            Plain::Statement(plain) if is_optimistic => plain,
            Plain::Statement(_) | Plain::Unknown | Plain::Never => &self.safe,
        }
    }

    pub(super) fn can_be_optimistic(&self) -> bool {
        matches!(self.plain, Plain::Statement(_))
    }

    /// Whether a plan of the statements suits any other batch too.
    pub(super) fn has_lasting_plan(&self) -> bool {
        self.has_lasting_plan
    }

    /// What they take for granted of the tables.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn is_guard_known(&self) -> bool {
        !matches!(self.plain, Plain::Unknown)
    }

    /// Sets the condition under which constraints make the keys unique, if they do.
    pub(super) fn set_guard(&mut self, pipeline: &Pipeline, guard: Option<&str>) {
        let guarded = |guard| match pipeline.single_table() {
            Some(table) => format!("{} WHERE {guard}", insert(table, &self.known)),
            None => of_several_tables(pipeline, &self.known, Stored::Refused(guard)),
        };
        self.plain = guard.map_or(Plain::Never, |guard| Plain::Statement(guarded(guard)));
    }

    pub(super) fn forget_guard(&mut self) {
        self.plain = Plain::Unknown;
    }
}

/// The statement for a single table, without what happens to rows whose key is in the table.
fn insert(table: &TableMapping, known: &Known) -> String {
    let columns = table.columns.iter().enumerate();
    let selected = columns.map(|(position, column)| {
        let parameter = format!("${}", position + 1);
        expression(&parameter, column, known.table(0))
    });
    let alias = reads_stored(table).then(|| format!(" AS {STORED}"));
    format!(
        "INSERT INTO {}{} ({}) SELECT {}",
        table.table,
        alias.unwrap_or_default(),
        quote_list(table.column_names()),
        selected.collect::<Vec<_>>().join(", ")
    )
}

fn on_conflict(insert: &str, table: &TableMapping) -> String {
    let key = quote_list(table.key_names());
    let action = conflict_action(table, false);
    format!("{insert} ON CONFLICT ({key}) DO {action}")
}
