//! Aurora DSQL, recognised by its host.

use std::time::{Duration, SystemTime};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// The role that DSQL makes for each cluster; it has an action of its own in IAM.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/using-database-and-iam-roles.html> (2026-11).
pub(super) const ADMIN: &str = "admin";

/// Endpoints are called `CLUSTER.dsql.REGION.on.aws`, PrivateLink endpoints `CLUSTER.dsql-….REGION.on.aws`.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/privatelink-managing-clusters.html> (2026-11).
pub(super) fn is_dsql(host: &str) -> bool {
    let mut labels = host.split('.').skip(1);
    let service = labels.next().unwrap_or_default();
    (service == "dsql" || service.starts_with("dsql-")) && host.ends_with(".on.aws")
}

/// Whether a connection leads to DSQL.
pub(super) fn leads_to_dsql(config: &Config) -> bool {
    let is_dsql = |host: &Host| matches!(host, Host::Tcp(name) if is_dsql(name));
    config.get_hosts().iter().any(is_dsql)
}

/// A connection is renewed at this age, between two batches: DSQL closes it after 60 minutes.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/CHAP_quotas.html> (2026-11).
const MAX_AGE: Duration = Duration::from_secs(55 * 60);

/// Whether a connection must be renewed; also if the clock was set back, so that its age is unknown.
pub(super) fn is_old(made: SystemTime, now: SystemTime) -> bool {
    now.duration_since(made).map_or(true, |age| age >= MAX_AGE)
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
            assert_eq!(is_dsql(host), expected, "{host}");
        }
    }

    #[test]
    fn a_connection_is_renewed_before_dsql_closes_it() {
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let after = |minutes: u64| made + Duration::from_secs(60 * minutes);
        assert!(!is_old(made, after(54)));
        assert!(is_old(made, after(55)));
        assert!(is_old(after(1), made), "the clock was set back");
    }
}
