//! Prepared statements. Postgres parses and plans a prepared statement once per connection instead of once per batch,
//! which is a quarter of its work for a batch of 10.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::DatabaseError;
use super::facts::is_direct;

/// The prepared statements of a connection.
pub(crate) enum Prepared {
    /// Whether the connection supports them is not known yet.
    Unknown,
    /// By their text.
    Statements(HashMap<String, Statement>),
    /// Nothing is prepared. A pooler may run the next transaction in another server process, where another client's
    /// statement may have the same name; RDS Proxy would pin a connection to the server to this client.
    /// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html>.
    Unsupported,
}

impl Prepared {
    /// The statement, if it is prepared.
    pub(crate) fn get(&self, text: &str) -> Option<Statement> {
        match self {
            Self::Statements(prepared) => prepared.get(text).cloned(),
            Self::Unknown | Self::Unsupported => None,
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
            *self = Self::Unsupported;
        }
    }

    async fn try_prepare(
        &mut self,
        client: &Client,
        text: &str,
        types: impl Iterator<Item = Type>,
    ) -> Result<(), DatabaseError> {
        match self {
            Self::Unknown if is_direct(client).await? => *self = Self::Statements(HashMap::new()),
            Self::Unknown => *self = Self::Unsupported,
            Self::Statements(prepared) => {
                let types: Vec<_> = types.collect();
                let statement = client.prepare_typed(text, &types).await?;
                prepared.insert(text.to_owned(), statement);
            }
            Self::Unsupported => {}
        }
        Ok(())
    }
}
