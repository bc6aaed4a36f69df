//! The rows of people: counted, and deleted with the rows that belong to them.

use mapping::internals::{EQUALS, all_equal, qualified, quote_identifier};
use mapping::{Pipeline, TableMapping};
use sqs_to_postgres::database::{Database, DatabaseError};
use sqs_to_postgres::schema::{Known, KnownTable, TableError};
use thiserror::Error;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::column::Searched;
use super::left::{Accept, Left};
use super::person::People;
use super::session::{begin, settings_that_log};
use crate::cli::database::{Parameter, connect};
use crate::cli::error::CliError;
use crate::cli::output::{counted, listed};

/// Why rows cannot be searched.
#[derive(Debug, Error)]
enum RowsError {
    #[error("the server may log the parameters of statements, which contain the values: {0}")]
    Logged(String),
    #[error("the role lacks SELECT on {0}: GRANT SELECT, DELETE ON {0} TO {1};")]
    NotReadable(String, String),
    #[error(
        "row security hides rows of {0} from the role, so they could not be found: ALTER ROLE {1} BYPASSRLS; or connect as another role"
    )]
    RowSecurity(String, String),
}

/// A table in which rows were searched.
pub(super) struct FoundRows {
    /// Its quoted name.
    pub(super) table: String,
    /// Whether it has the column itself.
    pub(super) by_column: bool,
    /// The tables with the column that its rows belong to.
    pub(super) by_parents: Vec<String>,
    pub(super) rows: u64,
    /// `None` if that is unknown.
    pub(super) deleted: Option<u64>,
    pub(super) access: Access,
    /// The key's columns, and the query of the keys of the rows.
    key: String,
    keys: String,
    /// The statements that delete, one for each of the columns.
    pub(super) delete: Vec<String>,
    /// Positions of the columns among those that are searched.
    pub(super) columns: Vec<usize>,
    /// The query that counts its rows below tombstones, in which the column is null.
    below_tombstones: Option<String>,
}

/// What the role may do with a table, and where it is.
pub(super) struct Access {
    pub(super) schema: String,
    /// The statement that permits the role to delete, if that is missing.
    pub(super) grant: Option<String>,
    pub(super) may_analyze: bool,
}

/// The rows of the people, in all tables that can have some.
pub(super) struct Rows<'p> {
    pub(super) database: Database,
    pub(super) people: &'p People,
    pub(super) tables: Vec<FoundRows>,
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
            let sql = format!("SELECT pg_catalog.count(*) FROM ({}) AS found", table.keys);
            counts.push(count_by(client, &sql, table, self.people).await?);
        }
        client.batch_execute("COMMIT").await?;
        Ok(counts)
    }

    /// Rows that belong to tombstones: nothing says any more whose they are.
    pub(super) async fn below_tombstones(&mut self) -> Result<Vec<Left>, DatabaseError> {
        let client = connect(&mut self.database).await?;
        let mut left = Vec::new();
        for found in &self.tables {
            let Some(sql) = &found.below_tombstones else {
                continue;
            };
            let count: i64 = client.query_typed_one(sql, &[]).await?.try_get(0)?;
            if count > 0 {
                let rows = counted(usize::try_from(count).unwrap_or(usize::MAX), "row");
                let text = format!(
                    "{rows} of {} below tombstones, in which {} is null, so rows of the person may be among them: delete those by hand",
                    found.table, self.people.column
                );
                left.push(Left::unless_accepted(Accept::Tombstones, text));
            }
        }
        Ok(left)
    }

    /// Foreign keys of tables outside the mapping, and how many rows there refer to rows of the people, which therefore
    /// cannot be deleted. Asked first, because the server would log its refusal with the key of a row.
    pub(super) async fn references(&mut self) -> Result<Vec<String>, DatabaseError> {
        let sql = "SELECT conrelid::pg_catalog.regclass::pg_catalog.text, conname::pg_catalog.text, \
               (SELECT pg_catalog.string_agg(pg_catalog.format('t.%I OPERATOR(%I.%s) r.%I', a.attname, n.nspname, q.oprname, o.attname), ' AND ') \
                FROM ROWS FROM (pg_catalog.unnest(conkey), pg_catalog.unnest(confkey), pg_catalog.unnest(conpfeqop)) AS pair(own, other, equals) \
                JOIN pg_catalog.pg_operator q ON q.oid = equals JOIN pg_catalog.pg_namespace n ON n.oid = q.oprnamespace \
                JOIN pg_catalog.pg_attribute o ON o.attrelid = conrelid AND o.attnum = own \
                JOIN pg_catalog.pg_attribute a ON a.attrelid = confrelid AND a.attnum = other) \
               FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = pg_catalog.to_regclass($1)::pg_catalog.oid AND conparentid = 0::pg_catalog.oid AND confdeltype IN ('a', 'r') \
               AND conrelid <> ALL (SELECT pg_catalog.to_regclass(name)::pg_catalog.oid FROM pg_catalog.unnest($2::pg_catalog.text[]) AS name) AND pg_catalog.has_table_privilege(conrelid, 'SELECT') \
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
                    "SELECT pg_catalog.count(*) FROM {table} AS r JOIN {} AS t ON {same} WHERE ({}) OPERATOR(pg_catalog.=) ANY ({})",
                    found.table, found.key, found.keys
                );
                let rows = count_by(client, &count, found, self.people).await?;
                if rows > 0 {
                    let rows = counted(rows as usize, "row");
                    references.push(format!(
                    "foreign key {name:?}: {rows} of {table} refer to them, so delete those first or add ON DELETE CASCADE"
                ));
                }
            }
        }
        client.batch_execute("COMMIT").await?;
        Ok(references)
    }
}

async fn tables(database: &mut Database, people: &People) -> Result<Vec<FoundRows>, CliError> {
    let [_, role] = database.name_and_role().await?;
    let role = quote_identifier(&role);
    let settings = settings_that_log(database).await?;
    if !settings.is_empty() {
        let alter = |setting| format!("ALTER ROLE {role} SET {setting};");
        let alter: Vec<_> = settings.into_iter().map(alter).collect();
        return Err(CliError::invalid(RowsError::Logged(alter.join(" "))));
    }
    let client = connect(database).await?;
    let pipeline = &people.pipeline;
    let known = Known::read(client, pipeline).await?;
    let mut tables = Vec::new();
    for (number, table) in pipeline.tables.iter().enumerate() {
        let columns = columns_above(people, number);
        if columns.is_empty() {
            continue;
        }
        let access = Access::read(client, pipeline, table, &role).await?;
        tables.push(FoundRows::new(
            people,
            &known,
            (number, table),
            columns,
            access,
        ));
    }
    Ok(tables)
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

impl Access {
    async fn read(
        client: &Client,
        pipeline: &Pipeline,
        table: &TableMapping,
        role: &str,
    ) -> Result<Self, CliError> {
        let sql = "SELECT n.nspname::pg_catalog.text, pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
                   pg_catalog.has_table_privilege(c.oid, 'DELETE'), pg_catalog.row_security_active(c.oid), \
                   pg_catalog.pg_has_role(c.relowner, 'USAGE') \
                   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.oid = pg_catalog.to_regclass($1)::pg_catalog.oid";
        let name = table.table.to_string();
        let found = client.query_typed_opt(sql, &[(&name, Type::TEXT)]).await;
        let Some(found) = found.map_err(DatabaseError::from)? else {
            let ddl = pipeline.create_table(table);
            return Err(TableError::Missing { table: name, ddl }.into());
        };
        let is = |column| {
            found
                .try_get::<_, bool>(column)
                .map_err(DatabaseError::from)
        };
        if !is(1)? {
            let error = RowsError::NotReadable(name, role.to_owned());
            return Err(CliError::invalid(error));
        }
        if is(3)? {
            let error = RowsError::RowSecurity(name, role.to_owned());
            return Err(CliError::invalid(error));
        }
        Ok(Self {
            schema: found.try_get(0).map_err(DatabaseError::from)?,
            grant: (!is(2)?).then(|| format!("GRANT DELETE ON {name} TO {role};")),
            may_analyze: is(4)?,
        })
    }
}

impl FoundRows {
    fn new(
        people: &People,
        known: &Known,
        (number, table): (usize, &TableMapping),
        columns: Vec<usize>,
        access: Access,
    ) -> Self {
        let name = table.table.to_string();
        let searched = columns.iter().filter_map(|&at| people.searched.get(at));
        let by_column = people
            .searched
            .iter()
            .any(|searched| searched.table == number);
        let key = listed(table.key_names().map(|name| qualified("t", name)));
        let (mut parts, mut delete, mut by_parents) = (Vec::new(), Vec::new(), Vec::new());
        let mut below_tombstones = None;
        for (found, parameter) in searched.zip(1..) {
            let Some(other) = people.pipeline.tables.get(found.table) else {
                continue;
            };
            if found.table != number {
                by_parents.push(other.table.to_string());
            }
            let ([from, using], same) = joined(known, (number, table), (found.table, other));
            let is_in_key = other.key_names().any(|key| key == people.column);
            let tombstone = other.tombstone_column();
            if let Some(tombstone) = tombstone.filter(|_| !by_column && !is_in_key) {
                let deleted_at = qualified("a", &tombstone.name);
                below_tombstones = Some(format!(
                    "SELECT pg_catalog.count(*) FROM {name} AS t{from} WHERE {same}{deleted_at} IS NOT NULL"
                ));
            }
            let alias = if found.table == number { "t" } else { "a" };
            let has_value =
                |parameter| has_value(alias, people, found, known.table(found.table), parameter);
            parts.push(format!(
                "SELECT {key} FROM {name} AS t{from} WHERE {same}{}",
                has_value(parameter)
            ));
            delete.push(format!(
                "DELETE FROM {name} AS t{using} WHERE {same}{}",
                has_value(1)
            ));
        }
        Self {
            by_column,
            by_parents,
            rows: 0,
            deleted: Some(0),
            access,
            // The key is unique, so a row that is found in two ways counts once.
            key,
            keys: parts.join(" UNION "),
            delete,
            columns,
            below_tombstones,
            table: name,
        }
    }
}

/// How a query and a DELETE name the table above that has the column, and the condition of the join. The key of a child
/// begins with the key of its parent, and so with the keys of all tables above.
fn joined(
    known: &Known,
    (number, table): (usize, &TableMapping),
    (other_number, other): (usize, &TableMapping),
) -> ([String; 2], String) {
    if other_number == number {
        return Default::default();
    }
    let (keys, above) = (table.key_names(), other.key_names());
    let equals = |name: &str| known.table(number).equals(name);
    let same = all_equal(("t", keys), ("a", above), equals);
    let other = &other.table;
    let names = [format!(", {other} AS a"), format!(" USING {other} AS a")];
    (names, format!("{same} AND "))
}

/// The condition that a column has one of the values of a parameter, as an index of the column compares them.
fn has_value(
    alias: &str,
    people: &People,
    searched: &Searched,
    known: &KnownTable,
    parameter: usize,
) -> String {
    let column = qualified(alias, &people.column);
    match known
        .column(&people.column)
        .filter(|_| searched.column_type.is_text())
    {
        None => format!("{column} {EQUALS} ANY (${parameter})"),
        // Not every value that is searched for is one of the enum.
        Some(known) => match &known.equals {
            Some(equals) if !known.is_enum => format!(
                "{column} {equals} ANY (${parameter}::pg_catalog.text[]::{}[])",
                known.cast
            ),
            _ => format!("{column}::pg_catalog.text {EQUALS} ANY (${parameter})"),
        },
    }
}

async fn count_by(
    client: &Client,
    sql: &str,
    table: &FoundRows,
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
