//! What the clients of AWS share, built when the first of them is used: it is most of a cold start.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::OnceCell;

use crate::causes::causes;

/// A call that hangs (a VPC without a way to the service) has to leave time to say so.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);

/// An attempt that hangs has to leave time for another: its connection may have died while the environment was
/// frozen, or its answer may have been lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Region, credentials and endpoint as the AWS SDK finds them in the environment.
#[derive(Default)]
pub struct Aws {
    endpoint_url: Option<String>,
    config: OnceCell<SdkConfig>,
}

impl Aws {
    /// With another endpoint than the environment's.
    pub fn at(endpoint_url: Option<String>) -> Self {
        Self {
            endpoint_url,
            config: OnceCell::new(),
        }
    }

    /// The configuration for a client.
    pub async fn config(&self) -> &SdkConfig {
        self.config
            .get_or_init(|| load(self.endpoint_url.clone()))
            .await
    }
}

/// The timeouts of the function's own calls, of which each may be repeated. Commands send larger requests over slower
/// lines, and receive requests wait.
pub(crate) fn timeouts_of_attempts(config: &SdkConfig) -> TimeoutConfig {
    let timeouts = config.timeout_config().map(TimeoutConfig::to_builder);
    timeouts
        .unwrap_or_default()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build()
}

async fn load(endpoint_url: Option<String>) -> SdkConfig {
    let http_client = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client)
        .timeout_config(timeouts);
    match endpoint_url {
        Some(url) => loader.endpoint_url(url).load().await,
        None => loader.load().await,
    }
}

/// Why a call failed: the service's error code, or what stood in the way. Never the Debug form, which
/// holds the answer's body and so perhaps a secret.
pub fn reason<E: ProvideErrorMetadata>(error: &SdkError<E>) -> String {
    match error {
        SdkError::ServiceError(answer) => answer
            .err()
            .code()
            .unwrap_or("an error without a code")
            .to_owned(),
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::ResponseError(_) => "an answer that cannot be read".to_owned(),
        SdkError::DispatchFailure(failure) => failure
            .as_connector_error()
            .map_or_else(|| "no connection".to_owned(), |error| causes(error)),
        _ => "the request could not be made".to_owned(),
    }
}
