//! The origin of a message, in one message attribute: the id and the time that it first had, and its queue.
//!
//! SQS gives a message that is sent again a new id and a new time. Dead letters that the function sends and messages
//! that `redrive` moves back carry the original ones, so the message is stored once. But everybody who can send to
//! the queue can set the attribute. If there is a mask key, it is therefore signed together with everything else that
//! a sender chooses, and counts only with a valid signature. Without a key it counts unsigned.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;

use crate::mask::{KeyRing, MaskKey};

/// The name of the attribute.
pub const ORIGIN: &str = "origin";

/// The message attribute in which a dead letter says why it failed.
pub const REJECTION: &str = "rejection";

/// Separates the key of these signatures from every other use of the mask key.
const LABEL: &[u8] = b"sqs-to-postgres origin v2";

/// The last millisecond of the year 9999: SQS never gives a later time.
const LATEST_MILLIS: i64 = 253_402_300_799_999;

/// The content of the attribute.
///
/// ```json
/// {"id": "059f36b4-…", "sent_at": 1700000000123, "queue": "arn:aws:sqs:…:login-queue", "index": 3, "hmac": "…"}
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
    /// The position that its first record had in the message with this id, if that was split: so the record keeps its
    /// `@index`, and with it the key of its row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// HMAC-SHA-256 of the fields above and the [`Content`], in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hmac: Option<String>,
}

/// Everything of a message that its sender chooses and that a column can be read from. It may be personal, so it
/// cannot be printed.
pub struct Content<'a> {
    body: &'a str,
    group: Option<&'a str>,
    attributes: BTreeMap<&'a str, (&'a str, Cow<'a, [u8]>)>,
}

/// What SQS itself says about a message, which no sender can choose.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delivery<'a> {
    /// When SQS received it, in milliseconds since 1970, if known.
    pub sent_at: Option<i64>,
    /// The ARN of the queue that it is in, or was in before SQS moved it to its dead-letter queue; if known.
    pub queue: Option<&'a str>,
}

/// Why an origin does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Error)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum Ignored {
    #[error(
        "it is not signed with the current mask key, or the message was changed: if the key was changed, move dead letters with `sqs-to-postgres redrive`, which signs their origins again"
    )]
    Signature,
    #[error("it names another queue: move dead letters with `sqs-to-postgres redrive`")]
    Queue,
    #[error("its time is later than the time at which SQS received the message")]
    Time,
}

/// Shows nothing: a sender may have chosen every field.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").finish_non_exhaustive()
    }
}

impl<'a> Content<'a> {
    /// A message without attributes, of a message group, which any kind of queue can have.
    pub fn new(body: &'a str, group: Option<&'a str>) -> Self {
        Self {
            body,
            group,
            attributes: BTreeMap::new(),
        }
    }

    /// Adds an attribute, with its data type and its value. Attributes that the function and `redrive` set are not part
    /// of the content.
    pub fn add(&mut self, name: &'a str, data_type: &'a str, value: impl Into<Cow<'a, [u8]>>) {
        if name != ORIGIN && name != REJECTION {
            self.attributes.insert(name, (data_type, value.into()));
        }
    }
}

impl Origin {
    /// An origin that is not signed yet.
    pub fn new(id: &str, sent_at: Option<i64>, queue: &str) -> Self {
        Self {
            id: id.to_owned(),
            sent_at,
            queue: queue.to_owned(),
            index: None,
            hmac: None,
        }
    }

    /// The origin of a record that had this position in the message, if it was split off.
    pub fn with_index(self, index: Option<u32>) -> Self {
        Self { index, ..self }
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

    /// Whether SQS contradicts it.
    fn check(&self, delivery: Delivery<'_>) -> Result<(), Ignored> {
        let is_of_another = |(queue, own): (&str, &str)| queue != own;
        if self.queue().zip(delivery.queue).is_some_and(is_of_another) {
            return Err(Ignored::Queue);
        }
        // A message is sent again only after it was sent.
        let is_later = |(first, again): (i64, i64)| first > again;
        if self.sent_at.zip(delivery.sent_at).is_some_and(is_later) {
            return Err(Ignored::Time);
        }
        Ok(())
    }
}

/// Signs and verifies origins, if there is a key.
pub struct Origins {
    /// By the key that signs.
    current: Option<Hmac<Sha256>>,
    /// By keys that no longer sign, where what they have signed still counts.
    retired: Vec<Hmac<Sha256>>,
}

impl Origins {
    /// For the queue, to which everybody who knows a key could send: only what the current key has signed counts.
    pub fn new(keys: Option<&KeyRing>) -> Self {
        Self {
            retired: Vec::new(),
            ..Self::with_retired(keys)
        }
    }

    /// For the dead-letter queue, which has messages from before the key was changed: what any of the keys has signed
    /// counts.
    pub fn with_retired(keys: Option<&KeyRing>) -> Self {
        // Derives a key of its own from each mask key.
        let keyed = |key: &MaskKey| Hmac::new((&*key.derive(LABEL)).into());
        let keys = keys.into_iter().flat_map(KeyRing::keys);
        let mut keys = keys.map(|(_, key)| keyed(key));
        Self {
            current: keys.next(),
            retired: keys.collect(),
        }
    }

    /// Whether it signs.
    pub fn has_key(&self) -> bool {
        self.current.is_some()
    }

    /// Whether the origin of a message counts.
    ///
    /// # Errors
    /// SQS contradicts it; or there is a key, and it has no valid signature.
    pub fn check(
        &self,
        origin: &Origin,
        content: &Content<'_>,
        delivery: Delivery<'_>,
    ) -> Result<(), Ignored> {
        origin.check(delivery)?;
        match !self.has_key() || self.has_signed(origin, content) {
            true => Ok(()),
            false => Err(Ignored::Signature),
        }
    }

    fn has_signed(&self, origin: &Origin, content: &Content<'_>) -> bool {
        let signature = origin.hmac.as_deref().unwrap_or_default();
        URL_SAFE_NO_PAD.decode(signature).is_ok_and(|signature| {
            self.current.iter().chain(&self.retired).any(|keyed| {
                let mac = signed(keyed.clone(), origin, content);
                mac.verify_slice(&signature).is_ok()
            })
        })
    }

    /// The text of the attribute for a message with this content.
    pub fn text(&self, origin: Origin, content: &Content<'_>) -> String {
        let hmac = self.current.as_ref().map(|keyed| {
            let mac = signed(keyed.clone(), &origin, content).finalize();
            URL_SAFE_NO_PAD.encode(mac.into_bytes())
        });
        let signed = Origin { hmac, ..origin };
        // Strings and a number always have a JSON form.
        serde_json::to_string(&signed).unwrap_or_default()
    }
}

/// Id, time, queue, group and body, then name, data type and value of each attribute, in the order of their names, and
/// the index of a record that was split off. Each begins with its length, so no two messages result in the same bytes.
fn signed(mut mac: Hmac<Sha256>, origin: &Origin, content: &Content<'_>) -> Hmac<Sha256> {
    let mut add = |field: &[u8]| {
        mac.update(&(field.len() as u64).to_be_bytes());
        mac.update(field);
    };
    let sent_at = origin.sent_at.map(|millis| millis.to_string());
    add(origin.id.as_bytes());
    add(sent_at.unwrap_or_default().as_bytes());
    add(origin.queue.as_bytes());
    // SQS has no empty groups.
    add(content.group.unwrap_or_default().as_bytes());
    add(content.body.as_bytes());
    for (name, (data_type, value)) in &content.attributes {
        add(name.as_bytes());
        add(data_type.as_bytes());
        add(value);
    }
    // Attributes come in threes, so a single field after them is not one of theirs.
    if let Some(index) = origin.index {
        add(index.to_string().as_bytes());
    }
    mac
}

#[cfg(test)]
mod tests;
