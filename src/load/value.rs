//! Which value of a refused message Postgres cannot read. Its error does not say it: all values of a column are cast in
//! one expression.

use std::sync::Arc;

use mapping::{Column, MessageRows, Refusal, RefusedValue, Rows, TableMapping};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::Loader;
use super::array::ColumnArray;
use super::attempt::Failure;
use super::fault::query_catalog;
use super::schedule::Part;
use crate::database::DatabaseError;
use crate::deadline::TimeBudget;
use crate::refusal::OfPostgres as _;
use crate::schema::KnownTable;

/// How many labels of an enum are named.
const MAX_LABELS: usize = 20;

/// A column whose values Postgres reads from text, with the values of one message.
struct Suspect<'a> {
    table: &'a TableMapping,
    column: &'a Column,
    values: ColumnArray<'a>,
    /// The type to which the statement casts, and the type of the column, as SQL writes them.
    types: [String; 2],
    type_name: String,
}

impl Loader {
    /// Names the value of a refused message that Postgres cannot read, if there is one. Then the row is at fault,
    /// whatever else the error could mean.
    pub(super) async fn name_value(
        &mut self,
        failure: Failure,
        rows: &MessageRows,
        part: &Part,
        time: TimeBudget,
    ) -> Failure {
        let (Failure::Refused(refusal, _), &[message]) = (&failure, &part.messages[..]) else {
            return failure;
        };
        if !may_be_of_value(refusal) {
            return failure;
        }
        let pipeline = Arc::clone(&self.pipeline);
        let known = self.statements.known();
        let tables = pipeline.tables.iter().zip(rows.tables()).enumerate();
        let selected: Vec<Vec<usize>> = rows
            .tables()
            .iter()
            .map(|table| table.of_message(message).collect())
            .collect();
        let suspects = tables
            .zip(&selected)
            .flat_map(|((position, (table, own)), selected)| {
                suspects(table, known.table(position), &own.rows, selected)
            });
        let suspects: Vec<Suspect<'_>> = suspects.collect();
        for suspect in &suspects {
            let ask = async |client: &Client, _: &TableMapping| suspect.ask(client, refusal).await;
            let found = query_catalog(&mut self.database, suspect.table, time, ask).await;
            match found {
                Ok(None) => {}
                Ok(Some(value)) => {
                    let mut refusal = refusal.clone();
                    refusal.value = Some(Box::new(value));
                    return Failure::Refused(refusal, None);
                }
                // The refusal is known without it.
                Err(error) => {
                    tracing::debug!(reason = %error, "the refused value cannot be determined");
                    return failure;
                }
            }
        }
        failure
    }
}

/// Whether a value may be at fault: its text, or a domain's constraint, which Postgres names without a table. Some types
/// have a language of their own, such as tsquery and ltree, whose errors are syntax errors, and PostGIS has no code for
/// text that it cannot read.
fn may_be_of_value(refusal: &Refusal) -> bool {
    match refusal.sqlstate.get(..2) {
        _ if refusal.is_raised => false,
        _ if refusal.is(&SqlState::SYNTAX_ERROR) || refusal.is(&SqlState::INVALID_NAME) => true,
        Some("22" | "XX") => true,
        Some("23") => refusal.table.is_none(),
        Some(_) | None => false,
    }
}

fn suspects<'a>(
    table: &'a TableMapping,
    known: &KnownTable,
    rows: &'a Rows,
    selected: &'a [usize],
) -> Vec<Suspect<'a>> {
    let values = ColumnArray::of_columns(table, 0..table.columns.len(), rows, selected);
    let columns = table.columns.iter().zip(values);
    let suspects = columns.filter_map(|(column, values)| {
        let known = known.column(&column.name);
        let known = known.filter(|known| known.is_enum || column.cast.is_some());
        let (types, type_name) = match (known, &column.cast) {
            (Some(known), _) => {
                let types = [known.cast.clone(), known.full_type.clone()];
                (types, known.full_type.clone())
            }
            (None, Some(cast)) => {
                let types = [cast.sql_without_modifiers(), cast.sql()];
                (types, cast.to_string())
            }
            (None, None) => return None,
        };
        Some(Suspect {
            table,
            column,
            values,
            types,
            type_name,
        })
    });
    suspects.collect()
}

impl Suspect<'_> {
    /// Casts the values of the column alone, and names it if Postgres refuses them as it has refused the row.
    async fn ask(
        &self,
        client: &Client,
        refusal: &Refusal,
    ) -> Result<Option<RefusedValue>, DatabaseError> {
        let [cast, full] = &self.types;
        // A cast to the full type cuts off what an assignment refuses.
        let sql = format!(
            "SELECT EXISTS (SELECT FROM (SELECT pg_catalog.unnest($1)::pg_catalog.text::{cast} AS value) AS own \
             WHERE own.value::pg_catalog.text OPERATOR(pg_catalog.<>) own.value::{full}::pg_catalog.text)"
        );
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&self.values, Type::TEXT_ARRAY)];
        let answer = client.query_typed_one(&sql, &parameters).await;
        let is_refused = match answer.map_err(DatabaseError::from) {
            Ok(row) => row.try_get(0)? && is_of_length(refusal),
            Err(DatabaseError::Server(again)) => again.sqlstate == refusal.sqlstate,
            Err(error) => return Err(error),
        };
        if !is_refused {
            return Ok(None);
        }
        Ok(Some(RefusedValue {
            table: self.table.table.unquoted(),
            column: self.column.name.clone(),
            type_name: self.type_name.clone(),
            labels: self.labels(client).await?,
        }))
    }

    /// The labels of the column's type, if it or its elements are an enum.
    async fn labels(&self, client: &Client) -> Result<Vec<String>, DatabaseError> {
        let sql = format!(
            "SELECT l.enumlabel::pg_catalog.text FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
             JOIN pg_catalog.pg_enum l ON l.enumtypid = CASE b.typcategory WHEN 'A' THEN b.typelem ELSE b.oid END \
             WHERE a.attrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND a.attname = $2 AND a.attnum > 0 \
             ORDER BY l.enumsortorder LIMIT {MAX_LABELS}"
        );
        let table = self.table.table.to_string();
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&table, Type::TEXT), (&self.column.name, Type::TEXT)];
        let rows = client.query_typed(&sql, &parameters).await?;
        let labels = rows.iter().map(|row| row.try_get(0));
        Ok(labels.collect::<Result<_, _>>()?)
    }
}

/// Whether text was refused for its length.
fn is_of_length(refusal: &Refusal) -> bool {
    refusal.is(&SqlState::STRING_DATA_RIGHT_TRUNCATION)
        || refusal.is(&SqlState::STRING_DATA_LENGTH_MISMATCH)
}
