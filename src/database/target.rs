//! Settings and secrets → address and credentials.

use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as Negotiation};

use super::DatabaseError;
use crate::config::{Authorities, DatabaseSecretSettings, SslMode, TlsSettings};
use crate::secret::{DatabaseSecret, SecretError};

pub(super) const DEFAULT_PORT: u16 = 5432;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that disappeared silently is noticed this long after something was sent to it.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// The connection settings of a secret, completed by the environment.
pub(super) fn config_of_secret(
    settings: &DatabaseSecretSettings,
    secret: &DatabaseSecret,
) -> Result<Config, DatabaseError> {
    let missing = |field, variable| SecretError::MissingField {
        id: settings.id.clone(),
        field,
        variable,
    };
    let host = settings.host.as_ref().or(secret.host.as_ref());
    let name = settings.name.as_ref().or(secret.dbname.as_ref());
    let mut config = Config::new();
    config
        .host(host.ok_or_else(|| missing("host", "DB_HOST"))?)
        .port(settings.port.or(secret.port).unwrap_or(DEFAULT_PORT))
        .dbname(name.ok_or_else(|| missing("dbname", "DB_NAME"))?)
        .user(&secret.username)
        .password(secret.password.expose_secret())
        .channel_binding(settings.channel_binding);
    Ok(complete(config, &settings.tls))
}

/// Reads a libpq URL. tokio-postgres does not know the TLS parameters, so they are taken out first.
/// Source: <https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNSTRING-URIS>.
pub(super) fn config_of_url(url: &SecretString) -> Result<(Config, TlsSettings), DatabaseError> {
    let (base, query) = url
        .expose_secret()
        .split_once('?')
        .unwrap_or((url.expose_secret(), ""));
    if !base.starts_with("postgresql://") && !base.starts_with("postgres://") {
        return Err(DatabaseError::Url("it does not begin with postgresql://"));
    }
    let mut tls = TlsSettings::default();
    let mut rest = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", mode)) => {
                let unknown = |()| DatabaseError::Url("its sslmode is unknown");
                tls.mode = Some(mode.parse().map_err(unknown)?);
            }
            Some(("sslrootcert", path)) => {
                let path = percent_decode_str(path).decode_utf8_lossy();
                tls.authorities = Authorities::Only(path.into_owned().into());
            }
            _ => rest.push(parameter),
        }
    }
    if tls.lacks_authority() {
        return Err(DatabaseError::Url(
            "its sslmode verify-ca needs an sslrootcert, because without it a certificate from any public authority is accepted",
        ));
    }
    let config = format!("{base}?{}", rest.join("&"))
        .parse()
        .map_err(|_| DatabaseError::Url("a part of it is malformed"))?;
    Ok((complete(config, &tls), tls))
}

/// Adds timeouts, and how much TLS the connection needs.
pub(super) fn complete(mut config: Config, tls: &TlsSettings) -> Config {
    let mode = mode_of(&config, tls);
    config
        .application_name(env!("CARGO_PKG_NAME"))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .keepalives_idle(KEEPALIVE_IDLE)
        .ssl_mode(match mode {
            SslMode::Disable => Negotiation::Disable,
            SslMode::Prefer => Negotiation::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Negotiation::Require,
        });
    config
}

/// How much of a connection is verified.
pub(super) fn mode_of(config: &Config, tls: &TlsSettings) -> SslMode {
    tls.mode(stays_on_this_machine(config))
}

/// Whether all hosts are this machine. A URL may name several, and addresses in addition.
fn stays_on_this_machine(config: &Config) -> bool {
    let is_local = |host: &Host| match host {
        Host::Tcp(name) => is_loopback(name),
        Host::Unix(_) => true,
    };
    config.get_hosts().iter().all(is_local)
        && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// Whether a connection to this host does not leave this machine: `localhost`, 127.0.0.0/8 or ::1.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Endpoints of RDS Proxy are called `NAME.proxy-….REGION.rds.amazonaws.com`.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-connecting.html>.
pub(super) fn is_behind_rds_proxy(config: &Config) -> bool {
    let is_proxy = |host: &Host| match host {
        Host::Tcp(name) => name.contains(".proxy-") && name.contains(".rds.amazonaws."),
        Host::Unix(_) => false,
    };
    config.get_hosts().iter().any(is_proxy)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::ChannelBinding;

    use super::*;

    #[test]
    fn a_libpq_url_is_read_with_its_tls_parameters() {
        let url = "postgresql://u:p%40ss@db.internal:6432/analytics?sslmode=verify-ca&sslrootcert=a%20b.pem&connect_timeout=3";
        let (config, tls) = config_of_url(&url.into()).unwrap();
        assert_eq!(config.get_user(), Some("u"));
        assert_eq!(config.get_password(), Some("p@ss".as_bytes()));
        assert_eq!(config.get_ports(), [6432]);
        assert_eq!(config.get_dbname(), Some("analytics"));
        assert_eq!(config.get_ssl_mode(), Negotiation::Require);
        assert_eq!(
            tls,
            TlsSettings {
                mode: Some(SslMode::VerifyCa),
                authorities: Authorities::Only("a b.pem".into())
            }
        );
    }

    #[test]
    fn a_url_without_a_mode_asks_for_tls_unless_all_its_hosts_are_this_machine() {
        let hosts = [
            ("h", Negotiation::Require),
            ("localhost", Negotiation::Prefer),
            ("127.3.2.1", Negotiation::Prefer),
            ("[::1]", Negotiation::Prefer),
            ("%2Frun%2Fpostgresql", Negotiation::Prefer),
            ("localhost,h", Negotiation::Require),
            ("localhost.example.org", Negotiation::Require),
            ("128.0.0.1", Negotiation::Require),
        ];
        for (host, expected) in hosts {
            let (config, _) = config_of_url(&format!("postgres://u@{host}/d").into()).unwrap();
            assert_eq!(config.get_ssl_mode(), expected, "{host}");
        }
        for (address, expected) in [
            ("127.0.0.1", Negotiation::Prefer),
            ("192.0.2.1", Negotiation::Require),
        ] {
            let url = format!("postgres://u@localhost/d?hostaddr={address}");
            let (config, _) = config_of_url(&url.into()).unwrap();
            assert_eq!(config.get_ssl_mode(), expected, "{address}");
        }
    }

    #[test]
    fn rds_proxy_is_recognised_by_its_host() {
        let hosts = [
            ("logins.proxy-czz8vq.eu-central-1.rds.amazonaws.com", true),
            ("logins.proxy-czz8vq.cn-north-1.rds.amazonaws.com.cn", true),
            ("logins.czz8vq.eu-central-1.rds.amazonaws.com", false),
            ("db.proxy-room.example", false),
        ];
        for (host, is_proxy) in hosts {
            let (config, _) = config_of_url(&format!("postgresql://u@{host}/d").into()).unwrap();
            assert_eq!(is_behind_rds_proxy(&config), is_proxy, "{host}");
        }
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_without_its_password() {
        let urls = [
            "mysql://u:hunter2@h/d",
            "hunter2",
            "postgresql://u:hunter2@h:port/d",
            "postgresql://u:hunter2@h/d?sslmode=on",
            "postgresql://u:hunter2@h/d?colour=red",
            "postgresql://u:hunter2@h/d?sslmode=verify-ca",
        ];
        for url in urls {
            let error = config_of_url(&url.into()).expect_err(url);
            assert!(matches!(error, DatabaseError::Url(_)), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_field_missing_from_a_managed_secret_is_named_with_its_variable() {
        let settings = |host: Option<&str>| DatabaseSecretSettings {
            id: "rds!x".into(),
            host: host.map(str::to_owned),
            port: None,
            name: Some("d".into()),
            tls: TlsSettings::default(),
            channel_binding: ChannelBinding::Require,
        };
        let secret =
            DatabaseSecret::parse("rds!x", &r#"{"username": "u", "password": "p"}"#.into())
                .unwrap();
        let error = config_of_secret(&settings(None), &secret).err().unwrap();
        assert_eq!(
            error.to_string(),
            "secret \"rds!x\" has no host: add it, or set DB_HOST"
        );
        let config = config_of_secret(&settings(Some("h")), &secret).unwrap();
        assert_eq!(
            (config.get_ports(), config.get_dbname()),
            (&[5432][..], Some("d"))
        );
        assert_eq!(
            (config.get_ssl_mode(), config.get_channel_binding()),
            (Negotiation::Require, ChannelBinding::Require)
        );
    }
}
