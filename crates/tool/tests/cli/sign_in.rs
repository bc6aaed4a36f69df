//! Credentials of people and of containers: for each kind of profile a request that is signed with what it gives, and
//! the remedy if it gives nothing. The services that issue credentials are stand-ins: only AWS has the real ones.

use std::path::PathBuf;

use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use serde_json::{Value, json};
use testkit::http::{Answer, serve};
use testkit::sqs_double::SqsDouble;

use crate::tool::Tool;

/// The id of the key that a stand-in issues.
const ISSUED: &str = "ASIAISSUED";
const LONG_VALID: &str = "2099-01-01T00:00:00Z";
const EXPIRED: &str = "2020-01-01T00:00:00Z";

/// A profile that `aws configure sso` makes, and the name of the file of its token: the SHA-1 digest of its session's
/// name.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html> (2026-11).
const SSO: &str = "
    [profile work]
    sso_session = work
    sso_account_id = 123456789012
    sso_role_name = Loader
    [sso-session work]
    sso_region = eu-central-1
    sso_start_url = https://example.awsapps.com/start";
const SSO_TOKEN: &str = ".aws/sso/cache/e274eeff768c6396088ec6eb091f4bf4d47ab1e0.json";

/// A profile that `aws login` makes, and the file of its token: the SHA-256 digest of the session.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-login-credentials.html> (2026-11).
const LOGIN: &str = "
    [profile work]
    login_session = arn:aws:sts::123456789012:assumed-role/Admin/anna";
const LOGIN_TOKEN: &str =
    ".aws/login/cache/ec06b1e531bef394667415dcfe3da58254cb6c926688e4294ad6f93f5683942e.json";

/// The home of a person with these files.
struct Home(PathBuf);

impl Home {
    fn with(files: &[(&str, &str)]) -> Self {
        let name = format!("sqs-to-postgres-home-{:016x}", fastrand::u64(..));
        let home = Self(std::env::temp_dir().join(name));
        for (name, text) in files {
            let path = home.file(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            // The parser takes an indented line for a continuation.
            let lines: Vec<_> = text.lines().map(str::trim_start).collect();
            std::fs::write(path, lines.join("\n")).unwrap();
        }
        home
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn tool(&self) -> Tool {
        let home = self.0.display().to_string();
        let tool = Tool::bare().set("HOME", &home).input("a\n");
        tool.set("AWS_REGION", "eu-central-2")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A service that gives this answer to whoever shows the proof, in a header or in the body, and refuses all others.
fn issuer(proof: &'static str, answer: impl ToString) -> String {
    let answer = answer.to_string();
    let address = serve(move |request| {
        Some(match request.shows(proof) {
            true => Answer::new(200, &answer),
            false => Answer::new(403, "{}"),
        })
    });
    format!("http://{address}")
}

/// The keys with which the tool signs its requests to SQS.
async fn assert_signs_as(tool: Tool, key_id: &str) {
    let sqs = SqsDouble::of(Vec::new());
    sqs.fail_sends("nothing", 0);
    let tool = tool.set("AWS_ENDPOINT_URL_SQS", &sqs.endpoint);
    let queue = format!("{}/000000000000/q", sqs.endpoint);
    let sent = tool.run(&format!("send --queue-url {queue}")).await;
    assert_eq!(sent.code, 0, "{}", sent.err);
    let state = sqs.state();
    assert_eq!(
        (&state.arrived[..], &state.signed_by[..]),
        (&["a".to_owned()][..], &[key_id.to_owned()][..])
    );
}

/// What the tool says before it sends any request to SQS.
async fn error_of(tool: Tool) -> String {
    let sqs = SqsDouble::of(Vec::new());
    let tool = tool.set("AWS_ENDPOINT_URL_SQS", &sqs.endpoint);
    let queue = format!("{}/000000000000/q", sqs.endpoint);
    let ended = tool.run(&format!("send --queue-url {queue}")).await;
    assert_eq!(ended.code, 2, "{}", ended.err);
    assert_eq!(sqs.state().signed_by, [] as [&str; 0]);
    ended.err
}

/// As the agents of ECS and EKS answer.
/// Source: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html> (2026-11).
fn of_container() -> Value {
    json!({"AccessKeyId": ISSUED, "SecretAccessKey": "s", "Token": "t", "Expiration": LONG_VALID})
}

/// As STS answers.
/// Source: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html> (2026-11).
fn of_sts(operation: &str) -> String {
    format!(
        "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{operation}Result><Credentials>\
             <AccessKeyId>{ISSUED}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>{LONG_VALID}</Expiration></Credentials></{operation}Result></{operation}Response>"
    )
}

/// As IAM Identity Center answers.
/// Source: <https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html> (2026-11).
fn of_sso() -> Value {
    json!({"roleCredentials": {
        "accessKeyId": ISSUED, "secretAccessKey": "s", "sessionToken": "t", "expiration": 4_070_908_800_000_u64,
    }})
}

fn sso_token() -> String {
    json!({"accessToken": "shown-to-sso", "expiresAt": LONG_VALID}).to_string()
}

/// As `aws login` stores it, with a key of its own.
fn login_token(expires: &str) -> String {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = EcKey::generate(&curve)
        .unwrap()
        .private_key_to_pem()
        .unwrap();
    let issued = json!({
        "accessKeyId": "ASIACACHED", "secretAccessKey": "s", "sessionToken": "t", "accountId": "123456789012",
        "expiresAt": expires,
    });
    let token = json!({
        "accessToken": issued, "tokenType": "aws_sigv4", "refreshToken": "shown-to-sign-in", "idToken": "i",
        "clientId": "arn:aws:signin:::devtools/same-device", "dpopKey": String::from_utf8(key).unwrap(),
    });
    token.to_string()
}

#[tokio::test]
async fn a_profile_of_iam_identity_center_signs_in_with_what_aws_sso_login_stored() {
    let home = Home::with(&[(".aws/config", SSO), (SSO_TOKEN, &sso_token())]);
    let portal = issuer("shown-to-sso", of_sso());
    let tool = home.tool().set("AWS_ENDPOINT_URL_SSO", &portal);
    assert_signs_as(tool.set("AWS_PROFILE", "work"), ISSUED).await;
}

#[tokio::test]
async fn a_profile_of_aws_login_signs_in_with_what_is_stored_and_renews_it() {
    let home = Home::with(&[
        (".aws/config", LOGIN),
        (LOGIN_TOKEN, &login_token(LONG_VALID)),
    ]);
    let tool = home.tool().set("AWS_PROFILE", "work");
    assert_signs_as(tool, "ASIACACHED").await;
    let home = Home::with(&[(".aws/config", LOGIN), (LOGIN_TOKEN, &login_token(EXPIRED))]);
    let renewed = json!({"accessKeyId": ISSUED, "secretAccessKey": "s", "sessionToken": "t"});
    let renewed = json!({
        "accessToken": renewed, "tokenType": "aws_sigv4", "expiresIn": 900, "refreshToken": "next",
    });
    let sign_in = issuer("shown-to-sign-in", renewed);
    let tool = home.tool().set("AWS_ENDPOINT_URL_SIGNIN", &sign_in);
    assert_signs_as(tool.set("AWS_PROFILE", "work"), ISSUED).await;
    // For the AWS command line too.
    let stored = std::fs::read_to_string(home.file(LOGIN_TOKEN)).unwrap();
    assert!(stored.contains(ISSUED) && stored.contains("next"));
}

#[tokio::test]
async fn a_profile_with_a_credential_process_signs_with_what_the_process_prints_however_late() {
    let printed = json!({
        "Version": 1, "AccessKeyId": "ASIAPRINTED", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": LONG_VALID,
    });
    // Longer than the SDK waits for credentials, and than a request may take: a person has to touch a key.
    let config = format!("[profile work]\ncredential_process = sleep 9; printf '%s' '{printed}'");
    let home = Home::with(&[(".aws/config", &config)]);
    assert_signs_as(home.tool().set("AWS_PROFILE", "work"), "ASIAPRINTED").await;
}

#[tokio::test]
async fn a_profile_with_a_role_signs_in_to_its_source_first() {
    let role = "
        [profile loader]
        role_arn = arn:aws:iam::123456789012:role/loader
        source_profile = work";
    let config = format!("{SSO}{role}");
    let home = Home::with(&[(".aws/config", &config), (SSO_TOKEN, &sso_token())]);
    let mut of_source = of_sso();
    of_source["roleCredentials"]["accessKeyId"] = json!("ASIASOURCE");
    let tool = home
        .tool()
        .set("AWS_PROFILE", "loader")
        .set("AWS_ENDPOINT_URL_SSO", &issuer("shown-to-sso", of_source))
        .set(
            "AWS_ENDPOINT_URL_STS",
            &issuer("ASIASOURCE", of_sts("AssumeRole")),
        );
    assert_signs_as(tool, ISSUED).await;
}

#[tokio::test]
async fn a_task_of_ecs_and_a_pod_of_eks_sign_with_what_their_agent_gives() {
    let agent = issuer("shown-to-agent", of_container());
    let home = Home::with(&[("token", "shown-to-agent")]);
    let tool = || {
        home.tool().set(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            &format!("{agent}/v1/credentials"),
        )
    };
    let of_task = tool().set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "shown-to-agent");
    assert_signs_as(of_task, ISSUED).await;
    let file = home.file("token").display().to_string();
    let of_pod = tool().set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file);
    assert_signs_as(of_pod, ISSUED).await;
}

#[tokio::test]
async fn a_web_identity_signs_with_what_sts_gives_for_its_token() {
    let sts = issuer("shown-to-sts", of_sts("AssumeRoleWithWebIdentity"));
    let home = Home::with(&[("token", "shown-to-sts")]);
    let tool = home
        .tool()
        .set("AWS_ENDPOINT_URL_STS", &sts)
        .set("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/loader")
        .set(
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            &home.file("token").display().to_string(),
        );
    assert_signs_as(tool, ISSUED).await;
}

#[tokio::test]
async fn what_fails_to_sign_in_names_the_remedy_of_its_kind() {
    let refusing = issuer("of nobody", "");
    let process = "[profile work]\ncredential_process = echo hunter2 >&2; exit 1";
    let role = "
        [profile work]
        role_arn = arn:aws:iam::123456789012:role/loader
        source_profile = keys
        [profile keys]
        aws_access_key_id = AKIA
        aws_secret_access_key = s";
    let incomplete = "[profile work]\nrole_arn = arn:aws:iam::123456789012:role/loader";
    let failed = "AWS credentials cannot be loaded (they were refused, or have expired): ";
    let invalid = "AWS credentials cannot be loaded (the configuration is invalid): ";
    let of_profiles = [
        (SSO, failed, "sign in with `aws sso login --profile work`"),
        (LOGIN, failed, "sign in with `aws login --profile work`"),
        (process, failed, "run the credential_process of the profile"),
        (
            role,
            failed,
            "sign in to the source_profile, and allow it sts:AssumeRole",
        ),
        (incomplete, invalid, "correct the profile in ~/.aws/config"),
        (
            "[profile other]",
            "no AWS credentials can be loaded: ",
            "profile \"work\" does not exist or has no credentials: correct AWS_PROFILE",
        ),
    ];
    for (config, error, remedy) in of_profiles {
        let home = Home::with(&[(".aws/config", config)]);
        let tool = home.tool().set("AWS_ENDPOINT_URL_STS", &refusing);
        let said = error_of(tool.set("AWS_PROFILE", "work")).await;
        assert!(said.contains(&format!("{error}{remedy}")), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let default = SSO.replace("[profile work]", "[default]");
    let home = Home::with(&[(".aws/config", &default), ("token", "t")]);
    let said = error_of(home.tool()).await;
    assert!(said.contains("sign in with `aws sso login`"), "{said}");
    let home = Home::with(&[("token", "t")]);
    let of_container = home
        .tool()
        .set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &refusing);
    let said = error_of(of_container).await;
    assert!(
        said.contains("check the role of the task (ECS) or the Pod Identity"),
        "{said}"
    );
    let of_web_identity = home
        .tool()
        .set("AWS_ENDPOINT_URL_STS", &refusing)
        .set("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/loader")
        .set(
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            &home.file("token").display().to_string(),
        );
    let said = error_of(of_web_identity).await;
    assert!(
        said.contains("check the file that AWS_WEB_IDENTITY_TOKEN_FILE"),
        "{said}"
    );
}

#[tokio::test]
async fn check_names_the_same_remedy_for_each_secret() {
    let home = Home::with(&[(".aws/config", SSO)]);
    let tool = home
        .tool()
        .set("AWS_PROFILE", "work")
        .set("DB_SECRET_ID", "database")
        .set("MASK_SECRET_ID", "mask-key");
    let checked = tool.run("check").await;
    let remedy = "sign in with `aws sso login --profile work`";
    assert_eq!(
        checked.out.matches(remedy).count(),
        2,
        "{}{}",
        checked.out,
        checked.err
    );
}
