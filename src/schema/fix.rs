//! How a difference between a table and its mapping is fixed.

/// What a statement does to a table that has rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It adds what is missing, or widens a column in place: no stored value changes.
    Adds,
    /// It keeps every stored value, but rewrites the table, which blocks reads and writes meanwhile.
    Rewrites,
    /// It can change or lose stored values; how.
    Loses(&'static str),
}

/// How to make a table fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// A statement, and what it does to the rows that the table has.
    Statement(String, Effect),
    /// What a person must do, where Postgres would refuse any statement, or the mapping is at fault.
    ByHand(String),
}

impl Fix {
    pub(super) fn adds(sql: String) -> Self {
        Self::Statement(sql, Effect::Adds)
    }

    /// What to do, for a sentence: the statement itself only if it changes no stored value and rewrites nothing.
    pub fn hint(&self) -> String {
        let (flag, which) = match self {
            Self::Statement(sql, Effect::Adds) => return sql.clone(),
            Self::ByHand(what) => return what.clone(),
            Self::Statement(_, Effect::Rewrites) => ("--allow-rewrite", "rewrites the table"),
            Self::Statement(_, Effect::Loses(how)) => ("--allow-loss", *how),
        };
        format!(
            "change the mapping, or the table: `sqs-to-postgres ddl --diff {flag}` prints the statement, which {which}"
        )
    }
}
