//! The SQL of a batch. Its length depends on the mapping, never on the batch.

use super::table::EnumColumn;
use crate::pipeline::{Column, OnConflict, Pipeline, quote_identifier, quote_list};

/// The statement that stores a batch; columns of an enum type are cast to it, because Postgres
/// assigns no text to them.
pub(super) fn insert_statement(pipeline: &Pipeline, enums: &[EnumColumn]) -> String {
    let columns = quote_list(pipeline.columns.iter().map(|column| column.name.as_str()));
    let selected: Vec<_> = pipeline
        .columns
        .iter()
        .enumerate()
        .map(|(position, column)| expression(position + 1, column, enums))
        .collect();
    format!(
        "INSERT INTO {} ({columns}) SELECT {} ON CONFLICT ({}) DO {}",
        pipeline.table,
        selected.join(", "),
        quote_list(pipeline.key_names()),
        conflict_action(pipeline),
    )
}

/// Arrays of one length unnest in step. In the list of a `SELECT` Postgres hands their elements on one
/// by one; `FROM unnest(…)` would write them to a store of tuples first.
/// Source: <https://www.postgresql.org/docs/18/xfunc-sql.html#XFUNC-SQL-FUNCTIONS-RETURNING-SET>.
fn expression(parameter: usize, column: &Column, enums: &[EnumColumn]) -> String {
    let is_text = column.column_type.is_text();
    match enums
        .iter()
        .find(|live| live.column == column.name && is_text)
    {
        Some(live) => format!("unnest(${parameter})::text::{}", live.type_name),
        None => format!("unnest(${parameter})"),
    }
}

fn conflict_action(pipeline: &Pipeline) -> String {
    let is_key = |name: &str| pipeline.key_names().any(|key| key == name);
    let names = pipeline
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .filter(|name| !is_key(name));
    let updates: Vec<_> = names
        .map(quote_identifier)
        .map(|name| format!("{name} = EXCLUDED.{name}"))
        .collect();
    match pipeline.on_conflict {
        OnConflict::Update if !updates.is_empty() => format!("UPDATE SET {}", updates.join(", ")),
        _ => "NOTHING".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(head: &str) -> Pipeline {
        let text = format!(
            "{head}\nkey = [\"id\"]\n[[column]]\nname = \"id\"\ntype = \"uuid\"\nfrom = \"@message_id\"\n\
             [[column]]\nname = \"mood\\\"\"\ntype = \"text\""
        );
        Pipeline::parse("p", &text).unwrap()
    }

    #[test]
    fn names_are_quoted_and_conflicts_ignored() {
        assert_eq!(
            insert_statement(&pipeline("table = \"s.t\""), &[]),
            "INSERT INTO \"s\".\"t\" (\"id\", \"mood\"\"\") SELECT unnest($1), unnest($2) \
             ON CONFLICT (\"id\") DO NOTHING"
        );
    }

    #[test]
    fn update_sets_every_column_but_the_key() {
        let statement = insert_statement(&pipeline("table = \"t\"\non_conflict = \"update\""), &[]);
        assert!(
            statement.ends_with(
                "ON CONFLICT (\"id\") DO UPDATE SET \"mood\"\"\" = EXCLUDED.\"mood\"\"\""
            ),
            "{statement}"
        );
    }

    #[test]
    fn an_enum_column_is_cast() {
        let live = EnumColumn {
            column: "mood\"".into(),
            type_name: "s.mood".into(),
        };
        let statement = insert_statement(&pipeline("table = \"t\""), &[live]);
        assert!(
            statement.contains("SELECT unnest($1), unnest($2)::text::s.mood ON"),
            "{statement}"
        );
    }
}
