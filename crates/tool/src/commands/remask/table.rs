//! The tables with tokens of aes-siv, and the SQL that reads and replaces them.
//!
//! Tokens travel as parameters; a statement's text has only names. Each statement is a transaction of its own, so it
//! runs behind a pooler too.

use std::collections::BTreeSet;

use mapping::internals::{qualified, quote_identifier};
use mapping::{Column, ColumnType, Mask, Metadata, Pipeline, TableMapping};
use sqs_to_postgres::database::DatabaseError;
use sqs_to_postgres::schema::Inspection;
use thiserror::Error;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::cli::database::Parameter;
use crate::cli::error::CliError;
use crate::cli::output::listed;

/// Why a table is not re-encrypted.
#[derive(Debug, Error)]
pub(super) enum TableRefused {
    #[error(
        "the mapping has no column with mask = \"aes-siv\": only its tokens can be re-encrypted"
    )]
    NothingToDo,
    #[error(
        "column {column:?} is part of the key of {table}, and re-encrypting would change it: redelivered messages would no longer find their rows; keep the old mask keys, or choose another key for the table"
    )]
    InKey { table: String, column: String },
    #[error(
        "table {0} is missing, or has no unique index on its key: `sqs-to-postgres check` names the fix"
    )]
    NotReady(String),
    #[error(
        "column {column:?} of the key of {table} may be null, and rows with a null would be skipped: ALTER TABLE {table} ALTER COLUMN {} SET NOT NULL;",
        quote_identifier(column)
    )]
    Nullable { table: String, column: String },
    #[error(
        "row security hides rows of {0} from the role, so their tokens would keep their old key: connect as the owner of the table, or as a role with BYPASSRLS"
    )]
    RowSecurity(String),
}

/// A table and its columns with tokens.
pub(super) struct Target {
    /// Quoted.
    pub(super) table: String,
    /// The columns of aes-siv tokens.
    pub(super) tokens: Vec<TokenColumn>,
    /// The column of `@mask_key_id`, unless hashes need it: it then says which key made them.
    pub(super) key_id: Option<String>,
    /// The columns with tokens of hmac-sha256.
    pub(super) hashes: Vec<String>,
    /// The columns of the key, in the order of its index.
    pub(super) key: Vec<KeyColumn>,
}

/// A column of aes-siv tokens.
pub(super) struct TokenColumn {
    pub(super) name: String,
    /// Whether it has arrays of them.
    pub(super) is_array: bool,
    /// The length that a token may have.
    pub(super) max_chars: Option<usize>,
}

pub(super) struct KeyColumn {
    name: String,
    /// As Postgres prints it.
    type_name: String,
    /// The quoted schema of the operators by which the index compares.
    operators: String,
}

impl KeyColumn {
    fn compared(&self, operator: &str, with: &str) -> String {
        let column = column(&self.name);
        format!("{column} OPERATOR({}.{operator}) {with}", self.operators)
    }
}

impl Target {
    /// The tables of a mapping that have such columns.
    pub(super) fn of_mapping(
        pipeline: &Pipeline,
    ) -> Result<Vec<(Self, &TableMapping)>, TableRefused> {
        let tables = pipeline.tables.iter();
        let targets = tables.map(|mapping| Ok((Self::of_table(mapping)?, mapping)));
        let mut targets: Vec<_> = targets.collect::<Result<_, _>>()?;
        targets.retain(|(target, _)| !target.tokens.is_empty());
        match targets.is_empty() {
            true => Err(TableRefused::NothingToDo),
            false => Ok(targets),
        }
    }

    fn of_table(mapping: &TableMapping) -> Result<Self, TableRefused> {
        let (reversible, others): (Vec<&Column>, Vec<&Column>) = mapping
            .columns
            .iter()
            .filter(|column| column.mask.is_some_and(Mask::needs_key))
            .partition(|column| column.mask.is_some_and(Mask::is_reversible));
        let tokens = reversible.into_iter().map(|column| TokenColumn {
            name: column.name.clone(),
            is_array: matches!(column.column_type, ColumnType::Array(_)),
            max_chars: column.column_type.single().max_chars(),
        });
        let hashes = others.into_iter().map(|column| column.name.clone());
        let is_key_id = |column: &&Column| column.reads(&Metadata::MaskKeyId);
        let hashes: Vec<_> = hashes.collect();
        let key_id = mapping.columns.iter().find(is_key_id);
        let key_id = key_id.filter(|_| hashes.is_empty());
        let target = Self {
            table: mapping.table.to_string(),
            tokens: tokens.collect(),
            key_id: key_id.map(|column| column.name.clone()),
            hashes,
            key: Vec::new(),
        };
        let is_in_key = |name: &&str| mapping.key_names().any(|key| key == *name);
        let in_key = target.changed().find(is_in_key).map(str::to_owned);
        match in_key.filter(|_| !target.tokens.is_empty()) {
            None => Ok(target),
            Some(column) => Err(TableRefused::InKey {
                table: target.table,
                column,
            }),
        }
    }

    /// The columns that may change: the columns of tokens, and the column of the key's id.
    fn changed(&self) -> impl Iterator<Item = &str> {
        let tokens = self.tokens.iter().map(|column| column.name.as_str());
        tokens.chain(self.key_id.as_deref())
    }

    /// What is read of a column that may change, as text: an array as JSON.
    fn read(&self, name: &str) -> String {
        let column = column(name);
        match self.is_array(name) {
            true => format!("pg_catalog.to_json({column})::pg_catalog.text"),
            false => format!("{column}::pg_catalog.text"),
        }
    }

    fn is_array(&self, name: &str) -> bool {
        let mut tokens = self.tokens.iter();
        tokens.any(|column| column.name == name && column.is_array)
    }

    /// Reads the key's columns: in the order of its index, so that Postgres reads pages along it.
    pub(super) async fn read_key(
        &mut self,
        client: &Client,
        mapping: &TableMapping,
    ) -> Result<(), CliError> {
        let not_ready = || CliError::invalid(TableRefused::NotReady(self.table.clone()));
        let Inspection::Table(facts) = Inspection::read(client, mapping).await? else {
            return Err(not_ready());
        };
        if facts.has_row_security {
            let error = TableRefused::RowSecurity(self.table.clone());
            return Err(CliError::invalid(error));
        }
        let index = facts.unique_index.map_err(|_| not_ready())?;
        let sql = "SELECT a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
                   coalesce(pg_catalog.quote_ident(n.nspname), 'pg_catalog'), a.attnotnull \
                   FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
                   CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k(attnum, position) \
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
                   LEFT JOIN pg_catalog.pg_opclass c ON c.oid = i.indclass[k.position::integer - 1] \
                   LEFT JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3 \
                        AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype \
                   LEFT JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr \
                   LEFT JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
                   WHERE i.indrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND x.relname = $2 AND k.position <= i.indnkeyatts \
                   ORDER BY k.position";
        let parameters: [(Parameter, Type); 2] = [(&self.table, Type::TEXT), (&index, Type::TEXT)];
        let rows = client.query_typed(sql, &parameters).await;
        for row in rows.map_err(DatabaseError::from)? {
            let read = || -> Result<(KeyColumn, bool), tokio_postgres::Error> {
                let column = KeyColumn {
                    name: row.try_get(0)?,
                    type_name: row.try_get(1)?,
                    operators: row.try_get(2)?,
                };
                Ok((column, row.try_get(3)?))
            };
            let (column, is_not_null) = read().map_err(DatabaseError::from)?;
            if !is_not_null {
                let (table, column) = (self.table.clone(), column.name);
                return Err(CliError::invalid(TableRefused::Nullable { table, column }));
            }
            self.key.push(column);
        }
        Ok(())
    }

    /// The statement that reads a page of rows: the key, the tokens, and the key's id; as text, arrays as JSON. If it is
    /// not the first page, the parameters are the last key of the one before.
    pub(super) fn page(&self, is_first: bool, rows: usize) -> String {
        let key = self.key.iter();
        let key = key.map(|key| format!("{}::pg_catalog.text", column(&key.name)));
        let cells = key.chain(self.changed().map(|name| self.read(name)));
        let key = listed(self.key.iter().map(|key| column(&key.name)));
        let condition = match is_first {
            true => String::new(),
            false => format!("WHERE {} ", self.is_after(&key)),
        };
        format!(
            "SELECT {} FROM {} AS t {condition}ORDER BY {key} LIMIT {rows}",
            listed(cells),
            self.table
        )
    }

    /// The condition that a key comes after the parameters. Postgres finds the first such row in the index by a row
    /// comparison, which has one operator: of one schema.
    fn is_after(&self, key: &str) -> String {
        let value = |(column, number): (&KeyColumn, i32)| {
            format!("${number}::pg_catalog.text::{}", column.type_name)
        };
        let numbered = || self.key.iter().zip(1..);
        let schemas: BTreeSet<_> = self.key.iter().map(|column| &column.operators).collect();
        if let (Some(schema), 1) = (schemas.first(), schemas.len()) {
            let values = listed(numbered().map(value));
            return format!("({key}) OPERATOR({schema}.>) ({values})");
        }
        let mut condition = "false".to_owned();
        for (column, number) in numbered().collect::<Vec<_>>().into_iter().rev() {
            let value = value((column, number));
            let [is_after, is_equal] = [">", "="].map(|operator| column.compared(operator, &value));
            condition = format!("({is_after} OR {is_equal} AND {condition})");
        }
        condition
    }

    /// The statement that replaces tokens where they are still those that were read. The parameters are arrays: the
    /// columns of the key, and for each column that changes what was read and what replaces it: of an array what
    /// Postgres reads as one, unless it stays.
    ///
    /// It locks rows in the order of the key, and skips those that somebody else has locked: so it never waits while it
    /// holds a lock that a batch of the function needs, and cannot be in a deadlock over rows with one.
    pub(super) fn update(&self) -> String {
        let keys = self.key.iter().enumerate();
        let keys: Vec<_> = keys
            .map(|(at, key)| key.compared("=", &format!("n.k{at}::{}", key.type_name)))
            .collect();
        let changed: Vec<_> = self.changed().collect();
        let unchanged = changed.iter().enumerate();
        let unchanged =
            unchanged.map(|(at, name)| format!("{} IS NOT DISTINCT FROM n.o{at}", self.read(name)));
        let same = [keys, unchanged.collect()].concat().join(" AND ");
        let arrays = 1..=self.key.len() + 2 * changed.len();
        let arrays =
            listed(arrays.map(|number| format!("pg_catalog.unnest(${number}::pg_catalog.text[])")));
        let names = (0..self.key.len()).map(|at| format!("k{at}"));
        let names = listed(
            names.chain((0..changed.len()).flat_map(|at| [format!("o{at}"), format!("n{at}")])),
        );
        let order = listed(self.key.iter().map(|key| column(&key.name)));
        let set = changed.iter().enumerate();
        let set = listed(set.map(|(at, name)| {
            let (quoted, old) = (quote_identifier(name), column(name));
            match self.is_array(name) {
                true => format!(
                    "{quoted} = CASE WHEN n.n{at} IS NOT DISTINCT FROM n.o{at} THEN {old} ELSE n.n{at}::pg_catalog.text[] END"
                ),
                false => format!("{quoted} = n.n{at}"),
            }
        }));
        let table = &self.table;
        format!(
            "WITH locked AS (SELECT n.* FROM {table} AS t JOIN ROWS FROM ({arrays}) AS n({names}) ON {same} \
             ORDER BY {order} FOR NO KEY UPDATE OF t SKIP LOCKED) \
             UPDATE {table} AS t SET {set} FROM locked AS n WHERE {same} RETURNING true"
        )
    }
}

/// The column of the table, not of the output: `ORDER BY` would otherwise sort by its text.
fn column(name: &str) -> String {
    qualified("t", name)
}
