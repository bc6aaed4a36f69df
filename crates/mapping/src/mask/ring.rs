//! The keys of keyed masks: the one that new tokens are made with, and the keys of older tokens.

use std::collections::BTreeMap;
use std::iter::once;
use std::sync::Arc;

use base16ct::lower::encode_string;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::key::{KeyError, MaskKey};

/// An id is stored in front of every aes-siv token of its key.
pub(crate) const MAX_ID_CHARS: usize = 16;

/// Mask keys by their ids. A key that is not part of a ring has an empty id.
#[derive(Debug, Clone)]
pub struct KeyRing {
    id: String,
    current: Arc<MaskKey>,
    others: BTreeMap<String, Arc<MaskKey>>,
}

impl From<MaskKey> for KeyRing {
    fn from(key: MaskKey) -> Self {
        Self {
            id: String::new(),
            current: Arc::new(key),
            others: BTreeMap::new(),
        }
    }
}

impl KeyRing {
    /// Several keys, of which the one with the id `current` makes new tokens.
    ///
    /// # Errors
    /// An id is not made of 1 to 16 lower-case letters, digits and hyphens, two ids have one key, or no key has the id
    /// `current`.
    pub fn new(keys: BTreeMap<String, MaskKey>, current: &str) -> Result<Self, KeyError> {
        if let Some(id) = keys.keys().find(|id| !is_id(id)) {
            return Err(KeyError::InvalidId(id.clone()));
        }
        let mut ids: BTreeMap<&[u8], &String> = BTreeMap::new();
        for (id, key) in &keys {
            if let Some(first) = ids.insert(key.bytes(), id) {
                return Err(KeyError::SameKey(first.clone(), id.clone()));
            }
        }
        let keys = keys.into_iter().map(|(id, key)| (id, Arc::new(key)));
        let mut others: BTreeMap<_, _> = keys.collect();
        match others.remove_entry(current) {
            Some((id, current)) => Ok(Self {
                id,
                current,
                others,
            }),
            None => Err(KeyError::NoCurrent(current.to_owned())),
        }
    }

    /// Several keys in base64, of which the one with the id `current` makes new tokens.
    ///
    /// # Errors
    /// The ids or keys are refused by [`new`](Self::new), or a text is not a key.
    pub fn from_base64(
        keys: &BTreeMap<String, SecretString>,
        current: &str,
    ) -> Result<Self, KeyError> {
        let decoded = keys.iter().map(|(id, text)| {
            let key = MaskKey::from_base64(text.expose_secret());
            let key = key.map_err(|error| KeyError::OfRing(id.clone(), Box::new(error)));
            Ok((id.clone(), key?))
        });
        Self::new(decoded.collect::<Result<_, _>>()?, current)
    }

    /// For mappings whose tokens are not shown. It is not a secret: every byte of its key is zero, and settings with such
    /// a key are refused.
    pub fn placeholder() -> Self {
        MaskKey::placeholder().into()
    }

    /// The id of the key that makes new tokens.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key that makes new tokens.
    pub fn current(&self) -> &MaskKey {
        &self.current
    }

    /// All keys with their ids, the current one first.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &MaskKey)> {
        let others = self.others.iter().map(|(id, key)| (id.as_str(), &**key));
        once((self.id(), self.current())).chain(others)
    }

    /// A digest of a value for a record that is kept: with the current key it can be compared, and without the key it
    /// cannot be guessed. It is not a token, so it leads to no row.
    pub fn digest_for_records(&self, value: &[u8]) -> String {
        let key = self.current.derive(b"sqs-to-postgres record");
        let mac = Hmac::<Sha256>::new((&*key).into()).chain_update(value);
        encode_string(&mac.finalize().into_bytes())
    }

    /// For each key, the current one first, a ring that has only this one.
    pub fn one_by_one(&self) -> impl Iterator<Item = Self> {
        let others = self.others.iter();
        let alone = |(id, current): (&String, &Arc<MaskKey>)| Self {
            id: id.clone(),
            current: Arc::clone(current),
            others: BTreeMap::new(),
        };
        once((&self.id, &self.current)).chain(others).map(alone)
    }
}

/// Whether a token can carry an id.
pub(super) fn is_id(id: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    id.len() <= MAX_ID_CHARS && id.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::key_of;
    use super::*;

    fn ring(ids: &[&str], current: &str) -> Result<KeyRing, KeyError> {
        let keys = ids.iter().zip(1..);
        let keys = keys.map(|(id, byte)| ((*id).to_owned(), key_of(vec![byte; 64])));
        KeyRing::new(keys.collect(), current)
    }

    #[test]
    fn the_current_key_comes_first() {
        let ring = ring(&["2024", "2025", ""], "2025").unwrap();
        let ids: Vec<_> = ring.keys().map(|(id, _)| id).collect();
        assert_eq!(ids, ["2025", "", "2024"]);
        let alone: Vec<_> = ring
            .one_by_one()
            .map(|ring| (ring.id().to_owned(), ring.current().bytes().to_vec()))
            .collect();
        let all: Vec<_> = ring
            .keys()
            .map(|(id, key)| (id.to_owned(), key.bytes().to_vec()))
            .collect();
        assert_eq!(alone, all);
    }

    #[test]
    fn one_key_under_two_ids_is_refused_because_a_rotation_would_change_nothing() {
        let keys = ["2025", "2026"].map(|id| (id.to_owned(), key_of(vec![7; 64])));
        let same = KeyError::SameKey("2025".to_owned(), "2026".to_owned());
        assert_eq!(KeyRing::new(keys.into(), "2026").err(), Some(same));
    }

    #[test]
    fn an_id_that_a_token_cannot_carry_or_that_no_key_has_is_refused() {
        for id in ["2026.", "A", "a b", "12345678901234567", "é"] {
            assert_eq!(
                ring(&[id], id).err(),
                Some(KeyError::InvalidId(id.to_owned()))
            );
        }
        let missing = KeyError::NoCurrent("b".to_owned());
        assert_eq!(ring(&["a"], "b").err(), Some(missing));
    }
}
