//! Values that look like personal data.

use std::net::{IpAddr, SocketAddr};

use super::pii::Pii;

/// The kinds that a value alone can reveal, in the order in which they are tested.
pub(super) const KINDS: [Pii; 8] = [
    Pii::IpAddress,
    Pii::Email,
    Pii::Phone,
    Pii::Device,
    Pii::Card,
    Pii::National,
    Pii::Login,
    Pii::Credential,
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
            Self::Card => is_card(value) || is_iban(value),
            Self::National => is_grouped(value, '-', &[3, 2, 4]) || is_ahv(value),
            Self::Login => is_user_of_aws(value),
            Self::Credential => is_access_key(value),
            Self::Vehicle
            | Self::Name
            | Self::Birth
            | Self::Address
            | Self::Location
            | Self::Circumstance
            | Self::SpecialCategory
            | Self::Copy => false,
        }
    }

    /// Whether a few such values are enough. Values of the other kinds look like much else, too.
    pub(super) fn is_distinct(self) -> bool {
        matches!(
            self,
            Self::IpAddress
                | Self::Email
                | Self::Phone
                | Self::Device
                | Self::Login
                | Self::Credential
        )
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
        // `git@github.com` is how a repository is addressed.
        !local.is_empty() && local != "git" && !domain.contains('@') && has_top
    })
}

/// A phone number in international form, with a plus, perhaps within a text.
fn is_phone(value: &str) -> bool {
    let is_usual = |character: &char| character.is_ascii_digit() || " -().".contains(*character);
    let is_number = |(at, _): (usize, &str)| {
        let rest = value.get(at + 1..).unwrap_or_default();
        let number: String = rest.chars().take_while(is_usual).collect();
        let digits = number.bytes().filter(u8::is_ascii_digit).count();
        (8..=15).contains(&digits) && rest.starts_with(|first: char| first.is_ascii_digit())
    };
    value.match_indices('+').any(is_number)
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

/// An IBAN: country, check digits and account, of which the remainder by 97 is 1.
/// Source: ISO 13616-1.
fn is_iban(value: &str) -> bool {
    let text: String = value
        .chars()
        .filter(|character| *character != ' ')
        .collect();
    let has_form = text.is_ascii()
        && (15..=34).contains(&text.len())
        && text.bytes().take(2).all(|byte| byte.is_ascii_uppercase())
        && text
            .bytes()
            .skip(2)
            .take(2)
            .all(|byte| byte.is_ascii_digit());
    let (Some(head), Some(account)) = (text.get(..4), text.get(4..)) else {
        return false;
    };
    let mut remainder = 0;
    for character in account.chars().chain(head.chars()) {
        match character.to_digit(36) {
            Some(digit @ 0..10) => remainder = (remainder * 10 + digit) % 97,
            Some(letter) => remainder = (remainder * 100 + letter) % 97,
            None => return false,
        }
    }
    has_form && remainder == 1
}

/// A Swiss social insurance number, whose last digit checks the others.
/// Source: <https://www.bsv.admin.ch>, "AHV-Nummer": an EAN-13 that begins with 756.
fn is_ahv(value: &str) -> bool {
    let digits: Vec<u32> = value
        .chars()
        .filter_map(|digit| digit.to_digit(10))
        .collect();
    let weighted = digits.iter().zip([1, 3].into_iter().cycle());
    let sum: u32 = weighted.map(|(digit, weight)| digit * weight).sum();
    is_grouped(value, '.', &[3, 4, 4, 2]) && value.starts_with("756") && sum.is_multiple_of(10)
}

/// An ARN, or the id of a principal, with the name of a user or of a session, which often is a person's.
/// Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html> (2026-11).
fn is_user_of_aws(value: &str) -> bool {
    let is_arn = value.starts_with("arn:aws");
    let is_user = [":user/", ":assumed-role/", ":federated-user/"]
        .iter()
        .any(|kind| value.contains(kind));
    is_arn && is_user || is_id_of_aws(value, &["AIDA", "AROA"])
}

/// The id of an access key of AWS.
fn is_access_key(value: &str) -> bool {
    is_id_of_aws(value, &["AKIA", "ASIA"])
}

/// A unique id of AWS with one of these prefixes, perhaps followed by the name of a session.
fn is_id_of_aws(value: &str, prefixes: &[&str]) -> bool {
    let id = value.split_once(':').map_or(value, |(id, _)| id);
    let is_usual = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    prefixes.iter().any(|prefix| id.starts_with(prefix))
        && (16..=32).contains(&id.len())
        && id.bytes().all(is_usual)
}

/// First and last names of a person, by the form: two or three words with a capital, and nothing else.
pub(super) fn is_like_name_of_person(value: &str) -> bool {
    let is_part = |word: &&str| {
        let mut characters = word.chars();
        let is_usual = |character: char| character.is_lowercase() || "-'’.".contains(character);
        characters.next().is_some_and(char::is_uppercase) && characters.all(is_usual)
    };
    let words: Vec<&str> = value.split(' ').collect();
    (2..=3).contains(&words.len()) && words.iter().all(is_part)
}

fn is_grouped(value: &str, separator: char, lengths: &[usize]) -> bool {
    let groups: Vec<&str> = value.split(separator).collect();
    let fits = |(group, length): (&&str, &usize)| {
        group.len() == *length && group.bytes().all(|byte| byte.is_ascii_digit())
    };
    groups.len() == lengths.len() && groups.iter().zip(lengths).all(fits)
}
