//! Notice of the end of the environment.
//!
//! Lambda kills a function without notice, unless it has an extension: then it sends SIGTERM half a second before. So
//! the function registers itself as an internal extension, which subscribes to no events.
//! Sources: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html> (2026-11).

use std::time::Duration;

use lambda_runtime::Error;
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{PooledClient, build_request};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

const REGISTER: &str = "/2020-01-01/extension/register";
const NEXT: &str = "/2020-01-01/extension/event/next";
const NO_EVENTS: &str = r#"{"events":[]}"#;
const ID: &str = "Lambda-Extension-Identifier";

/// The Extensions API is on the same machine.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Registers the function, which Lambda allows only before its first `/next`, and returns a future that completes
/// when the environment ends.
///
/// Not every emulator of Lambda has extensions. Without one, SIGTERM still ends the function.
pub(super) async fn end_of_environment() -> impl Future<Output = ()> {
    let signal = signal(SignalKind::terminate());
    let registered = timeout(TIMEOUT, register()).await;
    if let Err(reason) = registered.unwrap_or_else(|_| Err("no response in time".into())) {
        tracing::debug!(
            reason,
            "not registered as an extension: Lambda will not announce the end of the environment"
        );
    }
    async {
        match signal {
            Ok(mut signal) => _ = signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    }
}

async fn register() -> Result<(), Error> {
    let client = PooledClient::builder().build();
    let request = build_request()
        .method("POST")
        .uri(REGISTER)
        .header("Lambda-Extension-Name", env!("CARGO_PKG_NAME"))
        .body(Body::from(NO_EVENTS))?;
    let answer = client.call(request).await?;
    let id = answer.headers().get(ID);
    let id = id.ok_or_else(|| format!("{REGISTER} answered {}", answer.status()))?;
    let next = build_request()
        .uri(NEXT)
        .header(ID, id)
        .body(Body::empty())?;
    // Without this request Lambda waits for the extension; without events it is never answered.
    tokio::spawn(client.call(next));
    Ok(())
}
