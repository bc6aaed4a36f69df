//! `mask`: values → tokens, from which nobody can read the value, or only with the key.
//!
//! Equal values have equal tokens, so duplicates can be counted without seeing a value. The hashes are lower-case hex
//! over the UTF-8 bytes of the value, as `openssl dgst` and pgcrypto print them; aes-siv is RFC 5297 with a 512-bit
//! key, without associated data, base64url without padding of SIV‖ciphertext.
//!
//! A token of aes-siv begins with the id of its key and a dot, if the key has an id.
//!
//! Everything about a mask is in this file; `key` has the key that some of them need, `ring` several of them.

mod key;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes256Siv;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, BytesMut};
use hmac::{Hmac, Mac};
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;

use crate::text::Word;
pub use key::{KeyError, MaskKey};
pub use ring::KeyRing;
pub(crate) use ring::MAX_ID_CHARS;

/// The key of AES-256-SIV in bytes: one half for the SIV, one for the encryption.
/// Source: <https://www.rfc-editor.org/rfc/rfc5297#section-2.2>.
const AES_SIV_KEY_BYTES: usize = 64;

/// The bytes that the token of an empty value stands for: the SIV alone.
/// Source: <https://www.rfc-editor.org/rfc/rfc5297#section-2.6>.
const SIV_BYTES: usize = 16;

/// A way to hide a value so that equal values still have equal tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// SHA-256, lower-case hex.
    Sha256,
    /// SHA-512, lower-case hex.
    Sha512,
    /// HMAC-SHA-256 with the mask key, lower-case hex.
    HmacSha256,
    /// AES-256-SIV with the mask key, base64url without padding; the key recovers the value.
    AesSiv,
}

impl Word for Mask {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("sha256", Self::Sha256),
        ("sha512", Self::Sha512),
        ("hmac-sha256", Self::HmacSha256),
        ("aes-siv", Self::AesSiv),
    ];
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Mask {
    /// Every mask.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().map(|(_, mask)| *mask)
    }

    /// Whether its tokens depend on the mask key.
    pub fn needs_key(self) -> bool {
        match self {
            Self::Sha256 | Self::Sha512 => false,
            Self::HmacSha256 | Self::AesSiv => true,
        }
    }

    /// Whether the key recovers the value of a token. Such tokens name their key.
    pub fn is_reversible(self) -> bool {
        match self {
            Self::Sha256 | Self::Sha512 | Self::HmacSha256 => false,
            Self::AesSiv => true,
        }
    }

    /// The length of its shortest token, in characters.
    pub fn min_token_chars(self) -> usize {
        /// The token of a value of one byte.
        const SHORTEST_AES_SIV: usize = 23;
        self.max_token_chars().unwrap_or(SHORTEST_AES_SIV)
    }

    /// The length of its shortest token that names its key, in characters.
    pub(crate) fn min_token_chars_with(self, keys: Option<&KeyRing>) -> usize {
        let id = keys.map_or(0, |keys| keys.id().len());
        let prefix = match self.is_reversible() && id > 0 {
            true => id + 1,
            false => 0,
        };
        prefix + self.min_token_chars()
    }

    /// The length of its longest token, in characters; `None` if there is no limit. All hashes of a mask
    /// have the same length.
    pub fn max_token_chars(self) -> Option<usize> {
        match self {
            Self::Sha256 | Self::HmacSha256 => Some(64),
            Self::Sha512 => Some(128),
            Self::AesSiv => None,
        }
    }

    /// The hashes that the token may be: nothing in a hash says which one it is.
    fn hashes_like(token: &str) -> Vec<&'static str> {
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !token.bytes().all(is_hex) {
            return Vec::new();
        }
        let masks = Self::NAMES.iter();
        let alike = masks.filter(|(_, mask)| mask.max_token_chars() == Some(token.len()));
        alike.map(|(name, _)| *name).collect()
    }
}

/// The cipher failed.
#[derive(Debug, PartialEq, Eq)]
pub struct MaskFailed;

/// Why a token cannot be unmasked.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum UnmaskError {
    #[error(
        "it is a hash ({0}), which cannot be unmasked: compare it with the tokens of known values"
    )]
    Hash(String),
    #[error(
        "it is not an aes-siv token of any configured key: check that the token is complete and the key is correct"
    )]
    NotOurs,
}

/// A token of aes-siv under the current key of a ring.
#[derive(Debug, PartialEq, Eq)]
pub enum Rekeyed {
    /// It is already.
    Current,
    /// The token of the same value.
    Token(String),
    /// The ring lacks its key.
    UnknownKey,
    /// It is not a token of the key that it names.
    NotOurs,
}

/// A mask and its key, ready for use.
pub enum Masker {
    /// See [`Mask::Sha256`].
    Sha256,
    /// See [`Mask::Sha512`].
    Sha512,
    /// See [`Mask::HmacSha256`].
    HmacSha256(Box<Hmac<Sha256>>),
    /// See [`Mask::AesSiv`].
    AesSiv(AesSivKeys),
}

/// The keys of AES-256-SIV by the ids of their tokens.
pub struct AesSivKeys {
    /// The key of new tokens.
    current: String,
    keys: BTreeMap<String, AesSivKey>,
}

/// This copy of the key is wiped when dropped.
struct AesSivKey(Zeroizing<[u8; AES_SIV_KEY_BYTES]>);

impl Masker {
    /// Prepares a mask with the keys, if it needs any.
    ///
    /// # Errors
    /// The mask needs a key and there is none, or a key has the wrong length.
    pub fn new(mask: Mask, keys: Option<&KeyRing>) -> Result<Self, KeyError> {
        let keys = || keys.ok_or(KeyError::Missing(mask));
        Ok(match mask {
            Mask::Sha256 => Self::Sha256,
            Mask::Sha512 => Self::Sha512,
            Mask::HmacSha256 => Self::HmacSha256(Box::new(hmac_sha256(keys()?.current().bytes())?)),
            Mask::AesSiv => Self::AesSiv(AesSivKeys::new(keys()?)?),
        })
    }

    /// Appends the token of a value to `out`. Tokens are ASCII.
    ///
    /// # Errors
    /// The cipher fails, for which no reason is documented.
    pub fn write_token(&self, value: &str, out: &mut BytesMut) -> Result<(), MaskFailed> {
        match self {
            Self::Sha256 => write_hex(&Sha256::digest(value), out),
            Self::Sha512 => write_hex(&Sha512::digest(value), out),
            Self::HmacSha256(keyed) => {
                let mut mac = Hmac::clone(keyed);
                mac.update(value.as_bytes());
                write_hex(&mac.finalize().into_bytes(), out)
            }
            Self::AesSiv(keys) => keys.write_token(value, out),
        }
    }

    /// The value of a token.
    ///
    /// # Errors
    /// The token is a hash, or was made in another way.
    pub fn value(&self, token: &str) -> Result<String, UnmaskError> {
        let hashes = Mask::hashes_like(token);
        if !hashes.is_empty() {
            return Err(UnmaskError::Hash(hashes.join(" or ")));
        }
        let value = match self {
            Self::AesSiv(keys) => keys.value(token),
            Self::Sha256 | Self::Sha512 | Self::HmacSha256(_) => None,
        };
        value.ok_or(UnmaskError::NotOurs)
    }
}

fn write_hex(digest: &[u8], out: &mut BytesMut) -> Result<(), MaskFailed> {
    let start = out.len();
    out.resize(start + 2 * digest.len(), 0);
    base16ct::lower::encode(digest, out.split_at_mut(start).1)
        .map(|_| ())
        .map_err(|_| MaskFailed)
}

fn hmac_sha256(key: &[u8]) -> Result<Hmac<Sha256>, KeyError> {
    let wrong = || KeyError::Length {
        mask: Mask::HmacSha256,
        needed: "at least 32",
        actual: key.len(),
    };
    Hmac::new_from_slice(key).map_err(|_| wrong())
}

fn aes_siv_key(key: &[u8]) -> Result<AesSivKey, KeyError> {
    let wrong = || KeyError::Length {
        mask: Mask::AesSiv,
        needed: "exactly 64",
        actual: key.len(),
    };
    let key: [u8; AES_SIV_KEY_BYTES] = key.try_into().map_err(|_| wrong())?;
    Ok(AesSivKey(Zeroizing::new(key)))
}

/// The id of the key that a token names, and its SIV‖ciphertext.
fn opened(token: &str) -> Option<(&str, Vec<u8>)> {
    let (id, sealed) = token.split_once('.').unwrap_or(("", token));
    let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    (ring::is_id(id) && sealed.len() >= SIV_BYTES).then_some((id, sealed))
}

impl AesSivKeys {
    /// What a token looks like, as a regular expression of Postgres; the part in parentheses is the id of its key.
    pub const PATTERN: &str = "^(?:([a-z0-9-]{1,16})[.])?[A-Za-z0-9_-]{22,}$";

    /// The keys of a ring.
    ///
    /// # Errors
    /// A key has the wrong length.
    pub fn new(ring: &KeyRing) -> Result<Self, KeyError> {
        let ids = ring.keys().map(|(id, key)| match aes_siv_key(key.bytes()) {
            Err(error) if !id.is_empty() => Err(KeyError::OfRing(id.to_owned(), Box::new(error))),
            key => Ok((id.to_owned(), key?)),
        });
        Ok(Self {
            current: ring.id().to_owned(),
            keys: ids.collect::<Result<_, _>>()?,
        })
    }

    fn write_token(&self, value: &str, out: &mut BytesMut) -> Result<(), MaskFailed> {
        let key = self.keys.get(&self.current).ok_or(MaskFailed)?;
        if !self.current.is_empty() {
            out.put_slice(self.current.as_bytes());
            out.put_u8(b'.');
        }
        out.put_slice(URL_SAFE_NO_PAD.encode(key.encrypt(value)?).as_bytes());
        Ok(())
    }

    fn value(&self, token: &str) -> Option<String> {
        let (id, sealed) = opened(token)?;
        String::from_utf8(self.keys.get(id)?.decrypt(&sealed)?).ok()
    }

    /// The id of the key that made a token, by its form alone; `None` if it does not have the form of one.
    pub fn id_of(token: &str) -> Option<&str> {
        opened(token).map(|(id, _)| id)
    }

    /// Re-encrypts a token with the current key. The value is wiped.
    ///
    /// # Errors
    /// The cipher fails, for which no reason is documented.
    pub fn rekey(&self, token: &str) -> Result<Rekeyed, MaskFailed> {
        let Some(id) = Self::id_of(token) else {
            return Ok(Rekeyed::NotOurs);
        };
        if !self.keys.contains_key(id) {
            return Ok(Rekeyed::UnknownKey);
        }
        let Some(value) = self.value(token).map(Zeroizing::new) else {
            return Ok(Rekeyed::NotOurs);
        };
        if id == self.current {
            return Ok(Rekeyed::Current);
        }
        let mut new = BytesMut::new();
        self.write_token(&value, &mut new)?;
        let new = String::from_utf8(new.into()).map_err(|_| MaskFailed)?;
        Ok(Rekeyed::Token(new))
    }
}

impl AesSivKey {
    /// SIV‖ciphertext of the value, with no associated data.
    fn encrypt(&self, value: &str) -> Result<Vec<u8>, MaskFailed> {
        let no_associated_data: [&[u8]; 0] = [];
        Aes256Siv::new((&*self.0).into())
            .encrypt(no_associated_data, value.as_bytes())
            .map_err(|_| MaskFailed)
    }

    /// `None` if the SIV does not match, for example with a wrong key.
    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let no_associated_data: [&[u8]; 0] = [];
        Aes256Siv::new((&*self.0).into())
            .decrypt(no_associated_data, sealed)
            .ok()
    }
}
