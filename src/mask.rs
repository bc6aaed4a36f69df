//! Values → tokens: PII that cannot be read back, or only with the key.
//!
//! Equal values give equal tokens, so that duplicates can be counted without seeing a value. The
//! hashes are lower-case hex over the UTF-8 bytes of the value, exactly what `openssl dgst` and
//! pgcrypto print; aes-siv is RFC 5297 with a 512-bit key and no associated data, base64url
//! without padding of SIV‖ciphertext.

use std::collections::HashSet;

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes256Siv;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::{BufMut, BytesMut};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;

use crate::pipeline::{Mask, Problem};

/// The shortest mask key in bytes, which is the output of HMAC-SHA-256.
/// Source: <https://www.rfc-editor.org/rfc/rfc2104#section-3>.
const MIN_KEY_BYTES: usize = 32;

/// The key of AES-256-SIV in bytes: one half for the SIV, one for the encryption.
/// Source: <https://www.rfc-editor.org/rfc/rfc5297#section-2.2>.
const AES_SIV_KEY_BYTES: usize = 64;

/// A random key of 32 bytes has about 30 different ones. A key with fewer than this was not made at random.
const MIN_DISTINCT_BYTES: usize = 16;

/// The bytes of a key for one further purpose: a block of SHA-256, which HMAC takes as it is.
const DERIVED_BYTES: usize = 64;

/// The secret that keyed masks need. Redacted when printed. This copy is wiped when dropped; the state that
/// HMAC derives from it, the environment and the answer of Secrets Manager are not.
#[derive(Debug)]
pub struct MaskKey(SecretSlice<u8>);

/// The text is no usable key.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MaskKeyError {
    /// Not base64.
    #[error("the mask key is not base64: create one with `openssl rand -base64 64 | tr -d '\\n'`")]
    NotBase64,
    /// Fewer bytes than the hash puts out.
    #[error(
        "the mask key has {0} bytes and needs at least {MIN_KEY_BYTES}: create one with `openssl rand -base64 64 | tr -d '\\n'`"
    )]
    TooShort(usize),
    /// A typed pattern, or a key of one repeated byte.
    #[error(
        "the mask key repeats itself: {0} different bytes, where a random key has at least {MIN_DISTINCT_BYTES}: create one with `openssl rand -base64 64 | tr -d '\\n'`"
    )]
    NotRandom(usize),
}

impl MaskKey {
    /// Stands in for the key of a mapping whose tokens are not shown. It is not a secret: every byte is
    /// zero, and settings that name such a key are refused.
    pub fn placeholder() -> Self {
        Self(vec![0; AES_SIV_KEY_BYTES].into())
    }

    /// Decodes a key from standard base64. White space is ignored wherever it is: `openssl rand -base64`
    /// breaks its lines after 64 characters.
    ///
    /// # Errors
    /// The text is not base64, or the key is shorter than 32 bytes or not random.
    pub fn from_base64(text: &str) -> Result<Self, MaskKeyError> {
        let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
        digits.extend(text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let bytes = STANDARD.decode(&*digits);
        let bytes = Zeroizing::new(bytes.map_err(|_| MaskKeyError::NotBase64)?);
        if bytes.len() < MIN_KEY_BYTES {
            return Err(MaskKeyError::TooShort(bytes.len()));
        }
        let distinct = bytes.iter().collect::<HashSet<_>>().len();
        if distinct < MIN_DISTINCT_BYTES {
            return Err(MaskKeyError::NotRandom(distinct));
        }
        Ok(Self(bytes.to_vec().into()))
    }

    /// A key for another purpose than masks, which the label names. It says nothing about this key or
    /// about those of other labels.
    /// Source: <https://www.rfc-editor.org/rfc/rfc5869>.
    pub(crate) fn derive(&self, label: &[u8]) -> Zeroizing<[u8; DERIVED_BYTES]> {
        let mut derived = Zeroizing::new([0; DERIVED_BYTES]);
        // Fails only for more than 255 times the size of the hash.
        _ = Hkdf::<Sha256>::new(None, self.0.expose_secret()).expand(label, &mut *derived);
        derived
    }
}

/// The cipher gave no token.
#[derive(Debug, PartialEq, Eq)]
pub struct MaskFailed;

/// A token that gives no value back.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of each variant says what it is")]
pub enum UnmaskError {
    #[error(
        "it is a hash ({0}), which nothing can unmask: compare it with the tokens of values you know"
    )]
    Hash(&'static str),
    #[error("it is no token that aes-siv made with this key: check that it is whole, and the key")]
    NotOurs,
}

/// A mask ready for use: the key's part of the work is done once.
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
    pub fn new(mask: Mask, key: Option<&MaskKey>) -> Result<Self, Problem> {
        let key = || {
            key.map(|key| key.0.expose_secret())
                .ok_or(Problem::MaskKeyMissing(mask))
        };
        Ok(match mask {
            Mask::Sha256 => Self::Sha256,
            Mask::Sha512 => Self::Sha512,
            Mask::HmacSha256 => Self::HmacSha256(Box::new(hmac_sha256(key()?)?)),
            Mask::AesSiv => Self::AesSiv(aes_siv_key(key()?)?),
        })
    }

    /// Writes the token of a value behind what `out` holds; it is ASCII.
    ///
    /// # Errors
    /// Never, as far as the ciphers are documented; their interface leaves it open.
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
    /// The mask is a hash, or the token was made another way.
    pub fn value(&self, token: &str) -> Result<String, UnmaskError> {
        let sealed = match self {
            Self::Sha256 => return Err(UnmaskError::Hash("sha256")),
            Self::Sha512 => return Err(UnmaskError::Hash("sha512")),
            Self::HmacSha256(_) => return Err(UnmaskError::Hash("hmac-sha256")),
            Self::AesSiv(key) => URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|sealed| key.decrypt(&sealed)),
        };
        sealed
            .and_then(|value| String::from_utf8(value).ok())
            .ok_or(UnmaskError::NotOurs)
    }
}

fn write_hex(digest: &[u8], out: &mut BytesMut) -> Result<(), MaskFailed> {
    let start = out.len();
    out.resize(start + 2 * digest.len(), 0);
    base16ct::lower::encode(digest, &mut out[start..])
        .map(|_| ())
        .map_err(|_| MaskFailed)
}

fn hmac_sha256(key: &[u8]) -> Result<Hmac<Sha256>, Problem> {
    let wrong = || Problem::MaskKeyLength {
        mask: Mask::HmacSha256,
        needed: "at least 32",
        actual: key.len(),
    };
    Hmac::new_from_slice(key).map_err(|_| wrong())
}

fn aes_siv_key(key: &[u8]) -> Result<AesSivKey, Problem> {
    let wrong = || Problem::MaskKeyLength {
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

    /// `None` where the SIV does not fit, which also tells a wrong key.
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
        MaskKey((0..64).collect::<Vec<u8>>().into())
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
        let hexkey = format!(
            "hexkey:{}",
            base16ct::lower::encode_string(key().0.expose_secret())
        );
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
    fn what_is_no_token_of_the_key_gives_no_value() {
        let masker = Masker::new(Mask::AesSiv, Some(&key())).unwrap();
        let whole = token_by(&masker, "10.0.0.1");
        let changed = whole.replace(|_: char| true, "A");
        let cut: String = whole.chars().skip(1).collect();
        for token in ["", "no token!", &cut, &changed] {
            assert_eq!(masker.value(token), Err(UnmaskError::NotOurs), "{token}");
        }
        let other = MaskKey((1..65).collect::<Vec<u8>>().into());
        let other = Masker::new(Mask::AesSiv, Some(&other)).unwrap();
        assert_eq!(other.value(&whole), Err(UnmaskError::NotOurs));
    }

    #[test]
    fn a_hash_says_that_it_cannot_be_unmasked() {
        for mask in [Mask::Sha256, Mask::Sha512, Mask::HmacSha256] {
            let masker = Masker::new(mask, Some(&key())).unwrap();
            let token = token_by(&masker, "10.0.0.1");
            assert!(matches!(masker.value(&token), Err(UnmaskError::Hash(_))));
        }
    }

    #[test]
    fn equal_values_give_equal_tokens_and_others_other_ones() {
        for mask in [Mask::Sha256, Mask::Sha512, Mask::HmacSha256, Mask::AesSiv] {
            assert_eq!(token(mask, "10.0.0.1"), token(mask, "10.0.0.1"));
            assert_ne!(token(mask, "10.0.0.1"), token(mask, "10.0.0.2"));
        }
    }

    #[test]
    fn a_keyed_mask_without_a_fitting_key_is_refused() {
        let short = MaskKey(vec![1; 32].into());
        for mask in [Mask::HmacSha256, Mask::AesSiv] {
            assert_eq!(
                Masker::new(mask, None).err(),
                Some(Problem::MaskKeyMissing(mask))
            );
        }
        assert!(matches!(
            Masker::new(Mask::AesSiv, Some(&short)).err(),
            Some(Problem::MaskKeyLength { actual: 32, .. })
        ));
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
            Some(MaskKeyError::NotBase64)
        );
        assert_eq!(
            MaskKey::from_base64(&STANDARD.encode([7; 31])).err(),
            Some(MaskKeyError::TooShort(31))
        );
    }

    #[test]
    fn a_key_that_repeats_itself_is_refused() {
        let of = |bytes: Vec<u8>| MaskKey::from_base64(&STANDARD.encode(bytes)).map(drop);
        assert_eq!(of(vec![0; 64]), Err(MaskKeyError::NotRandom(1)));
        assert_eq!(of(vec![255; 32]), Err(MaskKeyError::NotRandom(1)));
        let typed = b"0123456789abcde".repeat(5);
        assert_eq!(of(typed), Err(MaskKeyError::NotRandom(15)));
        assert_eq!(of(b"0123456789abcdef".repeat(4)), Ok(()));
    }

    #[test]
    fn the_placeholder_is_a_key_that_no_setting_can_name() {
        let placeholder = MaskKey::placeholder();
        let text = STANDARD.encode(placeholder.0.expose_secret());
        assert!(MaskKey::from_base64(&text).is_err());
        assert!(Masker::new(Mask::AesSiv, Some(&placeholder)).is_ok());
    }
}
