//! The configuration that all AWS clients share, built when the first is used: it is most of a cold start.

use std::time::Duration;

use aws_config::timeout::{TimeoutConfig, TimeoutConfigBuilder};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_types::service_config::ServiceConfigKey;
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::causes::causes;
use crate::sign_in::{SignInError, with_sign_in};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a call may take. It hangs in a network without access to the service, on a connection that died unnoticed,
/// and if its response is lost.
struct Timeouts {
    /// For one attempt: there must be time for another.
    attempt: Duration,
    /// For all attempts: there must be time to report it.
    operation: Duration,
}

/// How long an attempt of the function may take.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_500);

const OF_FUNCTION: Timeouts = Timeouts {
    attempt: ATTEMPT_TIMEOUT,
    operation: Duration::from_secs(8),
};

/// Commands send larger requests over slower networks.
const OF_COMMAND: Timeouts = Timeouts {
    attempt: Duration::from_secs(8),
    operation: Duration::from_secs(25),
};

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

    /// The configuration for a command's client.
    pub async fn config(&self) -> &SdkConfig {
        self.config
            .get_or_init(|| load(self.endpoint_url.clone()))
            .await
    }

    /// The credentials to sign with, which have not expired as far as is known.
    pub(crate) async fn credentials(&self) -> Result<Credentials, AwsError> {
        let provider = self.config().await.credentials_provider();
        let provider = provider.ok_or(SignInError::NoCredentials)?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| SignInError::among(&error));
        Ok(credentials.map_err(|error| error.unwrap_or(SignInError::NoCredentials))?)
    }

    /// The region, if one is set.
    pub(crate) async fn region(&self) -> Option<String> {
        let region = self.config().await.region();
        region.map(ToString::to_string)
    }

    /// Whether FIPS endpoints and dual-stack endpoints are to be used.
    pub(crate) async fn endpoint_kinds(&self) -> (bool, bool) {
        let config = self.config().await;
        let is_set = |setting: Option<bool>| setting.unwrap_or_default();
        (is_set(config.use_fips()), is_set(config.use_dual_stack()))
    }

    /// The endpoint that replaces the one of a service, in the order in which the SDK's own clients look for it.
    /// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html> (2026-11).
    pub(crate) async fn endpoint_of(&self, service: &str) -> Option<String> {
        let config = self.config().await;
        let everywhere = || config.endpoint_url().map(str::to_owned);
        if config.get_origin("endpoint_url").is_client_config() {
            return everywhere();
        }
        let key = ServiceConfigKey::builder().service_id(service);
        let key = key.env("AWS_ENDPOINT_URL").profile("endpoint_url");
        let settings = config.service_config().zip(key.build().ok());
        let own = settings.and_then(|(settings, key)| settings.load_config(key));
        own.or_else(everywhere)
    }

    /// The configuration for the function's own calls.
    pub(crate) async fn config_of_function(&self) -> SdkConfig {
        self.config_within(OF_FUNCTION.builder()).await
    }

    /// The configuration of a command that sends new messages: no consumer can know one that was sent twice because
    /// its response was late.
    pub async fn config_of_sender(&self) -> SdkConfig {
        let timeouts = OF_COMMAND.builder();
        self.config_within(timeouts.disable_operation_attempt_timeout())
            .await
    }

    async fn config_within(&self, timeouts: TimeoutConfigBuilder) -> SdkConfig {
        let config = self.config().await.to_builder();
        config.timeout_config(timeouts.build()).build()
    }
}

impl Timeouts {
    fn builder(&self) -> TimeoutConfigBuilder {
        TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.operation)
    }
}

async fn load(endpoint_url: Option<String>) -> SdkConfig {
    let http_client = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client)
        .timeout_config(OF_COMMAND.builder().build());
    let config = match endpoint_url {
        Some(url) => loader.endpoint_url(url).load().await,
        None => loader.load().await,
    };
    with_sign_in(config).await
}

/// A word in the SDK's text for a request without a region, for which it has no error type. A test of the tool runs
/// without one.
const REGION: &str = "region";

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
    #[error(transparent)]
    SignIn(#[from] SignInError),
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
        if let Some(error) = unsigned(error) {
            return error;
        }
        match error {
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
            Self::SignIn(error) => error.reason(),
            Self::Missing { reason, .. }
            | Self::Refused { reason, .. }
            | Self::Unavailable { reason, .. } => reason,
        }
    }
}

/// Why a request could not be signed, if that is the error.
pub(crate) fn unsigned<E>(error: &SdkError<E>) -> Option<AwsError> {
    let SdkError::DispatchFailure(failure) = error else {
        return None;
    };
    let cause = failure.as_connector_error()?;
    let is_region = || causes(cause).to_lowercase().contains(REGION);
    match SignInError::among(cause) {
        Some(error) => Some(error.into()),
        None => is_region().then_some(AwsError::NoRegion),
    }
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
