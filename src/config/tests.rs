//! Settings, as they are read and refused.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let lookup = |name: &str| {
        variables
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Settings::read(lookup)
}

#[test]
fn the_list_of_variables_is_what_is_read() {
    let read = RefCell::new(BTreeSet::new());
    for auth in ["password", "iam"] {
        let lookup = |name: &str| {
            read.borrow_mut().insert(name.to_owned());
            match name {
                "DB_AUTH" => Some(auth.to_owned()),
                "DB_SECRET_ID" => (auth == "password").then(|| "s".to_owned()),
                "DB_HOST" | "DB_NAME" | "DB_USER" => Some("x".to_owned()),
                _ => None,
            }
        };
        assert!(Settings::read(lookup).is_ok());
        LogSettings::read(lookup);
    }
    let runtime = |name: &String| RUNTIME_VARIABLES.contains(&name.as_str());
    let mut read = read.into_inner();
    read.retain(|name| !runtime(name));
    assert_eq!(read, Settings::VARIABLES.map(str::to_owned).into());
}

#[test]
fn a_secret_is_completed_by_the_environment_and_verified_by_default() {
    let settings = read(&[
        ("DB_SECRET_ID", "rds!x"),
        ("DB_HOST", "db.internal"),
        ("DB_PORT", "6432"),
        ("DB_NAME", "analytics"),
    ])
    .unwrap();
    let DatabaseSettings::Secret(secret) = settings.database else {
        panic!("a secret is set")
    };
    assert_eq!(
        (secret.host.as_deref(), secret.port, secret.name.as_deref()),
        (Some("db.internal"), Some(6432), Some("analytics"))
    );
    assert_eq!(secret.tls, TlsSettings::default());
    assert_eq!(secret.tls.mode(false), SslMode::VerifyFull);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let settings = read(&[
        ("DATABASE_URL", "postgresql://h/d"),
        ("DB_SECRET_ID", ""),
        ("MASK_KEY", ""),
        ("PIPELINE_FILE", ""),
        ("LAMBDA_TASK_ROOT", "/var/task"),
    ])
    .unwrap();
    assert!(matches!(settings.database, DatabaseSettings::Url(_)));
    assert!(settings.mask_key.is_none());
    let places = ["/var/task/pipeline.toml", "/opt/pipeline.toml"];
    assert_eq!(settings.pipeline_files, places.map(PathBuf::from));
}

#[test]
fn contradictory_settings_are_refused() {
    let cases = [
        (
            ("DATABASE_URL", "postgresql://h/d"),
            ConfigError::TwoDatabases,
        ),
        (("DB_PORT", "70000"), ConfigError::NotANumber("DB_PORT")),
        (
            ("SECRET_TTL_SECS", "5m"),
            ConfigError::NotANumber("SECRET_TTL_SECS"),
        ),
        (("DB_SSLMODE", "on"), ConfigError::UnknownSslMode),
        (("DB_SSLMODE", "verify-ca"), ConfigError::NoAuthority),
        (
            ("DB_CHANNEL_BINDING", "on"),
            ConfigError::UnknownChannelBinding,
        ),
    ];
    for (variable, expected) in cases {
        let refused = read(&[("DB_SECRET_ID", "s"), variable]).err();
        assert_eq!(refused, Some(expected), "{variable:?}");
    }
    assert_eq!(read(&[]).err(), Some(ConfigError::NoDatabase));
    let two_keys = [
        ("DB_SECRET_ID", "s"),
        ("MASK_KEY", "k"),
        ("MASK_SECRET_ID", "m"),
    ];
    assert_eq!(read(&two_keys).err(), Some(ConfigError::TwoMaskKeys));
}

#[test]
fn iam_authentication_takes_no_password_and_nothing_less_than_verify_full() {
    let complete = [
        ("DB_AUTH", "iam"),
        ("DB_HOST", "localhost"),
        ("DB_NAME", "d"),
        ("DB_USER", "u"),
    ];
    let with = |variable| read(&[&complete[..], &[variable]].concat());
    let DatabaseSettings::Iam(iam) = with(("DB_CHANNEL_BINDING", "prefer")).unwrap().database
    else {
        panic!("DB_AUTH is iam")
    };
    assert_eq!(iam.tls.mode(true), SslMode::VerifyFull);
    for name in ["DB_SECRET_ID", "DATABASE_URL"] {
        let refused = with((name, "postgresql://h/d")).err();
        assert_eq!(refused, Some(ConfigError::IamAndPassword(name)));
    }
    for (name, value) in [
        ("DB_SSLMODE", "require"),
        ("DB_SSLMODE", "disable"),
        ("DB_CHANNEL_BINDING", "require"),
    ] {
        let refused = with((name, value)).err();
        assert_eq!(refused, Some(ConfigError::IamIsVerified(name)), "{value}");
    }
    for (missing, _) in &complete[1..] {
        let rest: Vec<_> = complete
            .iter()
            .copied()
            .filter(|(name, _)| name != missing)
            .collect();
        assert_eq!(read(&rest).err(), Some(ConfigError::IamNeeds(missing)));
    }
    let unknown = read(&[("DB_AUTH", "ldap")]).err();
    assert_eq!(unknown, Some(ConfigError::UnknownAuth));
}

#[test]
fn outside_of_lambda_the_missing_variable_is_named() {
    assert_eq!(
        check_runtime(|_| None),
        Err(ConfigError::NoRuntime("AWS_LAMBDA_RUNTIME_API"))
    );
    assert_eq!(check_runtime(|_| Some("128".to_owned())), Ok(()));
    assert_eq!(
        check_runtime(|_| Some("much".to_owned())),
        Err(ConfigError::NotANumber("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
    );
}

#[test]
fn printing_settings_shows_no_secret() {
    let settings = read(&[
        ("DATABASE_URL", "postgresql://u:s3cret@h/d"),
        ("MASK_KEY", "s3cret"),
    ])
    .unwrap();
    assert!(!format!("{settings:?}").contains("s3cret"));
}
