//! A server that asks for the password in plaintext, as an attacker on the network path could.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_native_tls::TlsAcceptor;
use tokio_native_tls::native_tls::{self, Identity};

/// The answer to a client's first message.
/// Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html> (AuthenticationCleartextPassword).
const CLEARTEXT_PASSWORD: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

/// The server, and the passwords that clients sent to it.
pub struct Impostor {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
}

impl Impostor {
    /// Listens; without an identity it offers no TLS.
    pub async fn with(identity: Option<Identity>) -> Self {
        let acceptor = identity.map(|identity| {
            let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
            Arc::new(TlsAcceptor::from(acceptor))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<String>>>::default();
        let passwords = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, passwords) = (acceptor.clone(), Arc::clone(&passwords));
                tokio::spawn(async move {
                    if let Some(password) = ask_over_tls(client, acceptor).await {
                        passwords.lock().unwrap().push(password);
                    }
                });
            }
        });
        Self { address, received }
    }

    /// The passwords so far, without repetitions.
    pub fn passwords(&self) -> Vec<String> {
        let mut passwords = self.received.lock().unwrap().clone();
        passwords.dedup();
        passwords
    }
}

async fn ask_over_tls(mut client: TcpStream, acceptor: Option<Arc<TlsAcceptor>>) -> Option<String> {
    let mut ssl_request = [0; 8];
    client.read_exact(&mut ssl_request).await.ok()?;
    match acceptor {
        None => {
            client.write_all(b"N").await.ok()?;
            ask(client).await
        }
        Some(acceptor) => {
            client.write_all(b"S").await.ok()?;
            ask(acceptor.accept(client).await.ok()?).await
        }
    }
}

async fn ask(mut client: impl AsyncRead + AsyncWrite + Unpin) -> Option<String> {
    let len = client.read_u32().await.ok()?;
    let mut startup = vec![0; len as usize - 4];
    client.read_exact(&mut startup).await.ok()?;
    client.write_all(&CLEARTEXT_PASSWORD).await.ok()?;
    client.flush().await.ok()?;
    if client.read_u8().await.ok()? != b'p' {
        return None;
    }
    let len = client.read_u32().await.ok()?;
    let mut password = vec![0; len as usize - 4];
    client.read_exact(&mut password).await.ok()?;
    password.pop();
    String::from_utf8(password).ok()
}
