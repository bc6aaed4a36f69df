//! Aurora DSQL, recognised by its host.

/// The role that DSQL makes for each cluster; it has an action of its own in IAM.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/using-database-and-iam-roles.html> (2026-11).
pub(super) const ADMIN: &str = "admin";

/// Endpoints are called `CLUSTER.dsql.REGION.on.aws`, those of PrivateLink `CLUSTER.dsql-….REGION.on.aws`.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/privatelink-managing-clusters.html> (2026-11).
pub(super) fn is_dsql(host: &str) -> bool {
    let mut labels = host.split('.').skip(1);
    let service = labels.next().unwrap_or_default();
    (service == "dsql" || service.starts_with("dsql-")) && host.ends_with(".on.aws")
}
