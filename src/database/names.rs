//! Names of statements. Postgres parses and plans a statement that has one once a connection, in place of
//! once a batch: that is a quarter of what it does for a batch of 10.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::DatabaseError;
use super::server::is_direct;

/// How long a name lasts on a connection.
pub(crate) enum Names {
    /// RDS Proxy would keep a connection of the server's for us alone.
    /// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html>.
    Pinning,
    /// Not known yet.
    Unknown,
    /// For a transaction: a pooler may give the next one to another process of the server, where another
    /// client's statement may have the same name.
    Transaction,
    /// As long as the connection; those given, by their statement's text.
    Connection(HashMap<String, Statement>),
}

impl Names {
    pub(super) fn new(is_behind_rds_proxy: bool) -> Self {
        if is_behind_rds_proxy {
            Self::Pinning
        } else {
            Self::Unknown
        }
    }

    /// The statement, if it has a name.
    pub(crate) fn get(&self, text: &str) -> Option<Statement> {
        match self {
            Self::Connection(named) => named.get(text).cloned(),
            Self::Pinning | Self::Unknown | Self::Transaction => None,
        }
    }

    /// Takes one step towards a name for a statement that has none, if it can have one. Where Postgres
    /// refuses, no other gets one either.
    pub(crate) async fn learn(
        &mut self,
        client: &Client,
        text: &str,
        types: impl Iterator<Item = Type>,
    ) {
        if let Err(error) = self.try_learn(client, text, types).await {
            tracing::debug!(reason = %error, "statements get no names");
            *self = Self::Transaction;
        }
    }

    async fn try_learn(
        &mut self,
        client: &Client,
        text: &str,
        types: impl Iterator<Item = Type>,
    ) -> Result<(), DatabaseError> {
        match self {
            Self::Unknown if is_direct(client).await? => *self = Self::Connection(HashMap::new()),
            Self::Unknown => *self = Self::Transaction,
            Self::Connection(named) => {
                let types: Vec<_> = types.collect();
                let statement = client.prepare_typed(text, &types).await?;
                named.insert(text.to_owned(), statement);
            }
            Self::Pinning | Self::Transaction => {}
        }
        Ok(())
    }
}
