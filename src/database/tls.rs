//! How a connection is protected.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use native_tls::{Certificate, TlsConnector};
use postgres_native_tls::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::DatabaseError;
use crate::config::{SslMode, TlsSettings};

/// The TLS of a connection, made when a server wants it: to read the authorities that the system
/// trusts takes longer than the rest of a start.
#[derive(Clone)]
pub(super) struct Tls {
    mode: SslMode,
    root_certs: Vec<Certificate>,
    /// The same for every connection.
    made: Arc<OnceLock<TlsConnector>>,
}

/// TLS to one host.
pub(super) struct TlsTo {
    tls: Tls,
    host: String,
}

impl Tls {
    /// Reads the authorities to trust besides those of the system.
    ///
    /// # Errors
    /// Their file cannot be read, or holds none.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, DatabaseError> {
        let root_certs = settings.root_cert.as_deref().map(root_certs).transpose()?;
        Ok(Self {
            mode: settings.mode,
            root_certs: root_certs.unwrap_or_default(),
            made: Arc::default(),
        })
    }

    /// As in libpq, `require` verifies the authority where one is named.
    pub(super) fn connector(&self) -> native_tls::Result<TlsConnector> {
        if let Some(made) = self.made.get() {
            return Ok(made.clone());
        }
        let verifies_authority = match self.mode {
            SslMode::VerifyCa | SslMode::VerifyFull => true,
            SslMode::Require => !self.root_certs.is_empty(),
            SslMode::Disable | SslMode::Prefer => false,
        };
        let mut builder = TlsConnector::builder();
        builder.danger_accept_invalid_certs(!verifies_authority);
        builder.danger_accept_invalid_hostnames(self.mode != SslMode::VerifyFull);
        for certificate in &self.root_certs {
            builder.add_root_certificate(certificate.clone());
        }
        let made = builder.build()?;
        Ok(self.made.get_or_init(|| made).clone())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
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
            let refused = Tls::new(&TlsSettings {
                mode: SslMode::VerifyFull,
                root_cert: Some(path.into()),
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
