//! The configuration that all AWS clients share, built when the first is used: it is most of a cold start.

use std::time::{Duration, SystemTime};

use aws_config::timeout::{TimeoutConfig, TimeoutConfigBuilder};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::causes::causes;

/// A call that hangs (a VPC without access to the service) must leave time to report it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);

/// An attempt that hangs must leave time for another: its connection may have died while the environment was frozen,
/// or its response may have been lost.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Region, credentials and endpoint as the AWS SDK finds them in the environment.
#[derive(Default)]
pub struct Aws {
    endpoint_url: Option<String>,
    config: OnceCell<SdkConfig>,
}

impl Aws {
    /// With an endpoint that overrides the environment's.
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

    /// The credentials to sign with, which have not expired as far as is known.
    pub(crate) async fn credentials(&self) -> Result<Credentials, AwsError> {
        let provider = self.config().await.credentials_provider();
        let provider = provider.ok_or(AwsError::NoCredentials)?;
        let credentials = provider.provide_credentials().await.map_err(explain)?;
        match credentials.expiry() {
            Some(expiry) if expiry <= SystemTime::now() => {
                Err(AwsError::Credentials("they have expired"))
            }
            _ => Ok(credentials),
        }
    }

    /// The region, if one is set.
    pub(crate) async fn region(&self) -> Option<String> {
        let region = self.config().await.region();
        region.map(ToString::to_string)
    }

    /// The configuration for the function's own calls, with a timeout for each attempt. Commands send larger requests
    /// over slower networks, and receive requests wait.
    pub(crate) async fn config_of_function(&self) -> SdkConfig {
        let timeouts = timeouts().operation_attempt_timeout(ATTEMPT_TIMEOUT);
        let config = self.config().await.to_builder();
        config.timeout_config(timeouts.build()).build()
    }
}

fn timeouts() -> TimeoutConfigBuilder {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
}

async fn load(endpoint_url: Option<String>) -> SdkConfig {
    let http_client = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client)
        .timeout_config(timeouts().build());
    match endpoint_url {
        Some(url) => loader.endpoint_url(url).load().await,
        None => loader.load().await,
    }
}

/// Words in the SDK's texts for requests that cannot be signed, for which it has no error types. A test of the tool
/// runs without region and credentials.
const REGION: &str = "region";
const CREDENTIALS: &str = "credential";

/// The error codes for a missing queue (the newer and the older code), function or secret.
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueUrl.html> (2026-11).
const MISSING: [&str; 3] = [
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
    "ResourceNotFoundException",
];

/// Why a request to AWS failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum AwsError {
    #[error("no AWS region is set: set AWS_REGION, or region in ~/.aws/config")]
    NoRegion,
    #[error(
        "no AWS credentials can be loaded: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in with `aws sso login`"
    )]
    NoCredentials,
    #[error(
        "AWS credentials cannot be loaded ({0}): renew them, for example with `aws sso login`, and check the network access to the service that issues them"
    )]
    Credentials(&'static str),
    #[error("{what} does not exist: check its name, the region and the account")]
    Missing { what: String, reason: String },
    #[error("{what} cannot be used ({reason}): check its name, the region and the permissions")]
    Refused { what: String, reason: String },
    #[error(
        "{what} is unavailable ({reason}): check the network access to AWS and AWS_ENDPOINT_URL, or try again"
    )]
    Unavailable { what: String, reason: String },
}

impl AwsError {
    /// The error of a call; `what` names its object, for example `queue "logins"`.
    pub fn of<E: ProvideErrorMetadata>(what: &str, error: &SdkError<E>) -> Self {
        let (what, reason) = (what.to_owned(), reason(error));
        let answer = error.raw_response();
        let is_down = answer.is_some_and(|answer| answer.status().is_server_error());
        match error {
            SdkError::DispatchFailure(_) if reason.to_lowercase().contains(REGION) => {
                Self::NoRegion
            }
            SdkError::DispatchFailure(_) if reason.contains(CREDENTIALS) => Self::NoCredentials,
            SdkError::ServiceError(_) if MISSING.contains(&reason.as_str()) => {
                Self::Missing { what, reason }
            }
            SdkError::ServiceError(_) | SdkError::ConstructionFailure(_) if !is_down => {
                Self::Refused { what, reason }
            }
            _ => Self::Unavailable { what, reason },
        }
    }

    /// The service's error code, or what prevented the call.
    pub fn reason(&self) -> &str {
        match self {
            Self::NoRegion => "no region",
            Self::NoCredentials => "no credentials",
            Self::Credentials(reason) => reason,
            Self::Missing { reason, .. }
            | Self::Refused { reason, .. }
            | Self::Unavailable { reason, .. } => reason,
        }
    }
}

/// Without the error's text, which may quote the output of a program that issues credentials.
fn explain(error: CredentialsError) -> AwsError {
    AwsError::Credentials(match error {
        CredentialsError::CredentialsNotLoaded(_) => return AwsError::NoCredentials,
        CredentialsError::ProviderTimedOut(_) => "no response in time",
        CredentialsError::InvalidConfiguration(_) => "the configuration is invalid",
        _ => "they were refused, or have expired",
    })
}

/// Why a call failed: the service's error code, or what prevented the call. Never the Debug form, which contains the
/// response's body and so perhaps a secret.
pub fn reason<E: ProvideErrorMetadata>(error: &SdkError<E>) -> String {
    match error {
        SdkError::ServiceError(answer) => answer
            .err()
            .code()
            .unwrap_or("error without a code")
            .to_owned(),
        SdkError::TimeoutError(_) => "no response in time".to_owned(),
        SdkError::ResponseError(_) => "unreadable response".to_owned(),
        SdkError::DispatchFailure(failure) => failure
            .as_connector_error()
            .map_or_else(|| "no connection".to_owned(), |error| causes(error)),
        _ => "request could not be made".to_owned(),
    }
}
