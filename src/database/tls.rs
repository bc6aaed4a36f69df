//! How a connection is protected.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;
use tokio_postgres::Config;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::DatabaseError;
use super::target::mode_of;
use crate::config::{Authorities, SslMode, TlsSettings};

/// The authorities of RDS and Aurora. RDS Proxy and Aurora DSQL use public authorities.
/// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html> (2026-11).
const RDS_AUTHORITIES: &[u8] = include_bytes!("rds-ca.pem");

pub(super) struct Tls {
    pub(super) settings: TlsSettings,
    /// The authorities of the file, if one is named.
    root_certs: Vec<Certificate>,
    /// Made when a server first wants TLS, because reading the system's authorities takes longer than the
    /// rest of a start. All connections of a mode share it.
    made: Mutex<Option<(SslMode, TlsConnector)>>,
}

#[derive(Clone)]
pub(super) struct TlsOfMode {
    mode: SslMode,
    tls: Arc<Tls>,
}

pub(super) struct TlsTo {
    tls: TlsOfMode,
    host: String,
}

impl Tls {
    /// Reads the file of authorities, if one is named.
    pub(super) fn new(settings: TlsSettings) -> Result<Self, DatabaseError> {
        let root_certs = settings.authorities.file().map(root_certs).transpose()?;
        Ok(Self {
            settings,
            root_certs: root_certs.unwrap_or_default(),
            made: Mutex::default(),
        })
    }

    pub(super) fn of(self: &Arc<Self>, config: &Config) -> TlsOfMode {
        TlsOfMode {
            mode: mode_of(config, &self.settings),
            tls: Arc::clone(self),
        }
    }
}

impl TlsOfMode {
    /// With `verify-full`, the authorities of RDS are trusted beside the system's.
    ///
    /// As in libpq, `require` verifies the authority if one is named, and a named authority is the only one that
    /// is trusted. Otherwise anybody with a certificate of a public authority could pose as the server.
    pub(super) fn connector(&self) -> native_tls::Result<TlsConnector> {
        let settings = &self.tls.settings;
        let mut made = self.tls.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((mode, connector)) if *mode == self.mode => return Ok(connector.clone()),
            _ => {}
        }
        let verifies_authority = match self.mode {
            SslMode::VerifyCa | SslMode::VerifyFull => true,
            SslMode::Require => settings.authorities != Authorities::System,
            SslMode::Disable | SslMode::Prefer => false,
        };
        let mut builder = TlsConnector::builder();
        builder.danger_accept_invalid_certs(!verifies_authority);
        builder.danger_accept_invalid_hostnames(self.mode != SslMode::VerifyFull);
        let is_only = matches!(settings.authorities, Authorities::Only(_));
        builder.disable_built_in_roots(is_only);
        // They sign certificates for the names of RDS only, so the name must be verified.
        if self.mode == SslMode::VerifyFull && !is_only {
            for certificate in Certificate::stack_from_pem(RDS_AUTHORITIES)? {
                builder.add_root_certificate(certificate);
            }
        }
        for certificate in &self.tls.root_certs {
            builder.add_root_certificate(certificate.clone());
        }
        let connector = builder.build()?;
        *made = Some((self.mode, connector.clone()));
        Ok(connector)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for TlsOfMode {
    type Stream = TlsStream<S>;
    type TlsConnect = TlsTo;
    type Error = std::convert::Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<TlsTo, Self::Error> {
        Ok(TlsTo {
            tls: self.clone(),
            host: host.to_owned(),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for TlsTo {
    type Stream = TlsStream<S>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<TlsStream<S>, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let connector = spawn_blocking(move || self.tls.connector()).await??;
            let to_host = postgres_native_tls::TlsConnector::new(connector, &self.host);
            Ok(to_host.connect(stream).await?)
        })
    }
}

fn root_certs(path: &Path) -> Result<Vec<Certificate>, DatabaseError> {
    let refused = |reason: String| DatabaseError::RootCert {
        path: path.display().to_string(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    match Certificate::stack_from_pem(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(refused("no certificate in it".to_owned())),
        Err(error) => Err(refused(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        for path in ["/nowhere.pem", "Cargo.toml"] {
            let refused = Tls::new(TlsSettings {
                mode: None,
                authorities: Authorities::Only(path.into()),
            })
            .err()
            .unwrap();
            assert!(
                matches!(refused, DatabaseError::RootCert { .. }),
                "{refused}"
            );
        }
    }
}
