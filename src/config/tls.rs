//! The settings of TLS.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio_postgres::config::ChannelBinding;

use super::ConfigError;

/// The file of certificate authorities that `make build` packages with the function.
const PACKAGED_AUTHORITIES: &str = "ca.pem";

/// TLS settings of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The mode, if it is set.
    pub mode: Option<SslMode>,
    /// Which certificate authorities are trusted.
    pub authorities: Authorities,
}

impl TlsSettings {
    /// What is verified. The default is everything, except for a connection within this machine without a named
    /// authority, which needs no TLS.
    pub fn mode(&self, is_loopback: bool) -> SslMode {
        let default = match self.authorities {
            Authorities::System if is_loopback => SslMode::Prefer,
            Authorities::System | Authorities::Only(_) | Authorities::SystemAnd(_) => {
                SslMode::VerifyFull
            }
        };
        self.mode.unwrap_or(default)
    }

    /// Whether an authority is missing: `verify-ca` with the authorities of the system accepts any public certificate.
    pub(crate) fn lacks_authority(&self) -> bool {
        self.mode == Some(SslMode::VerifyCa) && self.authorities == Authorities::System
    }
}

/// The certificate authorities that are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Authorities {
    /// The authorities of the system.
    #[default]
    System,
    /// The authorities of a PEM file, and no others.
    Only(PathBuf),
    /// The authorities of the system and of the PEM file that is packaged with the function, only with
    /// `verify-full`: RDS has certificates of Amazon's own authorities, RDS Proxy of a public one.
    SystemAnd(PathBuf),
}

impl Authorities {
    /// The file, if one is named.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::System => None,
            Self::Only(file) | Self::SystemAnd(file) => Some(file),
        }
    }
}

/// libpq's `sslmode`. Source: <https://www.postgresql.org/docs/18/libpq-ssl.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server offers it, unverified.
    Prefer,
    /// TLS, unverified.
    Require,
    /// TLS with a certificate of a trusted authority, for any host name.
    VerifyCa,
    /// TLS with a certificate of a trusted authority for this host name.
    VerifyFull,
}

impl FromStr for SslMode {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "disable" => Self::Disable,
            "prefer" | "allow" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return Err(()),
        })
    }
}

pub(super) fn tls(lookup: &impl Fn(&str) -> Option<String>) -> Result<TlsSettings, ConfigError> {
    let mode = lookup("DB_SSLMODE")
        .map(|mode| mode.parse().map_err(|()| ConfigError::UnknownSslMode))
        .transpose()?;
    let verifies_host = matches!(mode, None | Some(SslMode::VerifyFull));
    let packaged =
        lookup("LAMBDA_TASK_ROOT").map(|root| Path::new(&root).join(PACKAGED_AUTHORITIES));
    let authorities = match lookup("DB_SSLROOTCERT").map(PathBuf::from) {
        None => Authorities::System,
        Some(file) if verifies_host && packaged.as_ref() == Some(&file) => {
            Authorities::SystemAnd(file)
        }
        Some(file) => Authorities::Only(file),
    };
    let settings = TlsSettings { mode, authorities };
    if settings.lacks_authority() {
        return Err(ConfigError::NoAuthority);
    }
    Ok(settings)
}

pub(super) fn channel_binding(
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<ChannelBinding, ConfigError> {
    match lookup("DB_CHANNEL_BINDING").as_deref() {
        None | Some("prefer") => Ok(ChannelBinding::Prefer),
        Some("require") => Ok(ChannelBinding::Require),
        Some("disable") => Ok(ChannelBinding::Disable),
        Some(_) => Err(ConfigError::UnknownChannelBinding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_authority_is_the_only_one_unless_it_is_packaged_and_the_host_is_verified() {
        let only = |file: &str| Authorities::Only(file.into());
        let packaged = "/var/task/ca.pem";
        let added = || Authorities::SystemAnd(packaged.into());
        let cases = [
            (None, "", Authorities::System),
            (None, packaged, added()),
            (Some("verify-full"), packaged, added()),
            (Some("verify-ca"), packaged, only(packaged)),
            (Some("require"), packaged, only(packaged)),
            (None, "/var/task/own.pem", only("/var/task/own.pem")),
            (Some("verify-full"), "/opt/ca.pem", only("/opt/ca.pem")),
        ];
        for (mode, file, expected) in cases {
            let variables = [
                ("LAMBDA_TASK_ROOT", "/var/task"),
                ("DB_SSLROOTCERT", file),
                ("DB_SSLMODE", mode.unwrap_or_default()),
            ];
            let lookup = |name: &str| {
                let found = variables
                    .iter()
                    .find(|(key, value)| *key == name && !value.is_empty());
                found.map(|(_, value)| (*value).to_owned())
            };
            let authorities = tls(&lookup).unwrap().authorities;
            assert_eq!(authorities, expected, "{mode:?} {file}");
        }
    }
}
