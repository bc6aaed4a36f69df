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
}

impl Refusal {
    /// The names of table, column and constraint that Postgres itself gave.
    pub fn names(&self) -> [Option<&str>; 3] {
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
        if self.is_ambiguous {
            f.write_str("; no other message of the batch was stored in these tables, so the table may be at fault")?;
        }
        Ok(())
    }
}
