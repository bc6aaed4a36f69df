//! The rows of people: counted, and deleted with the rows that belong to them.

use sqs_to_postgres::database::{Database, DatabaseError};
use sqs_to_postgres::pipeline::{Pipeline, TableMapping};
use sqs_to_postgres::quote::{all_equal, qualified, quote_identifier};
use sqs_to_postgres::refusal::RetryAction;
use sqs_to_postgres::schema::TableError;
use thiserror::Error;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::person::People;
use crate::cli::database::{Parameter, connect};
use crate::cli::error::CliError;
use crate::cli::output::{counted, listed};

/// A transaction that met another one is tried this often.
const ATTEMPTS: usize = 5;

/// Begins a transaction, of which no error quotes a parameter in the server's log, and a superuser's no statement. A
/// parent that is replaced with its children in the meantime is refused (40001) rather than deleted without them.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL log_parameter_max_length_on_error = 0; \
    SELECT set_config('log_parameter_max_length', '0', true) WHERE current_setting('is_superuser') = 'on'";

/// Whether the server would log parameters of statements that succeed.
/// Source: <https://www.postgresql.org/docs/18/runtime-config-logging.html>.
const LOGS: &str = "SELECT current_setting('log_parameter_max_length') <> '0' AND ( \
    current_setting('log_statement') IN ('mod', 'all') OR current_setting('log_duration') = 'on' \
    OR current_setting('log_min_duration_statement') <> '-1' OR current_setting('log_min_duration_sample') <> '-1' \
    OR current_setting('log_transaction_sample_rate') <> '0')";

/// Why rows cannot be searched.
#[derive(Debug, Error)]
enum RowsError {
    #[error(
        "the server may log the parameters of statements, which hold the values: ALTER ROLE {0} SET log_parameter_max_length = 0;"
    )]
    Logged(String),
    #[error("the role lacks SELECT on {0}: GRANT SELECT, DELETE ON {0} TO {1};")]
    NotReadable(String, String),
}

/// A table in which rows were searched.
pub(super) struct Found {
    /// Its quoted name.
    pub(super) table: String,
    /// Whether it has the column itself.
    pub(super) by_column: bool,
    /// The tables with the column that its rows belong to.
    pub(super) by_parents: Vec<String>,
    pub(super) rows: u64,
    pub(super) deleted: u64,
    /// The statement that permits the role to delete, if that is missing.
    pub(super) grant: Option<String>,
    /// The key's columns, and the query of the keys of the rows.
    key: String,
    keys: String,
    /// The statements that delete, one for each of the columns.
    delete: Vec<String>,
    /// Positions of the columns among those that are searched.
    columns: Vec<usize>,
}

/// The rows of the people, in all tables that can have some.
pub(super) struct Rows<'p> {
    database: Database,
    people: &'p People,
    pub(super) tables: Vec<Found>,
}

impl<'p> Rows<'p> {
    /// Counts the rows of the people.
    pub(super) async fn find(mut database: Database, people: &'p People) -> Result<Self, CliError> {
        let tables = tables(&mut database, people).await?;
        let mut found = Self {
            database,
            people,
            tables,
        };
        let counts = found.count().await?;
        for (table, rows) in found.tables.iter_mut().zip(counts) {
            table.rows = rows;
        }
        Ok(found)
    }

    /// Counts the rows of the people in each of the tables.
    pub(super) async fn count(&mut self) -> Result<Vec<u64>, DatabaseError> {
        let client = begin(&mut self.database).await?;
        let mut counts = Vec::new();
        for table in &self.tables {
            let sql = format!("SELECT count(*) FROM ({}) AS found", table.keys);
            counts.push(count_by(client, &sql, table, self.people).await?);
        }
        client.batch_execute("COMMIT").await?;
        Ok(counts)
    }

    /// Foreign keys of tables outside the mapping, and how many rows there refer to rows of the people, which therefore
    /// cannot be deleted. Asked first, because the server would log its refusal with the key of a row.
    pub(super) async fn references(&mut self) -> Result<Vec<String>, DatabaseError> {
        let sql = "SELECT conrelid::regclass::text, conname::text, \
               (SELECT string_agg(format('r.%I = t.%I', o.attname, a.attname), ' AND ') FROM unnest(conkey, confkey) AS pair(own, other) \
                JOIN pg_attribute o ON o.attrelid = conrelid AND o.attnum = own \
                JOIN pg_attribute a ON a.attrelid = confrelid AND a.attnum = other) \
               FROM pg_constraint WHERE contype = 'f' AND confrelid = to_regclass($1) AND conparentid = 0 AND confdeltype IN ('a', 'r') \
               AND conrelid <> ALL (SELECT to_regclass(name) FROM unnest($2::text[]) AS name) AND has_table_privilege(conrelid, 'SELECT') \
               ORDER BY 1, 2";
        let names: Vec<_> = self
            .tables
            .iter()
            .map(|found| found.table.as_str())
            .collect();
        let client = begin(&mut self.database).await?;
        let mut references = Vec::new();
        for found in self.tables.iter().filter(|found| found.rows > 0) {
            let parameters: [(Parameter, Type); 2] =
                [(&found.table, Type::TEXT), (&names, Type::TEXT_ARRAY)];
            for row in client.query_typed(sql, &parameters).await? {
                let [table, name, same]: [String; 3] =
                    [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?];
                let count = format!(
                    "SELECT count(*) FROM {table} AS r JOIN {} AS t ON {same} WHERE ({}) IN ({})",
                    found.table, found.key, found.keys
                );
                let rows = count_by(client, &count, found, self.people).await?;
                if rows > 0 {
                    let rows = counted(rows as usize, "row");
                    references.push(format!(
                    "foreign key {name:?}: {rows} of {table}, delete them first or let the key cascade"
                ));
                }
            }
        }
        client.batch_execute("COMMIT").await?;
        Ok(references)
    }

    /// Deletes the rows of the people, and those that belong to them, in one transaction.
    pub(super) async fn delete(&mut self) -> Result<(), DatabaseError> {
        let mut attempt = 1;
        loop {
            let error = match self.delete_once().await {
                Ok(deleted) => {
                    for (table, deleted) in self.tables.iter_mut().zip(deleted) {
                        table.deleted = deleted;
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            // What is open is rolled back.
            self.database.disconnect();
            if attempt == ATTEMPTS || !met_another(&error) {
                return Err(error);
            }
            attempt += 1;
        }
    }

    async fn delete_once(&mut self) -> Result<Vec<u64>, DatabaseError> {
        let client = begin(&mut self.database).await?;
        let mut counts = Vec::new();
        // A mapping has parents before their children.
        for table in self.tables.iter().rev() {
            let mut deleted = 0;
            for (sql, at) in table.delete.iter().zip(&table.columns) {
                if let Some((cells, array)) = self.people.cells(*at) {
                    deleted += client.execute_typed(sql, &[(&cells, array)]).await?;
                }
            }
            counts.push(deleted);
        }
        client.batch_execute("COMMIT").await?;
        counts.reverse();
        Ok(counts)
    }
}

async fn tables(database: &mut Database, people: &People) -> Result<Vec<Found>, CliError> {
    let [_, role] = database.name_and_role().await?;
    let role = quote_identifier(&role);
    if logs_parameters(database).await? {
        return Err(CliError::invalid(RowsError::Logged(role)));
    }
    let client = connect(database).await?;
    let pipeline = &people.pipeline;
    let mut tables = Vec::new();
    for (number, table) in pipeline.tables.iter().enumerate() {
        let columns = columns_above(people, number);
        if columns.is_empty() {
            continue;
        }
        let grant = grant(client, pipeline, table, &role).await?;
        tables.push(Found::new(people, (number, table), columns, grant));
    }
    Ok(tables)
}

async fn logs_parameters(database: &mut Database) -> Result<bool, DatabaseError> {
    let client = begin(database).await?;
    let logs = client.query_typed_one(LOGS, &[]).await?.try_get(0)?;
    client.batch_execute("COMMIT").await?;
    Ok(logs)
}

/// The searched columns of a table and of those that its rows belong to.
fn columns_above(people: &People, table: usize) -> Vec<usize> {
    let parent = |table: &usize| people.pipeline.tables.get(*table)?.parent;
    let lineage = std::iter::successors(Some(table), parent);
    let column = |table| {
        people
            .searched
            .iter()
            .position(|searched| searched.table == table)
    };
    lineage.filter_map(column).collect()
}

/// The statement that permits the role to delete rows, if it lacks DELETE.
async fn grant(
    client: &Client,
    pipeline: &Pipeline,
    table: &TableMapping,
    role: &str,
) -> Result<Option<String>, CliError> {
    let sql = "SELECT has_table_privilege(t, 'SELECT'), has_table_privilege(t, 'DELETE') \
               FROM CAST(to_regclass($1) AS oid) AS t WHERE t IS NOT NULL";
    let name = table.table.to_string();
    let found = client.query_typed_opt(sql, &[(&name, Type::TEXT)]).await;
    let Some(found) = found.map_err(DatabaseError::from)? else {
        let ddl = pipeline.create_table(table);
        return Err(TableError::Missing { table: name, ddl }.into());
    };
    let may = |column| {
        found
            .try_get::<_, bool>(column)
            .map_err(DatabaseError::from)
    };
    if !may(0)? {
        return Err(CliError::invalid(RowsError::NotReadable(
            name,
            role.to_owned(),
        )));
    }
    Ok((!may(1)?).then(|| format!("GRANT DELETE ON {name} TO {role};")))
}

impl Found {
    fn new(
        people: &People,
        (number, table): (usize, &TableMapping),
        columns: Vec<usize>,
        grant: Option<String>,
    ) -> Self {
        let (name, column) = (table.table.to_string(), quote_identifier(&people.column));
        let searched = columns.iter().filter_map(|&at| people.searched.get(at));
        let above = searched.filter_map(|found| people.pipeline.tables.get(found.table));
        let by_column = people
            .searched
            .iter()
            .any(|searched| searched.table == number);
        let key = listed(table.key_names().map(|name| qualified("t", name)));
        let (mut parts, mut delete, mut by_parents) = (Vec::new(), Vec::new(), Vec::new());
        for (other, parameter) in above.zip(1..) {
            let ([from, using], condition) = match other.table == table.table {
                true => (Default::default(), format!("t.{column} = ANY")),
                false => {
                    by_parents.push(other.table.to_string());
                    // The key of a child begins with that of its parent, and so with those of all tables above.
                    let same = all_equal(("t", table.key_names()), ("a", other.key_names()));
                    let other = format!("{} AS a", other.table);
                    let joined = [format!(", {other}"), format!(" USING {other}")];
                    (joined, format!("{same} AND a.{column} = ANY"))
                }
            };
            parts.push(format!(
                "SELECT {key} FROM {name} AS t{from} WHERE {condition} (${parameter})"
            ));
            delete.push(format!(
                "DELETE FROM {name} AS t{using} WHERE {condition} ($1)"
            ));
        }
        Self {
            by_column,
            by_parents,
            rows: 0,
            deleted: 0,
            grant,
            // The key is unique, so a row that is found in two ways counts once.
            key,
            keys: parts.join(" UNION "),
            delete,
            columns,
            table: name,
        }
    }
}

/// A transaction whose parameters stay out of the server's log, as far as the role may decide that.
async fn begin(database: &mut Database) -> Result<&Client, DatabaseError> {
    let client = connect(database).await?;
    client.batch_execute(BEGIN).await?;
    Ok(client)
}

async fn count_by(
    client: &Client,
    sql: &str,
    table: &Found,
    people: &People,
) -> Result<u64, DatabaseError> {
    let cells = table.columns.iter().filter_map(|at| people.cells(*at));
    let cells: Vec<_> = cells.collect();
    let parameters = cells.iter();
    let parameters = parameters.map(|(cells, array)| (cells as Parameter, array.clone()));
    let parameters: Vec<_> = parameters.collect();
    let row = client.query_typed_one(sql, &parameters).await?;
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or_default())
}

/// Whether another transaction came in between, for example with a new child.
fn met_another(error: &DatabaseError) -> bool {
    const FOREIGN_KEY_VIOLATION: &str = "23503";
    let is_referenced = matches!(error, DatabaseError::Server(refusal) if refusal.sqlstate == FOREIGN_KEY_VIOLATION);
    is_referenced || error.action() == RetryAction::Retry
}
