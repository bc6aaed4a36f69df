//! TLS in front of the local Postgres, which was built without it, with certificates of a private authority.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_native_tls::TlsAcceptor;
use tokio_native_tls::native_tls::{self, Identity};

use crate::{TempFile, server_address};

/// The request that a client of Postgres sends before TLS.
/// Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html> (SSLRequest).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A certificate authority, and the file to trust it by.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: TempFile,
}

impl Authority {
    /// A private one. All have the same name, so that only their keys distinguish them.
    pub fn new() -> Self {
        Self::named(&[(DnType::CommonName, "Authority of a test")])
    }

    /// One with the name of an authority of RDS, but not its key.
    pub fn forged_rds() -> Self {
        Self::named(&[
            (DnType::CountryName, "US"),
            (DnType::OrganizationName, "Amazon Web Services, Inc."),
            (DnType::OrganizationalUnitName, "Amazon RDS"),
            (DnType::StateOrProvinceName, "WA"),
            (
                DnType::CommonName,
                "Amazon RDS eu-central-1 Root CA ECC384 G1",
            ),
            (DnType::LocalityName, "Seattle"),
        ])
    }

    /// One that stands in for the public authorities, which sign certificates for everybody.
    pub fn public() -> Self {
        Self::named(&[(DnType::CommonName, "Public authority of a test")])
    }

    fn named(parts: &[(DnType, &str)]) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let certificate = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            file: TempFile::new(&certificate.pem()),
        }
    }

    pub fn path(&self) -> String {
        self.file.0.display().to_string()
    }

    /// Its file as `ca.pem` in the folder of a function's code.
    pub fn packaged(&self) -> Package {
        let folder = format!("sqs-to-postgres-{:016x}", fastrand::u64(..));
        let package = Package(std::env::temp_dir().join(folder));
        std::fs::create_dir(&package.0).unwrap();
        std::fs::copy(&self.file.0, package.0.join("ca.pem")).unwrap();
        package
    }

    /// A server's certificate for this host that expires with this year.
    pub fn identity(&self, host: &str, last_year: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_after = date_time_ymd(last_year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pem = certificate.pem();
        Identity::from_pkcs8(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }
}

/// The folder of a function's code, removed when the test ends.
pub struct Package(PathBuf);

impl Package {
    pub fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Puts TLS in front of the local Postgres, which was built without it.
pub async fn front(identity: Identity) -> SocketAddr {
    let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
    let acceptor = Arc::new(TlsAcceptor::from(acceptor));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, Arc::clone(&acceptor)));
        }
    });
    address
}

async fn serve(mut client: TcpStream, acceptor: Arc<TlsAcceptor>) -> Option<()> {
    let mut request = [0; SSL_REQUEST.len()];
    client.read_exact(&mut request).await.ok()?;
    if request != SSL_REQUEST {
        return None;
    }
    client.write_all(b"S").await.ok()?;
    let mut client = acceptor.accept(client).await.ok()?;
    let mut server = TcpStream::connect(server_address()).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}
