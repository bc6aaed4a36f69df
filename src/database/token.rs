//! IAM authentication: a signed token instead of a password.
//!
//! The token is a presigned URL without its scheme, which the server has AWS verify. It lasts 15 minutes, is needed
//! only while a connection is made, and may be used for several connections. It is reused because RDS throttles logins
//! with new tokens, and not those with a token that it has seen.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::zeroize::Zeroizing;
use tokio_postgres::Config;

use super::DatabaseError;
use super::server::Server;
use super::target::{DEFAULT_PORT, complete};
use crate::aws::AwsError;
use crate::config::DatabaseIamSettings;
use crate::secret::Secrets;

/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html> (2026-11).
const LIFETIME: Duration = Duration::from_secs(900);

/// A token is used for new connections up to this age: RDS accepts 200 new connections a second, but does not throttle
/// connections with the same token. The rest of its lifetime is for a clock that is wrong.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html> (2026-11).
const REUSED_FOR: Duration = Duration::from_secs(600);

/// All that a URL must not contain.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html> (2026-11).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A database that accepts tokens.
pub(super) struct Iam {
    pub(super) settings: DatabaseIamSettings,
    pub(super) secrets: Arc<Secrets>,
    /// The last token, unless it was refused.
    pub(super) token: Option<Token>,
}

/// A signed token.
pub(super) struct Token {
    text: Zeroizing<String>,
    /// By the wall clock: the monotonic clock may stop while the environment is frozen.
    signed: SystemTime,
    /// When the credentials expire that have signed it, and the token with them.
    expires: Option<SystemTime>,
}

impl Token {
    /// Whether it may be used for another connection. If the clock was set back, its age is unknown.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let is_young = now
            .duration_since(self.signed)
            .is_ok_and(|age| age < REUSED_FOR);
        is_young && self.expires.is_none_or(|expires| now < expires)
    }
}

impl Iam {
    /// The connection settings without a token.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(&self.settings.host)
            .port(self.port())
            .dbname(&self.settings.name)
            .user(&self.settings.user);
        complete(config, &self.settings.tls)
    }

    /// The connection settings with a token: the last one while it is fresh, or a new one.
    pub(super) async fn config_with_token(&mut self) -> Result<Config, DatabaseError> {
        let now = SystemTime::now();
        let token = match self.token.take() {
            Some(token) if token.is_fresh(now) => token,
            _ => self.sign(now).await?,
        };
        let mut config = self.config();
        config.password(token.text.as_bytes());
        self.token = Some(token);
        Ok(config)
    }

    async fn sign(&self, now: SystemTime) -> Result<Token, DatabaseError> {
        let aws = self.secrets.aws();
        let host = &self.settings.host;
        let region = match region_of(host) {
            Some(region) => region.to_owned(),
            None => aws.region().await.ok_or(AwsError::NoRegion)?,
        };
        let credentials = aws.credentials().await?;
        let expires = credentials.expiry();
        let request = Request::new(host, self.port(), &self.settings.user);
        let text = request.token(credentials, &region, now);
        Ok(Token {
            text: Zeroizing::new(text.ok_or(DatabaseError::Unsigned)?),
            signed: now,
            expires,
        })
    }

    /// Explains why no connection was made. A token that was refused is not used again; the server does not say why it
    /// refuses one.
    pub(super) fn refused(&mut self, error: DatabaseError) -> DatabaseError {
        let DatabaseError::Credentials(sqlstate) = error else {
            return error;
        };
        self.token = None;
        DatabaseError::Token {
            user: self.settings.user.clone(),
            sqlstate,
            advice: match Server::at(&self.settings.host) {
                Server::Postgres => ADVICE_OF_RDS,
                Server::Dsql => ADVICE_OF_DSQL,
            },
        }
    }

    fn port(&self) -> u16 {
        self.settings.port.unwrap_or(DEFAULT_PORT)
    }
}

/// RDS refuses a login that it throttles as it refuses a wrong token; only its metrics tell them apart.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Troubleshooting.html> (2026-11).
const ADVICE_OF_RDS: &str = "grant it rds_iam, allow rds-db:connect on it, check that the AWS credentials have not \
    expired and that this machine's clock is correct, and look at RDS's metric IamDbAuthConnectionFailureThrottling, \
    because RDS gives the same answer to logins that it throttles";

/// DSQL has a code of its own for logins that it throttles.
const ADVICE_OF_DSQL: &str = "allow dsql:DbConnect, connect this user with the IAM role by AWS IAM GRANT, and check \
    that the AWS credentials have not expired and that this machine's clock is correct";

/// The role that DSQL makes for each cluster; it has an action of its own in IAM.
/// Source: <https://docs.aws.amazon.com/aurora-dsql/latest/userguide/using-database-and-iam-roles.html> (2026-11).
const ADMIN_OF_DSQL: &str = "admin";

/// What a token allows.
struct Request {
    service: &'static str,
    url: String,
}

impl Request {
    /// Sources: `generate_db_auth_token` and `generate_db_connect_auth_token` in
    /// <https://github.com/boto/botocore/blob/develop/botocore/signers.py> (2026-11).
    fn new(host: &str, port: u16, user: &str) -> Self {
        if Server::at(host) == Server::Dsql {
            let suffix = if user == ADMIN_OF_DSQL { "Admin" } else { "" };
            return Self {
                service: "dsql",
                url: format!("{host}/?Action=DbConnect{suffix}"),
            };
        }
        let user = utf8_percent_encode(user, ENCODED);
        Self {
            service: "rds-db",
            url: format!("{host}:{port}/?Action=connect&DBUser={user}"),
        }
    }

    /// `None` if the URL is malformed.
    fn token(&self, credentials: Credentials, region: &str, now: SystemTime) -> Option<String> {
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(LIFETIME);
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(self.service)
            .time(now)
            .settings(settings)
            .build()
            .ok()?
            .into();
        let url = format!("https://{}", self.url);
        let body = SignableBody::Bytes(&[]);
        let request = SignableRequest::new("GET", &url, std::iter::empty(), body).ok()?;
        let (instructions, _) = sign(request, &parameters).ok()?.into_parts();
        let mut token = self.url.clone();
        for (name, value) in instructions.params() {
            token += &format!("&{name}={}", utf8_percent_encode(value, ENCODED));
        }
        Some(token)
    }
}

/// The region in the name of an RDS or DSQL endpoint.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_ConnectToPostgreSQLInstance.html> (2026-11).
fn region_of(host: &str) -> Option<&str> {
    let suffixes = [".rds.amazonaws.com", ".rds.amazonaws.com.cn", ".on.aws"];
    let name = suffixes.iter().find_map(|end| host.strip_suffix(end))?;
    name.rsplit_once('.').map(|(_, region)| region)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Made with botocore 1.42.34, whose `get_current_datetime` returned this time, by
    /// `client("rds").generate_db_auth_token(…)` and `client("dsql").generate_db_connect[_admin]_auth_token(…)` with
    /// the keys that AWS uses in its examples.
    const NOW: Duration = Duration::from_secs(1_795_348_800); // 2026-11-22T12:00:00Z
    const SESSION: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGd==";
    const TOKENS: [(&str, &str, Option<&str>, &str); 5] = [
        (
            "logins.czz8vq.eu-central-1.rds.amazonaws.com",
            "login_writer",
            None,
            "logins.czz8vq.eu-central-1.rds.amazonaws.com:5432/?Action=connect&DBUser=login_writer&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261122%2Feu-central-1%2Frds-db%2Faws4_request&X-Amz-Date=20261122T120000Z&X-Amz-SignedHeaders=host&X-Amz-Expires=900&X-Amz-Signature=9e3a2fe151ab2329fc68a7dca78493288c4c8152bd433aac0ca12b1afdfccb38",
        ),
        (
            "foo0bar1baz2quux3quuux4.dsql.eu-central-1.on.aws",
            "login_writer",
            None,
            "foo0bar1baz2quux3quuux4.dsql.eu-central-1.on.aws/?Action=DbConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261122%2Feu-central-1%2Fdsql%2Faws4_request&X-Amz-Date=20261122T120000Z&X-Amz-SignedHeaders=host&X-Amz-Expires=900&X-Amz-Signature=ec18768cdfdd08aa0fd276b695c2c2de6c1eb1f6ace00b9c3246c2944ba7ed9b",
        ),
        (
            "foo0bar1baz2quux3quuux4.dsql.eu-central-1.on.aws",
            "admin",
            None,
            "foo0bar1baz2quux3quuux4.dsql.eu-central-1.on.aws/?Action=DbConnectAdmin&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261122%2Feu-central-1%2Fdsql%2Faws4_request&X-Amz-Date=20261122T120000Z&X-Amz-SignedHeaders=host&X-Amz-Expires=900&X-Amz-Signature=6fc5512c91a82c2e950cbcd4535d421f50276b0b09f5d635de0716fb76ff0c6c",
        ),
        (
            "h.cluster-x.eu-central-1.rds.amazonaws.com",
            "Zoë+ writer@x",
            None,
            "h.cluster-x.eu-central-1.rds.amazonaws.com:5432/?Action=connect&DBUser=Zo%C3%AB%2B%20writer%40x&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261122%2Feu-central-1%2Frds-db%2Faws4_request&X-Amz-Date=20261122T120000Z&X-Amz-SignedHeaders=host&X-Amz-Expires=900&X-Amz-Signature=075c6742333a56daa2d3cf47765a60736991fd0e89c6647a883f0d1bbd692a80",
        ),
        (
            "logins.czz8vq.eu-central-1.rds.amazonaws.com",
            "login_writer",
            Some(SESSION),
            "logins.czz8vq.eu-central-1.rds.amazonaws.com:5432/?Action=connect&DBUser=login_writer&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261122%2Feu-central-1%2Frds-db%2Faws4_request&X-Amz-Date=20261122T120000Z&X-Amz-SignedHeaders=host&X-Amz-Expires=900&X-Amz-Security-Token=AQoDYXdzEPT%2F%2F%2F%2F%2F%2F%2F%2F%2F%2FwEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI%2FqkPpKPi%2FkMcGd%3D%3D&X-Amz-Signature=74c77137781306ecaeaecfc4259917f654e3574cf02a83134e6fb850750cccde",
        ),
    ];

    fn parameters(token: &str) -> (&str, BTreeSet<&str>) {
        let (host, query) = token.split_once('?').unwrap();
        (host, query.split('&').collect())
    }

    #[test]
    fn a_token_is_reused_for_ten_minutes_of_the_wall_clock_while_its_credentials_last() {
        let signed = SystemTime::UNIX_EPOCH + NOW;
        let at = |secs| signed + Duration::from_secs(secs);
        let token = |expires| Token {
            text: Zeroizing::default(),
            signed,
            expires,
        };
        let unlimited = token(None);
        assert!(unlimited.is_fresh(signed) && unlimited.is_fresh(at(599)));
        // The environment may have been frozen since.
        assert!(!unlimited.is_fresh(at(600)) && !unlimited.is_fresh(at(86_400)));
        let set_back = signed - Duration::from_secs(1);
        assert!(!unlimited.is_fresh(set_back), "its age is unknown");
        let limited = token(Some(at(60)));
        assert!(limited.is_fresh(at(59)) && !limited.is_fresh(at(60)));
    }

    /// The order of the parameters is not part of the signature.
    #[test]
    fn a_token_is_that_of_botocore_for_the_same_clock_and_credentials() {
        for (host, user, session, expected) in TOKENS {
            let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
            let session = session.map(str::to_owned);
            let credentials =
                Credentials::new("AKIAIOSFODNN7EXAMPLE", secret, session, None, "test");
            let request = Request::new(host, 5432, user);
            let region = region_of(host).unwrap();
            let token = request.token(credentials, region, SystemTime::UNIX_EPOCH + NOW);
            assert_eq!(parameters(&token.unwrap()), parameters(expected), "{host}");
        }
    }

    #[test]
    fn the_region_is_that_of_an_endpoint_in_china_too_and_of_no_other_host() {
        let proxy = "logins.proxy-czz8vq.cn-north-1.rds.amazonaws.com.cn";
        assert_eq!(region_of(proxy), Some("cn-north-1"));
        assert_eq!(region_of("db.internal"), None);
    }
}
