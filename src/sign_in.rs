//! Where the credentials for AWS come from, and what to do if they cannot be loaded.
//!
//! A function has a role. People sign in, each in the way of their profile, and the remedy depends on it. The SDK's own
//! errors are not shown: they may quote the output of a program that issues credentials.

use std::env;
use std::error::Error as StdError;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_types::service_config::ServiceConfigKey;
use thiserror::Error;
use tokio::time::timeout;

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum SignInError {
    #[error(
        "no AWS credentials can be loaded: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    NoCredentials,
    #[error(
        "no AWS credentials can be loaded: profile {0:?} does not exist or has no credentials: correct AWS_PROFILE, or configure the profile, for example with `aws configure sso` or `aws login`"
    )]
    NoProfile(String),
    #[error("AWS credentials cannot be loaded ({reason}): {remedy}")]
    Failed {
        reason: &'static str,
        remedy: String,
    },
}

impl SignInError {
    /// Why, in few words.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoCredentials | Self::NoProfile(_) => "no credentials",
            Self::Failed { reason, .. } => reason,
        }
    }

    /// An error or its cause, if a request could not be signed for this reason.
    pub(crate) fn among(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found.clone());
            }
            cause = error.source();
        }
        None
    }
}

/// The credentials that the SDK finds, with errors that name the remedy.
#[derive(Debug)]
struct SignIn {
    provider: SharedCredentialsProvider,
    profile: Option<String>,
    remedy: String,
    /// What was loaded before the first request.
    early: Option<Credentials>,
    /// The SDK reports what is wrong with a profile once, and after that only that it did.
    first_error: OnceLock<SignInError>,
}

/// How long a person may take to sign in, for example to touch a key that the program of their profile asks for.
const PERSON_TIME: Duration = Duration::from_secs(60);

/// The same configuration, whose credentials come with [`SignInError`]s. The SDK gives credentials five seconds, so what
/// a profile names is loaded here, before the first request.
pub(crate) async fn with_sign_in(config: SdkConfig) -> SdkConfig {
    let Some(provider) = config.credentials_provider() else {
        return config;
    };
    let profile = env::var("AWS_PROFILE").ok();
    let profile = profile.filter(|profile| !profile.is_empty());
    let mut remedies = REMEDIES.iter();
    let kind = remedies.find(|(setting, _)| setting.is_set(&config));
    let mut sign_in = SignIn {
        provider,
        remedy: remedy(kind, profile.as_deref()),
        profile,
        early: None,
        first_error: OnceLock::new(),
    };
    if let Some((Setting::OfProfile(_), _)) = kind {
        let loaded = timeout(PERSON_TIME, sign_in.credentials()).await;
        sign_in.early = loaded.ok().and_then(Result::ok);
    }
    let provider = SharedCredentialsProvider::new(sign_in);
    config.into_builder().credentials_provider(provider).build()
}

const SSO: &str = "sign in with `aws sso login{profile}`";
const WEB_IDENTITY: &str = "check the file that AWS_WEB_IDENTITY_TOKEN_FILE or the profile names, and that the trust policy of the role allows its token";
const CONTAINER: &str = "check the role of the task (ECS) or the Pod Identity association (EKS), and that the agent that issues them can be reached";

/// A key of a profile, or a variable, and what to do if credentials of this kind cannot be loaded. The first one that
/// is set decides, as in the SDK.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html> (2026-11).
const REMEDIES: [(Setting, &str); 9] = [
    (
        Setting::OfProfile("source_profile"),
        "sign in to the source_profile, and allow it sts:AssumeRole on the role",
    ),
    (Setting::OfProfile("web_identity_token_file"), WEB_IDENTITY),
    (Setting::OfProfile("sso_session"), SSO),
    (Setting::OfProfile("sso_start_url"), SSO),
    (
        Setting::OfProfile("login_session"),
        "sign in with `aws login{profile}`",
    ),
    (
        Setting::OfProfile("credential_process"),
        "run the credential_process of the profile, and correct what it reports",
    ),
    (
        Setting::Variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
        WEB_IDENTITY,
    ),
    (
        Setting::Variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        CONTAINER,
    ),
    (
        Setting::Variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        CONTAINER,
    ),
];

const OTHERWISE: &str = "renew them, and check the network access to the service that issues them";

#[derive(Clone, Copy)]
enum Setting {
    OfProfile(&'static str),
    Variable(&'static str),
}

impl Setting {
    fn is_set(self, config: &SdkConfig) -> bool {
        match self {
            Self::Variable(name) => env::var_os(name).is_some(),
            Self::OfProfile(key) => {
                let key = ServiceConfigKey::builder().profile(key);
                let key = key.service_id("sts").env("").build().ok();
                let settings = config.service_config().zip(key);
                settings.is_some_and(|(settings, key)| settings.load_config(key).is_some())
            }
        }
    }
}

fn remedy(kind: Option<&(Setting, &str)>, profile: Option<&str>) -> String {
    let remedy = kind.map_or(OTHERWISE, |(_, remedy)| remedy);
    let option = profile.map_or_else(String::new, |profile| format!(" --profile {profile}"));
    remedy.replace("{profile}", &option)
}

fn is_expired(credentials: &Credentials) -> bool {
    let expiry = credentials.expiry();
    expiry.is_some_and(|expiry| expiry <= SystemTime::now())
}

impl SignIn {
    async fn credentials(&self) -> provider::Result {
        let early = self.early.as_ref();
        if let Some(early) = early.filter(|credentials| !is_expired(credentials)) {
            return Ok(early.clone());
        }
        let error = match self.provider.provide_credentials().await {
            Ok(credentials) if is_expired(&credentials) => self.failed("they have expired"),
            Ok(credentials) => return Ok(credentials),
            Err(error) => {
                let error = self.explain(&error);
                self.first_error.get_or_init(|| error).clone()
            }
        };
        Err(CredentialsError::provider_error(error))
    }

    fn explain(&self, error: &CredentialsError) -> SignInError {
        match (error, &self.profile) {
            (CredentialsError::CredentialsNotLoaded(_), None) => SignInError::NoCredentials,
            (CredentialsError::CredentialsNotLoaded(_), Some(profile)) => {
                SignInError::NoProfile(profile.clone())
            }
            (CredentialsError::ProviderTimedOut(_), _) => self.failed("no response in time"),
            (CredentialsError::InvalidConfiguration(_), _) => SignInError::Failed {
                reason: "the configuration is invalid",
                remedy: "correct the profile in ~/.aws/config".to_owned(),
            },
            _ => self.failed("they were refused, or have expired"),
        }
    }

    fn failed(&self, reason: &'static str) -> SignInError {
        let remedy = self.remedy.clone();
        SignInError::Failed { reason, remedy }
    }
}

impl ProvideCredentials for SignIn {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.provider.fallback_on_interrupt()
    }
}
