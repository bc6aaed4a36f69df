//! Which server speaks Postgres's protocol, and how it differs.

use std::time::{Duration, SystemTime};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// A connection to Aurora DSQL is renewed at this age, between two batches: the server closes it after 60 minutes.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/CHAP_quotas.html> (2026-11).
const MAX_AGE_OF_DSQL: Duration = Duration::from_secs(55 * 60);

/// How much one transaction may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransactionLimit {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// DSQL's 10 MiB count the rows and the protocol's message, which contain more than the values.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/CHAP_quotas.html> (2026-11).
const LIMIT_OF_DSQL: TransactionLimit = TransactionLimit {
    rows: 3_000,
    bytes: 8 * 1024 * 1024,
};

/// A server that speaks Postgres's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Postgres, and whatever behaves like it.
    Postgres,
    /// Aurora DSQL.
    Dsql,
}

impl Server {
    /// The server at a host. Endpoints of DSQL are called `CLUSTER.dsql.REGION.on.aws`, PrivateLink endpoints
    /// `CLUSTER.dsql-….REGION.on.aws`.
    /// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/privatelink-managing-clusters.html> (2026-11).
    pub(super) fn at(host: &str) -> Self {
        let mut labels = host.split('.').skip(1);
        let service = labels.next().unwrap_or_default();
        let is_dsql = service == "dsql" || service.starts_with("dsql-");
        match is_dsql && host.ends_with(".on.aws") {
            true => Self::Dsql,
            false => Self::Postgres,
        }
    }

    /// The server to which a connection leads.
    pub(super) fn of(config: &Config) -> Self {
        let hosts = config.get_hosts().iter();
        let mut servers = hosts.map(|host| match host {
            Host::Tcp(name) => Self::at(name),
            Host::Unix(_) => Self::Postgres,
        });
        servers
            .find(|server| *server != Self::Postgres)
            .unwrap_or(Self::Postgres)
    }

    /// Whether a connection must be renewed; also if the clock was set back, so that its age is unknown.
    pub(super) fn closes(self, made: SystemTime, now: SystemTime) -> bool {
        match self {
            Self::Postgres => false,
            Self::Dsql => now
                .duration_since(made)
                .map_or(true, |age| age >= MAX_AGE_OF_DSQL),
        }
    }

    /// How much one transaction may contain; `None` where there is no limit.
    pub(crate) fn transaction_limit(self) -> Option<TransactionLimit> {
        match self {
            Self::Postgres => None,
            Self::Dsql => Some(LIMIT_OF_DSQL),
        }
    }

    /// Whether its catalog has what Postgres's has, of constraints, privileges and obstacles: for DSQL that is not
    /// documented.
    pub fn has_full_catalog(self) -> bool {
        match self {
            Self::Postgres => true,
            Self::Dsql => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dsql_is_recognised_by_its_host() {
        let hosts = [
            ("foo0bar1baz2quux3quuux4.dsql.us-east-1.on.aws", true),
            ("foo0bar1baz2quux3quuux4.dsql-fnh4.us-east-1.on.aws", true),
            ("logins.czz8vq.eu-central-1.rds.amazonaws.com", false),
            ("dsql.us-east-1.on.aws", false),
            ("x.dsql.example.org", false),
        ];
        for (host, expected) in hosts {
            assert_eq!(Server::at(host) == Server::Dsql, expected, "{host}");
        }
    }

    #[test]
    fn a_transaction_of_dsql_has_at_most_3000_rows_and_8_mebibytes() {
        let limit = TransactionLimit {
            rows: 3_000,
            bytes: 8 << 20,
        };
        assert_eq!(Server::Dsql.transaction_limit(), Some(limit));
        assert_eq!(Server::Postgres.transaction_limit(), None);
    }

    #[test]
    fn a_connection_is_renewed_before_dsql_closes_it() {
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let after = |minutes: u64| made + Duration::from_secs(60 * minutes);
        assert!(!Server::Dsql.closes(made, after(54)));
        assert!(Server::Dsql.closes(made, after(55)));
        assert!(
            Server::Dsql.closes(after(1), made),
            "the clock was set back"
        );
        assert!(!Server::Postgres.closes(made, after(600)));
    }
}
