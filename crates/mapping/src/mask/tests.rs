//! Tokens, by the vectors of the standards and by other implementations.

use super::key::tests::key_of;
use super::*;

fn key() -> KeyRing {
    key_of((0..64).collect::<Vec<u8>>()).into()
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
fn a_token_of_another_key_cannot_be_unmasked() {
    let masker = Masker::new(Mask::AesSiv, Some(&key())).unwrap();
    let whole = token_by(&masker, "10.0.0.1");
    let changed = whole.replace(|_: char| true, "A");
    let cut: String = whole.chars().skip(1).collect();
    for token in ["", "no token!", &cut, &changed] {
        assert_eq!(masker.value(token), Err(UnmaskError::NotOurs), "{token}");
    }
    let other = key_of((1..65).collect::<Vec<u8>>()).into();
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
fn a_keyed_mask_without_a_fitting_key_is_refused() {
    let short = key_of(vec![1; 32]).into();
    for mask in [Mask::HmacSha256, Mask::AesSiv] {
        assert_eq!(Masker::new(mask, None).err(), Some(KeyError::Missing(mask)));
    }
    assert!(matches!(
        Masker::new(Mask::AesSiv, Some(&short)).err(),
        Some(KeyError::Length { actual: 32, .. })
    ));
}

fn ring(current: &str) -> KeyRing {
    let keys = [("", 0), ("2025", 1), ("2026", 2)];
    let keys = keys.map(|(id, first)| {
        (
            id.to_owned(),
            key_of((first..first + 64).collect::<Vec<u8>>()),
        )
    });
    KeyRing::new(keys.into(), current).unwrap()
}

#[test]
fn a_token_names_its_key_and_every_key_of_the_ring_unmasks_its_own() {
    let tokens = ["", "2025", "2026"].map(|current| {
        let masker = Masker::new(Mask::AesSiv, Some(&ring(current))).unwrap();
        token_by(&masker, "10.0.0.1")
    });
    assert_eq!(tokens[0], token(Mask::AesSiv, "10.0.0.1"));
    assert!(!tokens[0].contains('.'));
    assert!(tokens[1].starts_with("2025.") && tokens[2].starts_with("2026."));
    let masker = Masker::new(Mask::AesSiv, Some(&ring("2026"))).unwrap();
    for token in &tokens {
        assert_eq!(masker.value(token), Ok("10.0.0.1".to_owned()), "{token}");
    }
    let renamed = tokens[1].replace("2025.", "2026.");
    let unknown = tokens[1].replace("2025.", "2024.");
    for token in [renamed, unknown] {
        assert_eq!(masker.value(&token), Err(UnmaskError::NotOurs), "{token}");
    }
}

#[test]
fn hmac_tokens_are_made_with_the_current_key_and_look_like_any_other() {
    let masker = |current| Masker::new(Mask::HmacSha256, Some(&ring(current))).unwrap();
    let [first, second] = ["", "2026"].map(|current| token_by(&masker(current), "10.0.0.1"));
    assert_eq!(first, token(Mask::HmacSha256, "10.0.0.1"));
    assert_ne!(first, second);
    assert_eq!(second.len(), first.len());
}

#[test]
fn a_key_of_the_ring_that_does_not_fit_is_named() {
    let keys = [("a", 64), ("b", 32)];
    let keys = keys.map(|(id, bytes)| (id.to_owned(), key_of(vec![1; bytes])));
    let ring = KeyRing::new(keys.into(), "a").unwrap();
    let error = Masker::new(Mask::AesSiv, Some(&ring)).err().unwrap();
    assert!(
        error.to_string().starts_with("mask_keys[\"b\"]: "),
        "{error}"
    );
}

#[test]
fn a_token_is_re_encrypted_with_the_current_key_whatever_key_of_the_ring_made_it() {
    let tokens = ["", "2025", "2026"].map(|current| {
        let masker = Masker::new(Mask::AesSiv, Some(&ring(current))).unwrap();
        token_by(&masker, "10.0.0.1")
    });
    for (current, expected) in ["", "2025", "2026"].iter().zip(&tokens) {
        let keys = AesSivKeys::new(&ring(current)).unwrap();
        for token in &tokens {
            let rekeyed = match token == expected {
                true => Rekeyed::Current,
                false => Rekeyed::Token(expected.clone()),
            };
            assert_eq!(keys.rekey(token), Ok(rekeyed), "{token}");
        }
        let unknown = tokens[1].replace("2025.", "2024.");
        assert_eq!(keys.rekey(&unknown), Ok(Rekeyed::UnknownKey));
        let renamed = tokens[1].replace("2025.", "2026.");
        for other in [renamed.as_str(), "", "10.0.0.1", "a@example.com", "2025."] {
            assert_eq!(keys.rekey(other), Ok(Rekeyed::NotOurs), "{other}");
        }
    }
    let empty = token(Mask::AesSiv, "");
    assert_eq!(AesSivKeys::id_of(&empty), Some(""));
    assert_eq!(AesSivKeys::id_of(&tokens[2]), Some("2026"));
    assert_eq!(AesSivKeys::id_of("10.0.0.1"), None);
}
