//! Errors at startup: one sentence and a non-zero exit code, no panic, no backtrace.

use serde_json::Value;

use testkit::aws::Secret;
use testkit::secrets_manager::{Mood, SecretsManager};
use testkit::{Database, MASK_KEY, Mapping, Setup, assert_contains, database_url, server_address};

async fn refusal(setup: Setup) -> String {
    let (status, log) = setup.set("RUST_BACKTRACE", "1").fail_to_start().await;
    assert!(!status.success());
    // One line: no panic, no backtrace.
    let line: Value = serde_json::from_str(&log).unwrap_or_else(|_| panic!("{log}"));
    assert_eq!(
        [&line["level"], &line["message"]],
        ["ERROR", "cannot start"]
    );
    line["reason"].as_str().unwrap().to_owned()
}

fn with_database() -> Setup {
    Setup::bare().set("DATABASE_URL", &database_url())
}

#[tokio::test]
async fn no_database_setting() {
    assert!(
        refusal(Setup::bare())
            .await
            .contains("no database is set: set DB_SECRET_ID")
    );
}

#[tokio::test]
async fn two_database_settings() {
    assert!(
        refusal(with_database().set("DB_SECRET_ID", "s"))
            .await
            .contains("both set: keep one")
    );
}

#[tokio::test]
async fn a_broken_mapping() {
    let log = refusal(
        with_database()
            .set("MASK_KEY", MASK_KEY)
            .mapping("table = \"t\"\nkeys = [\"id\"]\n"),
    )
    .await;
    assert_contains(&log, ".toml: line 2: unknown field `keys`");
}

#[tokio::test]
async fn a_mapping_that_cannot_be_read() {
    let log = refusal(with_database().set("PIPELINE_FILE", "/")).await;
    assert_contains(&log, "/: cannot be read");
}

#[tokio::test]
async fn no_mapping() {
    let log = refusal(with_database().set("PIPELINE_FILE", "/nowhere/pipeline.toml")).await;
    assert_contains(&log, "/nowhere/pipeline.toml: no such file");
    let log = refusal(with_database().set("LAMBDA_TASK_ROOT", "/nowhere")).await;
    let tried = "/nowhere/pipeline.toml or /opt/pipeline.toml: no such file";
    assert_contains(&log, tried);
}

#[tokio::test]
async fn a_default_that_does_not_fit() {
    let mapping = Mapping::by_message_id("t")
        .column("a", "integer")
        .with("default", "x");
    let log = refusal(with_database().mapping(&mapping)).await;
    assert_contains(&log, "column \"a\": the default does not fit (type)");
}

#[tokio::test]
async fn a_mask_without_its_key() {
    let log = refusal(with_database()).await;
    assert_contains(
        &log,
        "column \"masked_ip\": mask hmac-sha256 needs a key and none is set: set MASK_SECRET_ID or MASK_KEY",
    );
}

#[tokio::test]
async fn an_invalid_mask_key() {
    assert!(
        refusal(with_database().set("MASK_KEY", "hunter2!"))
            .await
            .contains("the mask key is not base64")
    );
    assert!(
        refusal(with_database().set("MASK_KEY", "aHVudGVyMg=="))
            .await
            .contains("has 7 bytes and needs at least 32")
    );
    let zeros = format!("{}==", "A".repeat(86));
    assert!(
        refusal(with_database().set("MASK_KEY", &zeros))
            .await
            .contains("the mask key is not random: only 1 distinct bytes")
    );
}

#[tokio::test]
async fn a_password_that_is_refused_is_not_shown() {
    let database = Database::new().await;
    let role = format!("{}_role", database.schema);
    database
        .execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'right'"))
        .await;
    let url = database.url_as(&role, "hunter2", server_address());
    let log = refusal(
        Setup::bare()
            .set("DATABASE_URL", &url)
            .set("MASK_KEY", MASK_KEY),
    )
    .await;
    assert_contains(&log, "refused user or password");
    assert!(!log.contains("hunter2"), "{}", log);
}

#[tokio::test]
async fn a_secret_that_does_not_exist() {
    let setup = Setup::bare().on_aws().set("MASK_KEY", MASK_KEY);
    let log = refusal(setup.set("DB_SECRET_ID", "nowhere/db")).await;
    assert_contains(&log, "secret \"nowhere/db\" does not exist: create it");
}

/// No wait helps: a person has to grant the permission.
#[tokio::test]
async fn a_secret_that_may_not_be_read() {
    let codes = [
        "AccessDeniedException",
        "InvalidRequestException",
        "DecryptionFailure",
    ];
    for code in codes {
        let secrets = SecretsManager::new(Mood::Refuses(code));
        let log = refusal(with_database().on_aws().mask_secret_at(secrets.address)).await;
        let sentence = format!(
            "secret \"mask\" cannot be read ({code}): allow secretsmanager:GetSecretValue on it, and kms:Decrypt on its key"
        );
        assert_contains(&log, &sentence);
    }
}

#[tokio::test]
async fn a_secret_that_is_not_json() {
    let secret = Secret::new("hunter2").await;
    for (variable, expected) in [("DB_SECRET_ID", "username"), ("MASK_SECRET_ID", "mask_key")] {
        let setup = if variable == "DB_SECRET_ID" {
            Setup::bare().set("MASK_KEY", MASK_KEY)
        } else {
            with_database()
        };
        let log = refusal(setup.on_aws().set(variable, &secret.id)).await;
        assert_contains(&log, "is not a JSON object with the required fields: store");
        assert_contains(&log, expected);
        assert!(!log.contains("hunter2"), "{}", log);
    }
}
