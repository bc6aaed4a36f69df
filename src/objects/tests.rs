use super::*;

fn pointer(bucket: &str, key: &str) -> S3Pointer {
    S3Pointer {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    }
}

#[test]
fn a_bucket_is_the_host_unless_its_name_has_dots_or_the_server_is_another() {
    let aws = |region| Server::aws(region, false, false);
    let other = Server::At("http://127.0.0.1:4566".to_owned());
    for (bucket, server, expected) in [
        (
            "logins",
            aws("eu-west-1"),
            "https://logins.s3.eu-west-1.amazonaws.com/k",
        ),
        (
            "my.logins",
            aws("eu-west-1"),
            "https://s3.eu-west-1.amazonaws.com/my.logins/k",
        ),
        (
            "logins",
            aws("cn-north-1"),
            "https://logins.s3.cn-north-1.amazonaws.com.cn/k",
        ),
        (
            "logins",
            Server::aws("eu-west-1", false, true),
            "https://logins.s3.dualstack.eu-west-1.amazonaws.com/k",
        ),
        (
            "logins",
            Server::aws("us-gov-west-1", true, false),
            "https://logins.s3-fips.us-gov-west-1.amazonaws.com/k",
        ),
        ("logins", other, "http://127.0.0.1:4566/logins/k"),
    ] {
        assert_eq!(url(&pointer(bucket, "k"), &server), expected);
    }
}

#[test]
fn a_key_with_special_characters_is_encoded_once() {
    let key = "a b/ü+%20?x=1&y#z//~é";
    assert_eq!(
        url(
            &pointer("logins", key),
            &Server::aws("eu-west-1", false, false)
        ),
        "https://logins.s3.eu-west-1.amazonaws.com/a%20b/%C3%BC%2B%2520%3Fx%3D1%26y%23z//~%C3%A9"
    );
}

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// 2026-11-02 09:00:00 UTC.
const NOW: Duration = Duration::from_secs(1_793_610_000);

/// A URL, a session token, and the signature that `S3SigV4Auth` of botocore 1.43.86 makes at [`NOW`].
const SIGNATURES: [(&str, Option<&str>, &str); 3] = [
    (
        "https://logins.s3.eu-west-1.amazonaws.com/k",
        None,
        "c25779c23c4432ece0f99c8a55161a3929d4a26d723f8f88bfbb9ee449854b2d",
    ),
    (
        "https://logins.s3.eu-west-1.amazonaws.com/a%20b/%C3%BC%2B%2520%3Fx%3D1%26y%23z//~%C3%A9",
        Some("a/session+token=="),
        "525b16a33c2073abfef50f5338a2af9d31cef3478f6edec20d8b2b53e8274968",
    ),
    (
        "http://127.0.0.1:4566/logins/k",
        None,
        "f3268063f578ee529023391bff9943fbdb20554eeec2619ccdeda88ecf7e8bc6",
    ),
];

#[test]
fn a_request_is_signed_as_botocore_signs_it() {
    for (url, session, expected) in SIGNATURES {
        let session = session.map(str::to_owned);
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", SECRET, session, None, "test");
        let now = SystemTime::UNIX_EPOCH + NOW;
        let request = signed(url, credentials, "eu-west-1", now).unwrap();
        let signature = request.headers().get("authorization").unwrap();
        let (_, signature) = signature.split_once("Signature=").unwrap();
        assert_eq!(signature, expected, "{url}");
    }
}

fn name_of(status: u16, code: &str) -> &'static str {
    let failure = fault("logins", status, code.to_owned(), None);
    failure.into_rule().name()
}

#[test]
fn what_may_pass_by_itself_is_an_outage_and_only_a_missing_object_is_the_messages_fault() {
    for (status, code, expected) in [
        (404, "NoSuchKey", "s3_missing"),
        (404, "NoSuchBucket", "s3_denied"),
        (404, "HTTP status 404", "s3_denied"),
        (403, "AccessDenied", "s3_denied"),
        (403, "InvalidObjectState", "s3_denied"),
        (301, "PermanentRedirect", "s3_denied"),
        (400, "AuthorizationHeaderMalformed", "s3_denied"),
        (307, "TemporaryRedirect", "s3_unavailable"),
        (400, "RequestTimeout", "s3_unavailable"),
        (400, "ExpiredToken", "s3_unavailable"),
        (429, "HTTP status 429", "s3_unavailable"),
        (500, "InternalError", "s3_unavailable"),
        (503, "SlowDown", "s3_unavailable"),
    ] {
        assert_eq!(name_of(status, code), expected, "{status} {code}");
    }
}

#[test]
fn what_is_to_be_allowed_and_where_the_bucket_is_are_named() {
    let text = |status, code: &str, region: Option<Box<str>>| {
        fault("logins", status, code.to_owned(), region)
            .into_rule()
            .to_string()
    };
    let denied = text(403, "AccessDenied", None);
    for action in [
        "s3:GetObject",
        "s3:ListBucket",
        "kms:Decrypt",
        "AccessDenied",
        "\"logins\"",
    ] {
        assert!(denied.contains(action), "{denied}");
    }
    let moved = text(301, "PermanentRedirect", Some("eu-central-1".into()));
    assert!(
        moved.starts_with("bucket \"logins\" is in region eu-central-1: "),
        "{moved}"
    );
}

#[test]
fn an_error_code_is_a_word() {
    let xml = |code: &str| format!("<?xml?><Error><Code>{code}</Code><Key>secret</Key></Error>");
    let of = |code: &str| error_code(xml(code).as_bytes());
    assert_eq!(of("NoSuchKey").as_deref(), Some("NoSuchKey"));
    assert_eq!(
        of("KMS.DisabledException").as_deref(),
        Some("KMS.DisabledException")
    );
    assert_eq!(of("no such key: secret"), None);
    assert_eq!(error_code(b"<html>secret</html>"), None);
}
