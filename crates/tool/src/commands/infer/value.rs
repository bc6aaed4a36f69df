//! Values that look like personal data.

use std::net::{IpAddr, SocketAddr};

use super::pii::Pii;

/// The kinds that a value alone can reveal, in the order in which they are tested.
pub(super) const KINDS: [Pii; 6] = [
    Pii::IpAddress,
    Pii::Email,
    Pii::Phone,
    Pii::Device,
    Pii::Card,
    Pii::National,
];

impl Pii {
    /// Whether a value looks like this kind.
    pub(super) fn is_value(self, value: &str) -> bool {
        match self {
            // Proxies list several.
            Self::IpAddress => value.split(',').any(|part| is_ip_address(part.trim())),
            Self::Email => value.split(is_beside_email).any(is_email),
            Self::Phone => is_phone(value),
            Self::Device => is_mac(value),
            Self::Card => is_card(value),
            Self::National => is_grouped(value, &[3, 2, 4]),
            Self::Name | Self::Birth | Self::Address | Self::Location | Self::Credential => false,
        }
    }

    /// Whether a few such values are enough. Values of the other kinds look like much else, too.
    pub(super) fn is_distinct(self) -> bool {
        matches!(self, Self::IpAddress | Self::Email | Self::Device)
    }
}

/// An IP address, perhaps with a port; an IPv6 address may be in brackets.
fn is_ip_address(value: &str) -> bool {
    let in_brackets = |value: &str| {
        let value = value.strip_prefix('[')?.strip_suffix(']')?;
        value.parse::<IpAddr>().ok()
    };
    value.parse::<IpAddr>().is_ok()
        || value.parse::<SocketAddr>().is_ok()
        || in_brackets(value).is_some()
}

/// Whether a character may be next to an address within a text.
fn is_beside_email(character: char) -> bool {
    character.is_whitespace() || "<>()[]{}\"'`,;:|=?&/".contains(character)
}

/// A top-level domain does not begin with a digit, unlike the end of `package@1.2.3`.
fn is_email(value: &str) -> bool {
    let value = value.trim_end_matches(['.', '!']);
    value.split_once('@').is_some_and(|(local, domain)| {
        let has_top = domain.rsplit_once('.').is_some_and(|(host, top)| {
            !host.is_empty() && top.len() > 1 && top.starts_with(char::is_alphabetic)
        });
        !local.is_empty() && !domain.contains('@') && has_top
    })
}

/// A phone number in international form, with a plus.
fn is_phone(value: &str) -> bool {
    let Some(rest) = value.strip_prefix('+') else {
        return false;
    };
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    let is_usual = |character: char| character.is_ascii_digit() || " -().".contains(character);
    (8..=15).contains(&digits) && rest.chars().all(is_usual)
}

fn is_mac(value: &str) -> bool {
    let parts: Vec<&str> = value.split([':', '-']).collect();
    let is_pair =
        |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.len() == 6 && parts.iter().all(is_pair)
}

/// The length and first digit of a payment card, and its check digit.
/// Source: ISO/IEC 7812-1, annex B (Luhn).
fn is_card(value: &str) -> bool {
    if !value
        .chars()
        .all(|character| character.is_ascii_digit() || " -".contains(character))
    {
        return false;
    }
    let digits: Vec<u32> = value
        .chars()
        .filter_map(|character| character.to_digit(10))
        .collect();
    let doubled = |(position, &digit): (usize, &u32)| match (position % 2, digit * 2) {
        (0, _) => digit,
        (_, twice) => twice / 10 + twice % 10,
    };
    let sum: u32 = digits.iter().rev().enumerate().map(doubled).sum();
    (13..=19).contains(&digits.len())
        && matches!(digits.first(), Some(2..=6))
        && sum.is_multiple_of(10)
}

fn is_grouped(value: &str, lengths: &[usize]) -> bool {
    let groups: Vec<&str> = value.split('-').collect();
    let fits = |(group, length): (&&str, &usize)| {
        group.len() == *length && group.bytes().all(|byte| byte.is_ascii_digit())
    };
    groups.len() == lengths.len() && groups.iter().zip(lengths).all(fits)
}
