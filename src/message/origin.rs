//! The origin of a message, in one message attribute: the id and the time that it first had, and its queue.
//!
//! SQS gives a message that is sent again a new id and a new time. Dead letters that the function sends and messages
//! that `redrive` moves back carry the original ones, so the message is stored once. But everybody who can send to
//! the queue can set the attribute. If there is a mask key, it is therefore signed together with the body, and counts
//! only with a valid signature. Without a key it counts unsigned.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::mask::KeyRing;

/// The name of the attribute.
pub const ORIGIN: &str = "origin";

/// Separates the key of these signatures from every other use of the mask key.
const LABEL: &[u8] = b"sqs-to-postgres origin v1";

/// The last millisecond of the year 9999: SQS never gives a later time.
const LATEST_MILLIS: i64 = 253_402_300_799_999;

/// The content of the attribute.
///
/// ```json
/// {"id": "059f36b4-…", "sent_at": 1700000000123, "queue": "arn:aws:sqs:…:login-queue", "hmac": "…"}
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The id that SQS first gave the message.
    pub id: String,
    /// When SQS first received it, in milliseconds since 1970, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<i64>,
    /// The ARN of the queue that it was in; empty if unknown.
    pub queue: String,
    /// HMAC-SHA-256 of the fields above and the body, in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hmac: Option<String>,
}

/// Shows nothing: a sender may have chosen every field.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").finish_non_exhaustive()
    }
}

impl Origin {
    /// An origin that is not signed yet.
    pub fn new(id: &str, sent_at: Option<i64>, queue: &str) -> Self {
        Self {
            id: id.to_owned(),
            sent_at,
            queue: queue.to_owned(),
            hmac: None,
        }
    }

    /// Reads the text of the attribute, from any sender. `None`: it has another form, so it is an attribute of the
    /// sender's own that happens to have this name.
    pub fn parse(text: &str) -> Option<Self> {
        let origin: Self = serde_json::from_str(text).ok()?;
        let is_plain = |text: &str| !text.chars().any(char::is_control);
        let is_time = |millis: i64| (0..=LATEST_MILLIS).contains(&millis);
        let is_ours = !origin.id.is_empty()
            && is_plain(&origin.id)
            && is_plain(&origin.queue)
            && origin.sent_at.is_none_or(is_time);
        is_ours.then_some(origin)
    }

    /// Whether it carries a signature, valid or not.
    pub fn is_signed(&self) -> bool {
        self.hmac.is_some()
    }

    /// The queue's ARN, if known.
    pub fn queue(&self) -> Option<&str> {
        Some(self.queue.as_str()).filter(|queue| !queue.is_empty())
    }
}

/// Signs and verifies origins, if there is a key.
pub struct Origins {
    /// By each of the keys, the current one first.
    keyed: Vec<Hmac<Sha256>>,
}

impl Origins {
    /// Derives a key of its own from each mask key.
    pub fn new(keys: Option<&KeyRing>) -> Self {
        let keys = keys.into_iter().flat_map(KeyRing::keys);
        let keyed = keys.map(|(_, key)| Hmac::new((&*key.derive(LABEL)).into()));
        Self {
            keyed: keyed.collect(),
        }
    }

    /// Whether it signs.
    pub fn has_key(&self) -> bool {
        !self.keyed.is_empty()
    }

    /// Whether the origin of a message with this body counts: its signature is valid, or there is no key.
    pub fn accepts(&self, origin: &Origin, body: &str) -> bool {
        if !self.has_key() {
            return true;
        }
        let signature = origin.hmac.as_deref().unwrap_or_default();
        URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| {
            self.keyed.iter().any(|keyed| {
                let mac = signed(keyed.clone(), origin, body);
                mac.verify_slice(&signature).is_ok()
            })
        })
    }

    /// The text of the attribute for a message with this body.
    pub fn text(&self, origin: Origin, body: &str) -> String {
        let hmac = self.keyed.first().map(|keyed| {
            let mac = signed(keyed.clone(), &origin, body).finalize();
            URL_SAFE_NO_PAD.encode(mac.into_bytes())
        });
        let signed = Origin { hmac, ..origin };
        // Strings and a number always have a JSON form.
        serde_json::to_string(&signed).unwrap_or_default()
    }
}

/// Four lines: id, time, queue, body. Only the body, which is last, can contain a line break, so no two origins
/// result in the same bytes.
fn signed(mut mac: Hmac<Sha256>, origin: &Origin, body: &str) -> Hmac<Sha256> {
    let sent_at = origin.sent_at.map(|millis| millis.to_string());
    let fields = [&origin.id, &sent_at.unwrap_or_default(), &origin.queue];
    for field in fields {
        mac.update(field.as_bytes());
        mac.update(b"\n");
    }
    mac.update(body.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::MaskKey;

    const BODY: &str = r#"{"user_id": "é"}"#;

    fn key(first: u8) -> KeyRing {
        let bytes: Vec<u8> = (first..first + 64).collect();
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        MaskKey::from_base64(&text).unwrap().into()
    }

    fn origin() -> Origin {
        Origin::new(
            "m-1",
            Some(1_700_000_000_123),
            "arn:aws:sqs:eu-west-1:0:logins",
        )
    }

    fn accepts(by: Option<&KeyRing>, text: &str, body: &str) -> bool {
        let origin = Origin::parse(text);
        origin.is_some_and(|origin| Origins::new(by).accepts(&origin, body))
    }

    /// Made with Python's hmac: HKDF (RFC 5869) without salt to 64 bytes, then HMAC-SHA-256 of the four lines.
    #[test]
    fn the_signature_is_what_another_implementation_computes() {
        let text = Origins::new(Some(&key(0))).text(origin(), BODY);
        let expected = r#"{"id":"m-1","sent_at":1700000000123,"queue":"arn:aws:sqs:eu-west-1:0:logins","hmac":"CtQD0lE5P-iiV2_XkJ1RX7BnqQXNmgRo0Z8oArmb1xg"}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn with_a_key_only_the_origin_that_was_signed_for_this_body_counts() {
        let (ours, other) = (key(0), key(1));
        let signed = Origins::new(Some(&ours)).text(origin(), BODY);
        assert!(accepts(Some(&ours), &signed, BODY));
        assert!(!accepts(Some(&ours), &signed, "{}"));
        assert!(!accepts(Some(&other), &signed, BODY));
        let unsigned = Origins::new(None).text(origin(), BODY);
        let changed = [
            ("m-1", "m-2"),
            ("1700000000123", "1700000000124"),
            ("\"sent_at\":1700000000123,", ""),
            (":logins", ":others"),
        ];
        let changed = changed.map(|(from, to)| signed.replacen(from, to, 1));
        for forged in changed.iter().chain([&unsigned]) {
            assert!(Origin::parse(forged).is_some(), "{forged}");
            assert!(!accepts(Some(&ours), forged, BODY), "{forged}");
        }
    }

    #[test]
    fn without_a_key_it_counts_unsigned() {
        let text = Origins::new(None).text(origin(), BODY);
        assert!(accepts(None, &text, BODY) && !text.contains("hmac"));
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
}
