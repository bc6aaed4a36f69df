use std::collections::BTreeMap;

use super::*;

const BODY: &str = r#"{"user_id": "é"}"#;
const QUEUE: &str = "arn:aws:sqs:eu-west-1:0:logins";

fn key(first: u8) -> MaskKey {
    let bytes: Vec<u8> = (first..first + 64).collect();
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    MaskKey::from_base64(&text).unwrap()
}

fn origin() -> Origin {
    Origin::new("m-1", Some(1_700_000_000_123), QUEUE)
}

fn content<'a>(body: &'a str, group: &'a str, attributes: [[&'a str; 3]; 2]) -> Content<'a> {
    let mut content = Content::new(body, Some(group));
    for [name, data_type, value] in attributes {
        content.add(name, data_type, value.as_bytes());
    }
    content
}

fn usual() -> Content<'static> {
    let attributes = [["tenant", "String", "acme"], ["raw", "Binary", "\0\u{1}"]];
    content(BODY, "anna", attributes)
}

fn check(origins: &Origins, text: &str, content: &Content<'_>) -> Result<(), Ignored> {
    let origin = Origin::parse(text).unwrap();
    origins.check(&origin, content, Delivery::default())
}

/// Made with Python's hmac: HKDF (RFC 5869) without salt to 64 bytes, then HMAC-SHA-256 of the fields, each after
/// its length in 8 bytes.
#[test]
fn the_signature_is_what_another_implementation_computes() {
    let text = Origins::new(Some(&key(0).into())).text(origin(), &usual());
    let expected = r#"{"id":"m-1","sent_at":1700000000123,"queue":"arn:aws:sqs:eu-west-1:0:logins","hmac":"h2XCoEXkrlbw3woGyeWpb_Y9f3c3yk7uxj9nunpOGgU"}"#;
    assert_eq!(text, expected);
}

#[test]
fn with_a_key_only_the_origin_that_was_signed_for_this_content_counts() {
    let [ours, other] = [0, 1].map(|first| Origins::new(Some(&key(first).into())));
    let signed = ours.text(origin(), &usual());
    assert_eq!(check(&ours, &signed, &usual()), Ok(()));
    assert_eq!(check(&other, &signed, &usual()), Err(Ignored::Signature));
    let unsigned = Origins::new(None).text(origin(), &usual());
    let changed = [
        ("m-1", "m-2"),
        ("1700000000123", "1700000000124"),
        ("\"sent_at\":1700000000123,", ""),
        (":logins", ":others"),
    ];
    let changed = changed.map(|(from, to)| signed.replacen(from, to, 1));
    for forged in changed.iter().chain([&unsigned]) {
        let forged = check(&ours, forged, &usual());
        assert_eq!(forged, Err(Ignored::Signature));
    }
}

#[test]
fn an_origin_does_not_count_for_another_body_group_or_attribute() {
    let ours = Origins::new(Some(&key(0).into()));
    let signed = ours.text(origin(), &usual());
    let [tenant, raw] = [["tenant", "String", "acme"], ["raw", "Binary", "\0\u{1}"]];
    let others = [
        content("{}", "anna", [tenant, raw]),
        content(BODY, "ben", [tenant, raw]),
        content(BODY, "anna", [["tenant", "String", "evil"], raw]),
        content(BODY, "anna", [["tenant", "Number", "acme"], raw]),
        content(BODY, "anna", [["tenant2", "String", "acme"], raw]),
        content(BODY, "anna", [tenant, tenant]),
        Content::new(BODY, Some("anna")),
        Content::new(BODY, None),
    ];
    for other in &others {
        assert_eq!(check(&ours, &signed, other), Err(Ignored::Signature));
    }
    // What the function and redrive set themselves.
    let mut same = usual();
    same.add(ORIGIN, "String", signed.as_bytes());
    same.add(REJECTION, "String", "{}".as_bytes());
    assert_eq!(check(&ours, &signed, &same), Ok(()));
}

#[test]
fn a_retired_key_signs_nothing_but_dead_letters() {
    let keys = BTreeMap::from([("old".to_owned(), key(0)), ("new".to_owned(), key(1))]);
    let ring = KeyRing::new(keys, "new").unwrap();
    let [by_old, by_new] =
        [key(0), key(1)].map(|key| Origins::new(Some(&key.into())).text(origin(), &usual()));
    let queue = Origins::new(Some(&ring));
    assert_eq!(check(&queue, &by_new, &usual()), Ok(()));
    let old = check(&queue, &by_old, &usual());
    assert_eq!(old, Err(Ignored::Signature));
    let dead_letters = Origins::with_retired(Some(&ring));
    for signed in [&by_old, &by_new] {
        assert_eq!(check(&dead_letters, signed, &usual()), Ok(()));
    }
    assert_eq!(dead_letters.text(origin(), &usual()), by_new);
}

#[test]
fn an_origin_that_sqs_contradicts_does_not_count_whatever_signed_it() {
    let first = origin().sent_at;
    for origins in [Origins::new(None), Origins::new(Some(&key(0).into()))] {
        let signed = Origin::parse(&origins.text(origin(), &usual())).unwrap();
        let check = |sent_at, queue| {
            let delivery = Delivery { sent_at, queue };
            origins.check(&signed, &usual(), delivery)
        };
        for sent_at in [None, first, first.map(|millis| millis + 1)] {
            assert_eq!(check(sent_at, None), Ok(()));
            assert_eq!(check(sent_at, Some(QUEUE)), Ok(()));
            assert_eq!(check(sent_at, Some("arn")), Err(Ignored::Queue));
        }
        let earlier = first.map(|millis| millis - 1);
        assert_eq!(check(earlier, Some(QUEUE)), Err(Ignored::Time));
    }
}

#[test]
fn without_a_key_it_counts_unsigned() {
    let origins = Origins::new(None);
    let text = origins.text(origin(), &usual());
    assert_eq!(check(&origins, &text, &Content::new("{}", None)), Ok(()));
    assert!(!text.contains("hmac"));
    assert_eq!(Origin::parse(&text), Some(origin()));
}

#[test]
fn an_attribute_of_another_form_is_the_senders_own() {
    for text in [
        "",
        "web",
        "{}",
        r#"{"id": "a"}"#,
        r#"{"id": "", "queue": "q"}"#,
        r#"{"id": "a\nb", "queue": "q"}"#,
        r#"{"id": "a", "queue": "q\u0000"}"#,
        r#"{"id": "a", "queue": "q", "sent_at": "yesterday"}"#,
        r#"{"id": "a", "queue": "q", "sent_at": -1}"#,
        r#"{"id": "a", "queue": "q", "sent_at": 9223372036854775807}"#,
    ] {
        assert!(Origin::parse(text).is_none(), "{text}");
    }
}

#[test]
fn the_position_of_a_record_that_was_split_off_is_signed() {
    let ours = Origins::new(Some(&key(0).into()));
    let index = |index| origin().with_index(index);
    let signed = ours.text(index(Some(3)), &usual());
    assert_eq!(check(&ours, &signed, &usual()), Ok(()));
    assert_eq!(Origin::parse(&signed).unwrap().index, Some(3));
    let whole = ours.text(index(None), &usual());
    let forged = [
        signed.replacen("\"index\":3", "\"index\":4", 1),
        signed.replacen("\"index\":3,", "", 1),
        whole.replacen("\"hmac\"", "\"index\":0,\"hmac\"", 1),
    ];
    for forged in forged {
        assert!(forged != signed && forged != whole);
        let ignored = check(&ours, &forged, &usual());
        assert_eq!(ignored, Err(Ignored::Signature), "{forged}");
    }
}
