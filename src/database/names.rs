//! Prepared statements. Postgres parses and plans a prepared statement once per connection instead of once per batch,
//! which is a quarter of its work for a batch of 10.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::DatabaseError;
use super::server::is_direct;

/// How long a prepared statement lasts.
pub(crate) enum Names {
    /// Nothing is prepared and nothing copied: Aurora DSQL has no `COPY`, and RDS Proxy would pin a connection to the server to this client.
    /// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html>.
    Pinning,
    /// Not known yet.
    Unknown,
    /// For a transaction: a pooler may run the next one in another server process, where another client's statement
    /// may have the same name.
    Transaction,
    /// As long as the connection; the prepared statements, by their text.
    Connection(HashMap<String, Statement>),
}

impl Names {
    /// The statement, if it is prepared.
    pub(crate) fn get(&self, text: &str) -> Option<Statement> {
        match self {
            Self::Connection(named) => named.get(text).cloned(),
            Self::Pinning | Self::Unknown | Self::Transaction => None,
        }
    }

    /// Prepares the statement if the connection supports it, one step per batch. If Postgres refuses, no other
    /// statement is prepared either.
    pub(crate) async fn prepare(
        &mut self,
        client: &Client,
        text: &str,
        types: impl Iterator<Item = Type>,
    ) {
        if let Err(error) = self.try_prepare(client, text, types).await {
            tracing::debug!(reason = %error, "statements are not prepared");
            *self = Self::Transaction;
        }
    }

    async fn try_prepare(
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
