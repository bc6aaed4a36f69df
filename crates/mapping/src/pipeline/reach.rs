//! Paths that lead to no value in any message that is stored, because another column rejects what they lead into.

use super::{Column, Mistake, Path, Problem, Source};
use crate::types::ColumnType;

pub(super) fn check(columns: &[Column]) -> Result<(), Mistake> {
    for column in columns {
        let Source::Path(path) = &column.source else {
            continue;
        };
        if let Some(outer) = columns.iter().find(|outer| rejects_into(outer, path)) {
            let problem = Problem::Unreachable {
                from: path.to_string(),
                outer: outer.name.clone(),
                column_type: outer.column_type,
            };
            return Err(problem.of(&column.name));
        }
    }
    Ok(())
}

/// Whether a message with a value at this path breaks the rule `type` in the outer column.
fn rejects_into(outer: &Column, path: &Path) -> bool {
    let Source::Path(at) = &outer.source else {
        return false;
    };
    match (path.0.strip_prefix(&at.0[..]), outer.column_type) {
        (None | Some([]), _) | (_, ColumnType::Json | ColumnType::Jsonb) => false,
        // It stores objects and arrays as JSON text.
        _ if outer.cast.is_some() => false,
        (Some([position]), ColumnType::Array(_)) => position.parse::<usize>().is_err(),
        _ => true,
    }
}
