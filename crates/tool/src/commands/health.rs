//! `health`: asks a running `drain` whether it is healthy.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::HOST;
use axum::http::{Request, StatusCode, Uri};
use clap::Args;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::Outcome;
use crate::cli::error::CliError;

/// Shorter than the five seconds after which ECS gives up a check.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html>
const TIMEOUT: Duration = Duration::from_secs(4);
const DEFAULT_PORT: u16 = 80;

const EXAMPLES: &str = "\
Examples:
  sqs-to-postgres health http://127.0.0.1:9090/healthz";

/// Ask a running drain whether it is healthy
///
/// For the health check of a container, whose image has neither a shell nor curl: ends with 0 if the answer is 200, and
/// with 3 otherwise.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Health {
    /// What to ask, at the address of drain --metrics-addr: `http://127.0.0.1:9090/healthz`
    #[arg(value_parser = url)]
    url: Uri,
}

impl Health {
    pub(crate) async fn run(self) -> Result<Outcome, CliError> {
        let answer = match timeout(TIMEOUT, ask(&self.url)).await {
            Ok(Ok(StatusCode::OK)) => return Ok(Outcome::Done),
            Ok(Ok(status)) => format!("answered with status {}", status.as_u16()),
            Ok(Err(error)) => format!("does not answer ({error})"),
            Err(_) => format!("does not answer within {} seconds", TIMEOUT.as_secs()),
        };
        eprintln!("unhealthy: {} {answer}: see the log of drain", self.url);
        Ok(Outcome::Unavailable)
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let url = text.parse::<Uri>().ok();
    url.filter(|url| url.scheme_str() == Some("http") && url.host().is_some())
        .ok_or_else(|| "give a URL of HTTP: http://127.0.0.1:9090/healthz".to_owned())
}

async fn ask(url: &Uri) -> Result<StatusCode, Box<dyn Error>> {
    let host = url.host().unwrap_or_default();
    // An IPv6 address is in brackets in a URL, but not where it is looked up.
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((address, url.port_u16().unwrap_or(DEFAULT_PORT))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(HOST, host).body(Body::empty())?;
    // It ends with this process.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.status())
}
