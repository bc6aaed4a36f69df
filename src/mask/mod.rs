//! `mask`: values → tokens, from which nobody can read the value, or only with the key.
//!
//! Equal values give equal tokens, so duplicates can be counted without seeing a value. The hashes are
//! lower-case hex over the UTF-8 bytes of the value, as `openssl dgst` and pgcrypto print them; aes-siv is
//! RFC 5297 with a 512-bit key and no associated data, base64url without padding of SIV‖ciphertext.
//!
//! Everything about a mask is in this file; `key` has the key that some of them need.

mod key;

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

use crate::words::Word;
pub use key::{KeyError, MaskKey};

/// The key of AES-256-SIV in bytes: one half for the SIV, one for the encryption.
/// Source: <https://www.rfc-editor.org/rfc/rfc5297#section-2.2>.
const AES_SIV_KEY_BYTES: usize = 64;

/// A way to hide a value so that equal values still give equal tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// SHA-256, lower-case hex.
    Sha256,
    /// SHA-512, lower-case hex.
    Sha512,
    /// HMAC-SHA-256 with the mask key, lower-case hex.
    HmacSha256,
    /// AES-256-SIV with the mask key, base64url without padding; the key gives the value back.
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

/// What the tokens of a mask look like.
enum Form {
    /// Hexadecimal digits, the same number for every value.
    Hash(usize),
    /// Characters that grow in number with the value, from this number on for a value of one byte.
    Growing(usize),
}

impl Mask {
    /// Whether its tokens depend on the mask key.
    pub fn needs_key(self) -> bool {
        matches!(self, Self::HmacSha256 | Self::AesSiv)
    }

    fn form(self) -> Form {
        match self {
            Self::Sha256 | Self::HmacSha256 => Form::Hash(64),
            Self::Sha512 => Form::Hash(128),
            Self::AesSiv => Form::Growing(23),
        }
    }

    /// The length of its shortest token, in characters.
    pub fn min_token_chars(self) -> usize {
        match self.form() {
            Form::Hash(chars) | Form::Growing(chars) => chars,
        }
    }

    /// The length of its longest token, in characters; `None` where there is no limit.
    pub(crate) fn max_token_chars(self) -> Option<usize> {
        match self.form() {
            Form::Hash(chars) => Some(chars),
            Form::Growing(_) => None,
        }
    }

    /// The hashes that the token looks like: nothing in a hash says which one it is.
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

/// Why a token does not give its value back.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant says what its error says")]
pub enum UnmaskError {
    #[error(
        "it is a hash ({0}), which cannot be unmasked: compare it with the tokens of known values"
    )]
    Hash(String),
    #[error(
        "it is not a token that aes-siv made with this key: check that the token is complete, and the key"
    )]
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
    AesSiv(AesSivKey),
}

/// The key of AES-256-SIV. This copy is wiped when dropped.
pub struct AesSivKey(Zeroizing<[u8; AES_SIV_KEY_BYTES]>);

impl Masker {
    /// Prepares a mask with the key, where it needs one.
    ///
    /// # Errors
    /// The mask needs a key and there is none, or the key has the wrong length.
    pub fn new(mask: Mask, key: Option<&MaskKey>) -> Result<Self, KeyError> {
        let key = || key.map(MaskKey::bytes).ok_or(KeyError::Missing(mask));
        Ok(match mask {
            Mask::Sha256 => Self::Sha256,
            Mask::Sha512 => Self::Sha512,
            Mask::HmacSha256 => Self::HmacSha256(Box::new(hmac_sha256(key()?)?)),
            Mask::AesSiv => Self::AesSiv(aes_siv_key(key()?)?),
        })
    }

    /// Appends the token of a value to `out`. Tokens are ASCII.
    ///
    /// # Errors
    /// None are documented, but the interface of the ciphers permits them.
    pub fn write_token(&self, value: &str, out: &mut BytesMut) -> Result<(), MaskFailed> {
        match self {
            Self::Sha256 => write_hex(&Sha256::digest(value), out),
            Self::Sha512 => write_hex(&Sha512::digest(value), out),
            Self::HmacSha256(keyed) => {
                let mut mac = Hmac::clone(keyed);
                mac.update(value.as_bytes());
                write_hex(&mac.finalize().into_bytes(), out)
            }
            Self::AesSiv(key) => {
                out.put_slice(URL_SAFE_NO_PAD.encode(key.encrypt(value)?).as_bytes());
                Ok(())
            }
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
        let Self::AesSiv(key) = self else {
            return Err(UnmaskError::NotOurs);
        };
        let sealed = URL_SAFE_NO_PAD.decode(token).ok();
        let value = sealed.and_then(|sealed| key.decrypt(&sealed));
        let text = value.and_then(|value| String::from_utf8(value).ok());
        text.ok_or(UnmaskError::NotOurs)
    }
}

fn write_hex(digest: &[u8], out: &mut BytesMut) -> Result<(), MaskFailed> {
    let start = out.len();
    out.resize(start + 2 * digest.len(), 0);
    base16ct::lower::encode(digest, &mut out[start..])
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

impl AesSivKey {
    /// SIV‖ciphertext of the value, with no associated data.
    fn encrypt(&self, value: &str) -> Result<Vec<u8>, MaskFailed> {
        let no_associated_data: [&[u8]; 0] = [];
        Aes256Siv::new((&*self.0).into())
            .encrypt(no_associated_data, value.as_bytes())
            .map_err(|_| MaskFailed)
    }

    /// `None` where the SIV does not match, as with a wrong key.
    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let no_associated_data: [&[u8]; 0] = [];
        Aes256Siv::new((&*self.0).into())
            .decrypt(no_associated_data, sealed)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use aes_siv::siv::Aes128Siv;

    use super::key::tests::key_of;
    use super::*;

    const VALUES: [&str; 5] = [
        "",
        "199.172.111.135",
        "593-47-5928",
        "é\u{1F600}",
        "a value that is longer than one block of 64 bytes, so that two are hashed",
    ];

    /// `openssl dgst -r` prints "<hex> *stdin".
    fn openssl_dgst(arguments: &[&str], value: &str) -> String {
        let mut openssl = Command::new("openssl")
            .args(["dgst", "-r"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        openssl
            .stdin
            .take()
            .unwrap()
            .write_all(value.as_bytes())
            .unwrap();
        let output = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
        output.split(' ').next().unwrap().to_owned()
    }

    fn key() -> MaskKey {
        key_of((0..64).collect::<Vec<u8>>())
    }

    fn token_by(masker: &Masker, value: &str) -> String {
        let mut out = BytesMut::from("before");
        masker.write_token(value, &mut out).unwrap();
        str::from_utf8(&out)
            .unwrap()
            .strip_prefix("before")
            .unwrap()
            .to_owned()
    }

    fn token(mask: Mask, value: &str) -> String {
        token_by(&Masker::new(mask, Some(&key())).unwrap(), value)
    }

    fn hmac_of(key: &[u8], value: &str) -> String {
        token_by(
            &Masker::HmacSha256(Box::new(hmac_sha256(key).unwrap())),
            value,
        )
    }

    /// FIPS 180-4 examples, <https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values>.
    #[test]
    fn sha_tokens_are_those_of_fips_180() {
        assert_eq!(
            token(Mask::Sha256, "abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                      2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(token(Mask::Sha512, "abc"), sha512);
    }

    /// Cases 1, 2, 6 and 7 of <https://www.rfc-editor.org/rfc/rfc4231#section-4>.
    #[test]
    fn hmac_tokens_are_those_of_rfc_4231() {
        let hash_key_first = "Test Using Larger Than Block-Size Key - Hash Key First";
        let long_data = "This is a test using a larger than block-size key and a larger than block-size data. \
                         The key needs to be hashed before being used by the HMAC algorithm.";
        assert_eq!(
            hmac_of(&[0x0b; 20], "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hmac_of(b"Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hmac_of(&[0xaa; 131], hash_key_first),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(
            hmac_of(&[0xaa; 131], long_data),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
        );
    }

    #[test]
    fn hashes_are_what_openssl_dgst_prints() {
        let hexkey = format!("hexkey:{}", base16ct::lower::encode_string(key().bytes()));
        for value in VALUES {
            assert_eq!(
                token(Mask::Sha256, value),
                openssl_dgst(&["-sha256"], value)
            );
            assert_eq!(
                token(Mask::Sha512, value),
                openssl_dgst(&["-sha512"], value)
            );
            assert_eq!(
                token(Mask::HmacSha256, value),
                openssl_dgst(&["-sha256", "-mac", "HMAC", "-macopt", &hexkey], value)
            );
        }
    }

    /// The RFC's vectors have a key of 256 bits, so this checks the construction; the next test
    /// checks it with our key length.
    /// Source: <https://www.rfc-editor.org/rfc/rfc5297#appendix-A.1>.
    #[test]
    fn the_siv_construction_is_that_of_rfc_5297() {
        let bytes = |hex: &str| base16ct::lower::decode_vec(hex).unwrap();
        let key: [u8; 32] =
            bytes("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
                .try_into()
                .unwrap();
        let associated = bytes("101112131415161718191a1b1c1d1e1f2021222324252627");
        let sealed = Aes128Siv::new(&key.into())
            .encrypt([associated], &bytes("112233445566778899aabbccddee"))
            .unwrap();
        assert_eq!(
            sealed,
            bytes("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c")
        );
    }

    /// Made with `AESSIV(bytes(range(64))).encrypt(value, None)` of Python's cryptography 46.
    #[test]
    fn aes_siv_tokens_are_those_of_openssl_through_another_library() {
        let cases = [
            ("", "1PxTucRMKu6oe_uMmDsTbA"),
            (
                "199.172.111.135",
                "NsoHpoT3-IAHosYEHswbLhh5ZFHBEw3Hs6VPw3M3lA",
            ),
            ("é\u{1F600}", "hdtrvCaMgjQLOIAxWe3gKWexer7UKw"),
        ];
        for (value, expected) in cases {
            assert_eq!(token(Mask::AesSiv, value), expected);
        }
    }

    #[test]
    fn the_key_gives_an_aes_siv_token_back() {
        let masker = Masker::new(Mask::AesSiv, Some(&key())).unwrap();
        for value in VALUES {
            let token = token_by(&masker, value);
            assert_eq!(masker.value(&token).as_deref(), Ok(value));
        }
    }

    #[test]
    fn a_token_that_the_key_did_not_make_gives_no_value() {
        let masker = Masker::new(Mask::AesSiv, Some(&key())).unwrap();
        let whole = token_by(&masker, "10.0.0.1");
        let changed = whole.replace(|_: char| true, "A");
        let cut: String = whole.chars().skip(1).collect();
        for token in ["", "no token!", &cut, &changed] {
            assert_eq!(masker.value(token), Err(UnmaskError::NotOurs), "{token}");
        }
        let other = key_of((1..65).collect::<Vec<u8>>());
        let other = Masker::new(Mask::AesSiv, Some(&other)).unwrap();
        assert_eq!(other.value(&whole), Err(UnmaskError::NotOurs));
    }

    #[test]
    fn a_hash_says_that_it_cannot_be_unmasked() {
        for mask in [Mask::Sha256, Mask::Sha512, Mask::HmacSha256] {
            let masker = Masker::new(mask, Some(&key())).unwrap();
            let token = token_by(&masker, "10.0.0.1");
            let Err(UnmaskError::Hash(names)) = masker.value(&token) else {
                panic!("{mask}")
            };
            assert!(names.split(" or ").any(|name| name == mask.to_string()));
        }
    }

    #[test]
    fn every_mask_is_written_as_it_is_read() {
        for (name, mask) in Mask::NAMES {
            assert_eq!(Mask::parse(name), Some(*mask));
            assert_eq!(mask.to_string(), *name);
            let shortest = token(*mask, "x").len();
            assert_eq!(shortest, mask.min_token_chars(), "{name}");
        }
    }

    #[test]
    fn equal_values_give_equal_tokens_and_others_other_ones() {
        for &(_, mask) in Mask::NAMES {
            assert_eq!(token(mask, "10.0.0.1"), token(mask, "10.0.0.1"));
            assert_ne!(token(mask, "10.0.0.1"), token(mask, "10.0.0.2"));
        }
    }

    #[test]
    fn a_keyed_mask_without_a_fitting_key_is_refused() {
        let short = key_of(vec![1; 32]);
        for mask in [Mask::HmacSha256, Mask::AesSiv] {
            assert_eq!(Masker::new(mask, None).err(), Some(KeyError::Missing(mask)));
        }
        assert!(matches!(
            Masker::new(Mask::AesSiv, Some(&short)).err(),
            Some(KeyError::Length { actual: 32, .. })
        ));
    }
}
