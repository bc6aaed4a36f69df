//! A schema of the local Postgres for one test.

use std::net::{SocketAddr, ToSocketAddrs as _};

use mapping::Pipeline;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use crate::{clean_up, eventually};

/// The superuser's URL of the local Postgres.
pub fn database_url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run the tests by `make test`")
}

fn server() -> Config {
    database_url().parse().unwrap()
}

/// Where the local Postgres listens.
pub fn server_address() -> SocketAddr {
    let server = server();
    let Host::Tcp(host) = &server.get_hosts()[0] else {
        panic!("DATABASE_URL names no host")
    };
    let mut addresses = (host.as_str(), server.get_ports()[0])
        .to_socket_addrs()
        .unwrap();
    addresses.find(SocketAddr::is_ipv4).unwrap()
}

/// The name of the local database.
pub fn database_name() -> String {
    server().get_dbname().unwrap().to_owned()
}

/// The superuser's name and password.
pub fn superuser() -> (String, String) {
    let server = server();
    let password = String::from_utf8(server.get_password().unwrap().to_vec()).unwrap();
    (server.get_user().unwrap().to_owned(), password)
}

async fn connect() -> Client {
    connect_to(&database_url()).await
}

async fn connect_to(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A schema of its own. When it is dropped, all schemas, roles and databases are gone whose names begin with its name.
pub struct Database {
    pub client: Client,
    pub schema: String,
}

impl Database {
    pub async fn new() -> Self {
        let client = connect().await;
        let schema = format!("test_{:016x}", fastrand::u64(..));
        client
            .batch_execute(&format!(
                "CREATE SCHEMA {schema}; SET search_path = {schema}"
            ))
            .await
            .unwrap();
        Self { client, schema }
    }

    /// A database with the tables of a mapping, as `ddl` creates them.
    pub async fn with_tables_of(mapping: &str) -> Self {
        let database = Self::new().await;
        let pipeline = Pipeline::parse("pipeline.toml", mapping).unwrap();
        database.execute(&pipeline.create_tables()).await;
        database
    }

    /// A database with the table of the shipped mapping.
    pub async fn with_user_logins() -> Self {
        let database = Self::new().await;
        database
            .execute(include_str!("../../../localstack/schema.sql"))
            .await;
        database
    }

    pub async fn execute(&self, sql: &str) {
        self.client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows of a query of text columns, with `∅` for null.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let rows = self
            .client
            .query(sql, &[])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let cell = |row: &tokio_postgres::Row, column| {
            row.get::<_, Option<String>>(column)
                .unwrap_or_else(|| "∅".to_owned())
        };
        rows.iter()
            .map(|row| (0..row.len()).map(|column| cell(row, column)).collect())
            .collect()
    }

    pub async fn count(&self, table: &str) -> i64 {
        self.client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .await
            .unwrap()
            .get(0)
    }

    /// Locks the table until the returned client is dropped.
    pub async fn lock(&self, table: &str) -> Client {
        let client = connect().await;
        let sql = format!("BEGIN; LOCK TABLE {}.{table}", self.schema);
        client.batch_execute(&sql).await.unwrap();
        client
    }

    /// Locks these rows until the returned client is dropped.
    pub async fn lock_rows(&self, table: &str, condition: &str) -> Client {
        let client = connect().await;
        let sql = format!(
            "BEGIN; SELECT FROM {}.{table} WHERE {condition} FOR UPDATE",
            self.schema
        );
        client.batch_execute(&sql).await.unwrap();
        client
    }

    /// Waits until this many sessions wait for the table.
    pub async fn wait_for_waiting(&self, table: &str, count: i64) {
        let waiting = format!("pg_locks WHERE NOT granted AND relation = '{table}'::regclass");
        eventually(&format!("{count} wait for {table}"), async || {
            (self.count(&waiting).await == count).then_some(())
        })
        .await;
    }

    /// The URL by which the function finds the test's schema.
    pub fn url(&self) -> String {
        let separator = if database_url().contains('?') {
            '&'
        } else {
            '?'
        };
        format!(
            "{}{separator}options=-c%20search_path%3D{}",
            database_url(),
            self.schema
        )
    }

    /// The URL of a database of its own with an extension; `None` if the server does not have it.
    pub async fn url_with(&self, extension: &str) -> Option<String> {
        let sql =
            format!("SELECT name::text FROM pg_available_extensions WHERE name = '{extension}'");
        if self.rows(&sql).await.is_empty() {
            return None;
        }
        let name = format!("{}_{extension}", self.schema);
        self.execute(&format!("CREATE DATABASE {name}")).await;
        let (user, password) = superuser();
        let url = format!(
            "postgresql://{user}:{password}@{}/{name}?sslmode=disable",
            server_address()
        );
        let client = connect_to(&url).await;
        let create = format!("CREATE EXTENSION {extension}");
        client.batch_execute(&create).await.unwrap();
        Some(url)
    }

    /// A URL with which the tables of another schema take precedence over the tables of this one.
    pub fn url_behind(&self, other: &Self) -> String {
        let path = format!("search_path%3D{}", self.schema);
        let behind = format!("search_path%3D{},{}", other.schema, self.schema);
        self.url().replace(&path, &behind)
    }

    /// A URL through a proxy, as the superuser.
    pub fn url_through(&self, proxy: SocketAddr) -> String {
        let (user, password) = superuser();
        self.url_as(&user, &password, proxy)
    }

    /// A URL as another role, through a proxy or not.
    pub fn url_as(&self, user: &str, password: &str, address: SocketAddr) -> String {
        format!(
            "postgresql://{user}:{password}@{address}/{}?sslmode=disable&options=-c%20search_path%3D{}",
            database_name(),
            self.schema
        )
    }

    /// A role that may do everything in the schema.
    pub async fn role(&self, password: &str) -> String {
        let (schema, role) = (&self.schema, format!("{}_role", self.schema));
        self.execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{password}'; GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}; ALTER ROLE {role} SET search_path = {schema}"
        ))
        .await;
        role
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        clean_up(remove(self.schema.clone()));
    }
}

async fn remove(name: String) -> Result<(), Error> {
    let client = connect().await;
    // What the test or a function of its own left open would keep the tables locked.
    let blocking = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation IN \
             (SELECT oid FROM pg_class WHERE starts_with(relnamespace::regnamespace::text, '{name}')) \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    client.batch_execute(&blocking).await?;
    let made = format!(
        "SELECT format('DROP DATABASE %I WITH (FORCE)', datname), 1 FROM pg_database WHERE starts_with(datname, '{name}') \
         UNION ALL SELECT format('DROP SCHEMA %I CASCADE', nspname), 2 FROM pg_namespace WHERE starts_with(nspname, '{name}') \
         UNION ALL SELECT format('DROP OWNED BY %1$I; DROP ROLE %1$I', rolname), 3 FROM pg_roles WHERE starts_with(rolname, '{name}') \
         ORDER BY 2"
    );
    for message in client.simple_query(&made).await? {
        if let SimpleQueryMessage::Row(row) = message {
            client.batch_execute(row.get(0).unwrap()).await?;
        }
    }
    Ok(())
}
