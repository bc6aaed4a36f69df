//! The steps of `transform`: a string in, a cleaner string out.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::pipeline::Transform;
use crate::rejection::Rule;

/// Applies one step; `None` means null.
///
/// # Errors
/// [`Rule::Transform`] where the step cannot read the text.
pub(crate) fn apply(
    transform: Transform,
    text: Cow<'_, str>,
) -> Result<Option<Cow<'_, str>>, Rule> {
    Ok(Some(match transform {
        Transform::Trim => match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        },
        Transform::Lowercase => Cow::Owned(text.to_lowercase()),
        Transform::Uppercase => Cow::Owned(text.to_uppercase()),
        Transform::Ip => Cow::Owned(canonical_ip(&text).ok_or(Rule::Transform(transform))?),
        // Taken out already, when the text was read.
        Transform::StripNul => text,
        Transform::Major => return version_part(text, 0).ok_or(Rule::Transform(transform)),
        Transform::Minor => return version_part(text, 1).ok_or(Rule::Transform(transform)),
        Transform::Patch => return version_part(text, 2).ok_or(Rule::Transform(transform)),
    }))
}

/// One spelling for one address: IPv6 in short lower case (RFC 5952), IPv4 in IPv6 as IPv4.
fn canonical_ip(text: &str) -> Option<String> {
    let address: IpAddr = text.parse().ok()?;
    Some(address.to_canonical().to_string())
}

/// A number of a version such as `2.3.0`, `v2` or `2.3.0-beta.1`; the inner `None` where the version
/// is shorter, the outer one where the text is no version.
fn version_part(text: Cow<'_, str>, position: usize) -> Option<Option<Cow<'_, str>>> {
    Some(match text {
        Cow::Borrowed(text) => number_of_version(text, position)?.map(Cow::Borrowed),
        Cow::Owned(text) => {
            number_of_version(&text, position)?.map(|number| Cow::Owned(number.to_owned()))
        }
    })
}

fn number_of_version(text: &str, position: usize) -> Option<Option<&str>> {
    let core = text
        .strip_prefix(['v', 'V'])
        .unwrap_or(text)
        .split(['-', '+', ' '])
        .next()?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut number = None;
    for (place, part) in core.split('.').enumerate() {
        if !is_number(part) {
            return None;
        }
        if place == position {
            number = Some(part);
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(transform: Transform, text: &str) -> Result<Option<String>, Rule> {
        apply(transform, Cow::Borrowed(text)).map(|cleaned| cleaned.map(Cow::into_owned))
    }

    #[test]
    fn white_space_and_case() {
        assert_eq!(
            cleaned(Transform::Trim, " \u{a0}a b\n").unwrap().unwrap(),
            "a b"
        );
        assert_eq!(
            cleaned(Transform::Lowercase, "ÀSS").unwrap().unwrap(),
            "àss"
        );
        assert_eq!(
            cleaned(Transform::Uppercase, "straße").unwrap().unwrap(),
            "STRASSE"
        );
    }

    #[test]
    fn equal_addresses_get_one_spelling() {
        for spelling in ["2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:0db8::0001"] {
            assert_eq!(
                cleaned(Transform::Ip, spelling).unwrap().unwrap(),
                "2001:db8::1"
            );
        }
        assert_eq!(
            cleaned(Transform::Ip, "::ffff:10.0.0.1").unwrap().unwrap(),
            "10.0.0.1"
        );
        for text in [
            "",
            "10.0.0",
            "10.0.0.256",
            "host",
            "10.0.0.1:80",
            "10.0.0.01",
        ] {
            assert_eq!(
                cleaned(Transform::Ip, text),
                Err(Rule::Transform(Transform::Ip)),
                "{text}"
            );
        }
    }

    #[test]
    fn parts_of_a_version() {
        let cases = [
            ("2.3.1", "2", Some("3"), Some("1")),
            ("0.96", "0", Some("96"), None),
            ("v7", "7", None, None),
            ("2.3.0-beta.1", "2", Some("3"), Some("0")),
        ];
        for (version, major, minor, patch) in cases {
            assert_eq!(
                cleaned(Transform::Major, version).unwrap().as_deref(),
                Some(major)
            );
            assert_eq!(
                cleaned(Transform::Minor, version).unwrap().as_deref(),
                minor
            );
            assert_eq!(
                cleaned(Transform::Patch, version).unwrap().as_deref(),
                patch
            );
        }
        for text in ["", "beta", "2.x", ".", "2..1", "-1"] {
            assert_eq!(
                cleaned(Transform::Major, text),
                Err(Rule::Transform(Transform::Major)),
                "{text}"
            );
        }
    }
}
