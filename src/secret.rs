//! Secrets Manager: names → secrets, in the two formats that the function knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::aws::{Aws, AwsError, reason, unsigned};

/// A version of a secret, by its staging label.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The version in use.
    Current,
    /// The version that a rotation is about to put into use.
    Pending,
}

impl Stage {
    fn label(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Pending => "AWSPENDING",
        }
    }
}

/// Why a secret could not be read; no variant holds any of its text.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum SecretError {
    #[error("secret {id:?} does not exist: create it, or correct its name and region")]
    NotFound { id: String },
    #[error(
        "secret {id:?} cannot be read ({code}): allow secretsmanager:GetSecretValue on it, and kms:Decrypt on its key"
    )]
    Denied { id: String, code: String },
    #[error(
        "secret {id:?} could not be read ({reason}): check the network access to Secrets Manager (in a VPC: an interface endpoint or NAT)"
    )]
    Unavailable { id: String, reason: String },
    #[error("secret {id:?} could not be read: {error}")]
    Unsigned { id: String, error: AwsError },
    #[error("secret {id:?} is not a JSON object with the required fields: store {expected}")]
    NotJson { id: String, expected: &'static str },
    #[error("secret {id:?} has no {field}: add it, or set {variable}")]
    MissingField {
        id: String,
        field: &'static str,
        variable: &'static str,
    },
}

impl SecretError {
    /// Whether another attempt may succeed although nobody fixes anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unsigned { .. })
    }
}

/// Reads secrets from Secrets Manager.
pub struct Secrets {
    aws: Arc<Aws>,
    client: OnceCell<Client>,
}

impl Secrets {
    /// Does not connect yet.
    pub fn new(aws: Arc<Aws>) -> Self {
        Self {
            aws,
            client: OnceCell::new(),
        }
    }

    /// The AWS that they are read from.
    pub(crate) fn aws(&self) -> &Aws {
        &self.aws
    }

    async fn client(&self) -> &Client {
        let client = async || Client::new(&self.aws.config_of_function().await);
        self.client.get_or_init(client).await
    }

    /// The text of a secret.
    ///
    /// # Errors
    /// It does not exist, cannot be read, or Secrets Manager is unavailable.
    pub async fn fetch(&self, id: &str, stage: Stage) -> Result<SecretString, SecretError> {
        let client = self.client().await;
        let answer = client
            .get_secret_value()
            .secret_id(id)
            .version_stage(stage.label())
            .send()
            .await;
        let secret = answer.map_err(|error| explain(id, &error))?;
        let text = secret.secret_string.ok_or_else(|| SecretError::NotJson {
            id: id.to_owned(),
            expected: "a text secret",
        })?;
        Ok(text.into())
    }
}

/// Errors that only a person can fix are final; all others may pass.
fn explain(id: &str, error: &SdkError<GetSecretValueError>) -> SecretError {
    let id = id.to_owned();
    if let Some(error) = unsigned(error) {
        return SecretError::Unsigned { id, error };
    }
    let reason = reason(error);
    match reason.as_str() {
        "ResourceNotFoundException" => SecretError::NotFound { id },
        code if code.starts_with("AccessDenied")
            || code.starts_with("Invalid")
            || code.starts_with("DecryptionFailure") =>
        {
            SecretError::Denied { id, code: reason }
        }
        _ => SecretError::Unavailable { id, reason },
    }
}

/// A database secret in the format of RDS; one that RDS manages has only the first two fields.
/// Source: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html>.
#[derive(Debug, Deserialize)]
pub(crate) struct DatabaseSecret {
    pub(crate) username: String,
    pub(crate) password: SecretString,
    pub(crate) host: Option<String>,
    /// As a number or a string.
    #[serde(default, deserialize_with = "port")]
    pub(crate) port: Option<u16>,
    pub(crate) dbname: Option<String>,
}

fn port<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Port {
        Number(u16),
        Text(String),
    }
    Ok(match Option::<Port>::deserialize(deserializer)? {
        Some(Port::Number(port)) => Some(port),
        Some(Port::Text(text)) => Some(text.parse().map_err(serde::de::Error::custom)?),
        None => None,
    })
}

impl DatabaseSecret {
    pub(crate) fn parse(id: &str, json: &SecretString) -> Result<Self, SecretError> {
        let expected = r#"{"host": …, "port": …, "username": …, "password": …, "dbname": …}"#;
        serde_json::from_str(json.expose_secret()).map_err(|_| SecretError::NotJson {
            id: id.to_owned(),
            expected,
        })
    }
}

/// A secret with mask keys in base64.
#[derive(Debug)]
pub(crate) enum MaskSecret {
    /// Several, by their ids.
    Ring {
        mask_keys: BTreeMap<String, SecretString>,
        /// The id of the one that new tokens are made with.
        current: String,
    },
    Key {
        mask_key: SecretString,
    },
}

impl MaskSecret {
    /// Reads the JSON of a secret. Line breaks within a key are ignored, like all white space, although JSON does not
    /// allow them in a string: `openssl rand -base64 64` prints one.
    pub(crate) fn parse(id: &str, json: &SecretString) -> Result<Self, SecretError> {
        let expected = r#"{"mask_key": "<base64 of 64 random bytes>"}, or {"mask_keys": {"<id>": "<base64>", …}, "current": "<id>"}"#;
        let json = Zeroizing::new(json.expose_secret().replace(['\n', '\r', '\t'], " "));
        let fields: MaskFields = serde_json::from_str(&json).unwrap_or_default();
        match (fields.mask_keys, fields.current, fields.mask_key) {
            (Some(mask_keys), Some(current), _) => Ok(Self::Ring { mask_keys, current }),
            (None, None, Some(mask_key)) => Ok(Self::Key { mask_key }),
            _ => Err(SecretError::NotJson {
                id: id.to_owned(),
                expected,
            }),
        }
    }
}

/// A mistake in `mask_keys` must not make the function fall back to `mask_key`, the field of older versions.
#[derive(Default, Deserialize)]
struct MaskFields {
    mask_key: Option<SecretString>,
    mask_keys: Option<BTreeMap<String, SecretString>>,
    current: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<DatabaseSecret, SecretError> {
        DatabaseSecret::parse("db", &json.into())
    }

    #[test]
    fn the_port_may_be_a_number_or_a_string() {
        for port in ["5433", "\"5433\""] {
            let secret = parse(&format!(r#"{{"username": "u", "password": "p", "host": "h", "port": {port}, "dbname": "d", "engine": "postgres"}}"#)).unwrap();
            assert_eq!(secret.port, Some(5433));
        }
    }

    #[test]
    fn a_secret_of_another_structure_is_refused_without_its_text() {
        for json in [
            "hunter2",
            r#"{"username": "hunter2"}"#,
            r#"{"username": "u", "password": 5, "x": "hunter2"}"#,
            "[]",
        ] {
            let error = parse(json).unwrap_err();
            assert!(matches!(error, SecretError::NotJson { .. }));
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        for json in [
            r#"{"key": "hunter2"}"#,
            r#"{"mask_keys": {"a": "hunter2"}}"#,
            r#"{"mask_keys": {"a": 5}, "current": "a", "x": "hunter2"}"#,
            // A function of an older version would use the first field, and new tokens would differ from all others.
            r#"{"mask_key": "hunter2", "mask_keys": {"a": "hunter2"}}"#,
            r#"{"mask_key": "hunter2", "current": "a"}"#,
            r#"{"mask_key": "hunter2", "mask_keys": {"a": 5}, "current": "a"}"#,
        ] {
            let error = MaskSecret::parse("m", &json.into()).unwrap_err();
            assert!(matches!(error, SecretError::NotJson { .. }), "{json}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_mask_secret_has_one_key_or_several() {
        let of = |json: &str| MaskSecret::parse("m", &json.into()).unwrap();
        let one = of(r#"{"mask_key": "a2V5"}"#);
        assert!(matches!(one, MaskSecret::Key { mask_key } if mask_key.expose_secret() == "a2V5"));
        // Functions of an older version read the first field.
        let several =
            of(r#"{"mask_key": "YQ", "mask_keys": {"a": "YQ", "b": "Yg"}, "current": "b"}"#);
        let MaskSecret::Ring { mask_keys, current } = several else {
            panic!("one key");
        };
        let ids: Vec<_> = mask_keys.keys().map(String::as_str).collect();
        assert_eq!((ids, current.as_str()), (vec!["a", "b"], "b"));
    }

    #[test]
    fn line_breaks_inside_the_mask_key_are_ignored() {
        let json = "{\r\n\t\"mask_key\": \"a2V5\r\na2V5\n\"\n}\n";
        let MaskSecret::Key { mask_key } = MaskSecret::parse("m", &json.into()).unwrap() else {
            panic!("several keys");
        };
        let digits = mask_key.expose_secret().split_ascii_whitespace();
        assert_eq!(digits.collect::<String>(), "a2V5a2V5");
    }
}
