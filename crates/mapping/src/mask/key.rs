//! The key of keyed masks.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use thiserror::Error;

use super::{AES_SIV_KEY_BYTES, Mask};

/// The shortest mask key in bytes: the output of HMAC-SHA-256.
/// Source: <https://www.rfc-editor.org/rfc/rfc2104#section-3>.
const MIN_KEY_BYTES: usize = 32;

/// A random key of 32 bytes has about 30 distinct ones; a key with fewer than this was not made at random.
const MIN_DISTINCT_BYTES: usize = 16;

/// The bytes of a derived key: one block of SHA-256, which HMAC uses unchanged.
const DERIVED_BYTES: usize = 64;

/// The secret that keyed masks need. Redacted when printed. This copy is wiped when dropped; the state that
/// HMAC derives from it, the environment and the response of Secrets Manager are not.
#[derive(Debug)]
pub struct MaskKey(SecretSlice<u8>);

/// What is wrong with a mask key, by itself or for a mask.
#[non_exhaustive]
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not base64.
    #[error("the mask key is not base64: create one with `openssl rand -base64 64 | tr -d '\\n'`")]
    NotBase64,
    /// Fewer bytes than the output of the hash.
    #[error(
        "the mask key has {0} bytes and needs at least {MIN_KEY_BYTES}: create one with `openssl rand -base64 64 | tr -d '\\n'`"
    )]
    TooShort(usize),
    /// A typed pattern, or one byte repeated.
    #[error(
        "the mask key is not random: only {0} distinct bytes, a random key has at least {MIN_DISTINCT_BYTES}: create one with `openssl rand -base64 64 | tr -d '\\n'`"
    )]
    NotRandom(usize),
    /// A mask needs a key, and there is none.
    #[error("mask {0} needs a key and none is set: set MASK_SECRET_ID or MASK_KEY")]
    Missing(Mask),
    /// The id of a key cannot stand in front of tokens.
    #[error(
        "the id {0:?} of a mask key cannot be used: name it with 1 to 16 lower-case letters, digits and hyphens"
    )]
    InvalidId(String),
    /// No key of the ring has the id that `current` names.
    #[error(
        "no mask key has the id {0:?} that \"current\" names: add it to \"mask_keys\", or name another one"
    )]
    NoCurrent(String),
    /// Two ids have one key, so that a change of `current` would change nothing.
    #[error(
        "the mask keys {0:?} and {1:?} are the same key: create another one with `openssl rand -base64 64 | tr -d '\\n'`, or remove one of the two"
    )]
    SameKey(String, String),
    /// A key of a ring cannot be used.
    #[error("mask_keys[{0:?}]: {1}")]
    OfRing(String, Box<KeyError>),
    /// A mask cannot use a key of this length.
    #[error(
        "mask {mask} needs a key of {needed} bytes, but the configured key has {actual}: set another in MASK_SECRET_ID or MASK_KEY"
    )]
    Length {
        /// The mask.
        mask: Mask,
        /// The lengths that it can use.
        needed: &'static str,
        /// The length of the key, in bytes.
        actual: usize,
    },
}

impl MaskKey {
    /// See [`KeyRing::placeholder`](super::KeyRing::placeholder).
    pub(super) fn placeholder() -> Self {
        Self(vec![0; AES_SIV_KEY_BYTES].into())
    }

    /// Decodes a key from standard base64. White space is ignored everywhere: `openssl rand -base64` breaks its
    /// lines after 64 characters.
    ///
    /// # Errors
    /// The text is not base64, or the key is shorter than 32 bytes or not random.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
        digits.extend(text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let bytes = STANDARD.decode(&*digits);
        let bytes = Zeroizing::new(bytes.map_err(|_| KeyError::NotBase64)?);
        if bytes.len() < MIN_KEY_BYTES {
            return Err(KeyError::TooShort(bytes.len()));
        }
        let distinct = bytes.iter().collect::<HashSet<_>>().len();
        if distinct < MIN_DISTINCT_BYTES {
            return Err(KeyError::NotRandom(distinct));
        }
        Ok(Self(bytes.to_vec().into()))
    }

    /// A key for another purpose, which the label names. It reveals nothing about this key or about the keys for other
    /// labels.
    /// Source: <https://www.rfc-editor.org/rfc/rfc5869>.
    pub(crate) fn derive(&self, label: &[u8]) -> Zeroizing<[u8; DERIVED_BYTES]> {
        let mut derived = Zeroizing::new([0; DERIVED_BYTES]);
        #[expect(
            clippy::let_underscore_must_use,
            reason = "it fails only for more than 255 times the size of the hash"
        )]
        let _ = Hkdf::<Sha256>::new(None, self.0.expose_secret()).expand(label, &mut *derived);
        derived
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use base16ct::lower::encode_string;

    use super::super::Masker;
    use super::*;

    pub(in super::super) fn key_of(bytes: impl Into<Vec<u8>>) -> MaskKey {
        MaskKey(bytes.into().into())
    }

    fn key() -> MaskKey {
        key_of((0..64).collect::<Vec<u8>>())
    }

    #[test]
    fn white_space_anywhere_in_a_key_is_ignored() {
        let text = STANDARD.encode((0..64).collect::<Vec<u8>>());
        let (first, rest) = text.split_at(64);
        for spaced in [
            format!("{first}\n{rest}\n"),
            format!(" {first}\r\n\t{rest} "),
        ] {
            let spaced = MaskKey::from_base64(&spaced).unwrap();
            assert_eq!(spaced.0.expose_secret(), key().0.expose_secret());
        }
    }

    #[test]
    fn a_key_is_base64_of_32_bytes_or_more_and_never_shown() {
        let text = STANDARD.encode((0..32).collect::<Vec<u8>>());
        let key = MaskKey::from_base64(&text).unwrap();
        assert_eq!(format!("{key:?}"), "MaskKey(SecretBox<[u8]>([REDACTED]))");
        assert_eq!(
            MaskKey::from_base64("not base64!").err(),
            Some(KeyError::NotBase64)
        );
        assert_eq!(
            MaskKey::from_base64(&STANDARD.encode([7; 31])).err(),
            Some(KeyError::TooShort(31))
        );
    }

    #[test]
    fn a_key_that_repeats_itself_is_refused() {
        let of = |bytes: Vec<u8>| MaskKey::from_base64(&STANDARD.encode(bytes)).map(drop);
        assert_eq!(of(vec![0; 64]), Err(KeyError::NotRandom(1)));
        assert_eq!(of(vec![255; 32]), Err(KeyError::NotRandom(1)));
        let typed = b"0123456789abcde".repeat(5);
        assert_eq!(of(typed), Err(KeyError::NotRandom(15)));
        assert_eq!(of(b"0123456789abcdef".repeat(4)), Ok(()));
    }

    /// As `openssl kdf -keylen 64 -kdfopt digest:SHA2-256 -kdfopt hexkey:000102…3f -kdfopt info:"a label" HKDF` prints it.
    #[test]
    fn a_derived_key_depends_on_its_label_and_is_what_another_implementation_computes() {
        let of_openssl = concat!(
            "0df476c55af4a02cd99bd61fc49babee3dbba69c1e1a9f9707221f3483f3b9de",
            "24dda9ec4828e994a0495c8648994322a6390d44adcb0f274fe4611fc83f9dc5"
        );
        assert_eq!(encode_string(&*key().derive(b"a label")), of_openssl);
        assert_ne!(key().derive(b"another label"), key().derive(b"a label"));
    }

    #[test]
    fn the_placeholder_is_a_key_that_no_setting_can_name() {
        let placeholder = MaskKey::placeholder();
        let text = STANDARD.encode(placeholder.0.expose_secret());
        assert!(MaskKey::from_base64(&text).is_err());
        assert!(Masker::new(Mask::AesSiv, Some(&placeholder.into())).is_ok());
    }
}
