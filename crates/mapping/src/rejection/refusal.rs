//! What Postgres said of a row that it refused.

use std::fmt;

/// An error from Postgres, without the texts of its messages, which quote rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Five characters, for example `23514` (check_violation).
    /// Source: <https://www.postgresql.org/docs/18/errcodes-appendix.html>.
    pub sqlstate: String,
    /// Whether it was a row-level security policy.
    pub is_by_policy: bool,
    /// Whether the table has no partition for the row.
    pub lacks_partition: bool,
    /// Whether the table changed the key that child rows of the message refer to.
    pub changes_key: bool,
    /// Whether the table may be at fault instead, because no other message of the batch was stored in it.
    pub is_ambiguous: bool,
    /// Whether a trigger raised it and chose the names in it, which may be values: they are not shown.
    pub is_raised: bool,
    /// The table, if one is named.
    pub table: Option<String>,
    /// The column, if one is named.
    pub column: Option<String>,
    /// The constraint, if one is named.
    pub constraint: Option<String>,
    /// The value that Postgres cannot read, if it is known which one that is.
    pub value: Option<Box<RefusedValue>>,
}

/// A value that Postgres cannot read as the type of its column, by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedValue {
    /// The table's name, as the mapping writes it.
    pub table: String,
    /// The column's name.
    pub column: String,
    /// The column's type, as Postgres names it.
    pub type_name: String,
    /// If the type is an enum, its labels, of which some may be omitted at the end.
    pub labels: Vec<String>,
}

impl fmt::Display for RefusedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            ", because it cannot read the value as {}",
            self.type_name
        )?;
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|label| format!("{label:?}"))
            .collect();
        match &labels[..] {
            [] => Ok(()),
            labels => write!(f, ", whose labels are {}", labels.join(", ")),
        }
    }
}

impl Refusal {
    /// The names of table, column and constraint: those of the value that is known to be at fault, or those that
    /// Postgres itself gave.
    pub fn names(&self) -> [Option<&str>; 3] {
        if let Some(value) = &self.value {
            return [Some(&value.table), Some(&value.column), None];
        }
        let names = [&self.table, &self.column, &self.constraint];
        names.map(|name| name.as_deref().filter(|_| !self.is_raised))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLSTATE {}", self.sqlstate)?;
        if self.is_by_policy {
            f.write_str(" by a row-level security policy")?;
        }
        if self.changes_key {
            f.write_str(" because a table changed the key that its child rows refer to")?;
        }
        let kinds = ["table", "column", "constraint"];
        for (kind, name) in kinds.into_iter().zip(self.names()) {
            if let Some(name) = name {
                write!(f, " {kind} {name:?}")?;
            }
        }
        if let Some(value) = &self.value {
            value.fmt(f)?;
        }
        if self.is_ambiguous {
            f.write_str("; no other message of the batch was stored in these tables, so the table may be at fault")?;
        }
        Ok(())
    }
}
