//! What names and values look like personal data. In doubt it is: a mask too many is taken out by
//! hand, a value in clear is not.

use std::fmt;
use std::net::IpAddr;

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pii {
    IpAddress,
    Email,
    Phone,
    Device,
    Card,
    National,
}

/// All of them, in the order in which a value is asked.
pub(super) const KINDS: [Pii; 6] = [
    Pii::IpAddress,
    Pii::Email,
    Pii::Phone,
    Pii::Device,
    Pii::Card,
    Pii::National,
];

impl fmt::Display for Pii {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IpAddress => "an IP address",
            Self::Email => "an e-mail address",
            Self::Phone => "a phone number",
            Self::Device => "the id of a device",
            Self::Card => "a card or account number",
            Self::National => "a national number of a person",
        })
    }
}

/// A field that ends so tells something about the personal data, and is none.
const ABOUT: [&str; 27] = [
    "type",
    "kind",
    "status",
    "state",
    "count",
    "verified",
    "confirmed",
    "enabled",
    "valid",
    "sent",
    "opened",
    "at",
    "date",
    "time",
    "version",
    "model",
    "os",
    "platform",
    "country",
    "city",
    "region",
    "currency",
    "brand",
    "provider",
    "format",
    "language",
    "family",
];

/// How a field ends that identifies what the words before name.
const IDENTIFIES: [&str; 10] = [
    "id",
    "identifier",
    "uuid",
    "token",
    "serial",
    "number",
    "no",
    "num",
    "code",
    "name",
];

impl Pii {
    /// What the name of a field says.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let words = words(name);
        let last = words.last()?.as_str();
        if ABOUT.contains(&last) {
            return None;
        }
        let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
        let identifies = |what: &[&str]| has(what) && IDENTIFIES.contains(&last);
        if has(&[
            "ip",
            "ipv4",
            "ipv6",
            "ipaddr",
            "ipaddress",
            "clientip",
            "remoteip",
        ]) || name.ends_with("remote_addr")
        {
            Some(Self::IpAddress)
        } else if has(&["email", "mail", "emailaddress"]) {
            Some(Self::Email)
        } else if has(&[
            "phone",
            "telephone",
            "mobile",
            "msisdn",
            "cellphone",
            "tel",
            "fax",
            "phonenumber",
        ]) {
            Some(Self::Phone)
        } else if has(&[
            "imei", "imsi", "iccid", "udid", "idfa", "idfv", "gaid", "aaid", "adid", "mac",
            "deviceid",
        ]) || identifies(&["device", "hardware", "advertising", "android", "vendor"])
        {
            Some(Self::Device)
        } else if has(&["pan", "cvv", "cvc", "iban", "creditcard", "cardnumber"])
            || identifies(&["card", "account"])
        {
            Some(Self::Card)
        } else if has(&["ssn", "nino", "cpf", "bsn", "pesel", "passport"])
            || identifies(&[
                "national",
                "identity",
                "tax",
                "social",
                "insurance",
                "licence",
                "license",
            ])
        {
            Some(Self::National)
        } else {
            None
        }
    }

    /// Whether a value looks like it.
    pub(super) fn is_value(self, value: &str) -> bool {
        match self {
            Self::IpAddress => value.parse::<IpAddr>().is_ok(),
            Self::Email => is_email(value),
            Self::Phone => is_phone(value),
            Self::Device => is_mac(value),
            Self::Card => is_card(value),
            Self::National => is_grouped(value, &[3, 2, 4]),
        }
    }

    /// Whether a few values that look like it are enough: the others look like much else too.
    pub(super) fn is_distinct(self) -> bool {
        matches!(self, Self::IpAddress | Self::Email | Self::Device)
    }
}

/// The words of a name, in lower case: `clientIp` and `client_ip` have the same two.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lowercase = false;
    for character in name.chars() {
        let begins = character.is_uppercase() && after_lowercase;
        if begins || !character.is_alphanumeric() {
            words.push(String::new());
        }
        if character.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        after_lowercase = character.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_email(value: &str) -> bool {
    let is_free = |part: &str| !part.is_empty() && !part.contains([' ', '/', '@', '"', '<', '>']);
    value.split_once('@').is_some_and(|(local, domain)| {
        let domain_has_dot = domain
            .split_once('.')
            .is_some_and(|(host, top)| !host.is_empty() && top.len() > 1);
        is_free(local) && is_free(domain) && domain_has_dot
    })
}

/// The international form, which is written with a plus.
fn is_phone(value: &str) -> bool {
    let Some(rest) = value.strip_prefix('+') else {
        return false;
    };
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    let is_written_so = |character: char| character.is_ascii_digit() || " -().".contains(character);
    (8..=15).contains(&digits) && rest.chars().all(is_written_so)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_word_by_word() {
        let cases = [
            ("ip", Some(Pii::IpAddress)),
            ("clientIp", Some(Pii::IpAddress)),
            ("remote_addr", Some(Pii::IpAddress)),
            ("zip", None),
            ("shipping", None),
            ("ip_country", None),
            ("e_mail", Some(Pii::Email)),
            ("userEmail", Some(Pii::Email)),
            ("email_verified", None),
            ("mobile-phone", Some(Pii::Phone)),
            ("phone_model", None),
            ("hotel", None),
            ("device_id", Some(Pii::Device)),
            ("deviceId", Some(Pii::Device)),
            ("device_type", None),
            ("IDFA", Some(Pii::Device)),
            ("card_number", Some(Pii::Card)),
            ("card_type", None),
            ("discard", None),
            ("account_no", Some(Pii::Card)),
            ("ssn", Some(Pii::National)),
            ("nationalId", Some(Pii::National)),
            ("app_version", None),
            ("user_id", None),
            ("locale", None),
        ];
        for (name, expected) in cases {
            assert_eq!(Pii::of_name(name), expected, "{name}");
        }
    }

    #[test]
    fn values_are_told_by_their_form() {
        let kinds = |value: &str| {
            KINDS
                .into_iter()
                .filter(|kind| kind.is_value(value))
                .collect::<Vec<_>>()
        };
        let cases = [
            ("10.0.0.1", vec![Pii::IpAddress]),
            ("2001:db8::1", vec![Pii::IpAddress]),
            ("1.2.3", vec![]),
            ("a.b+c@example.org", vec![Pii::Email]),
            ("@handle", vec![]),
            ("a@b", vec![]),
            ("+41 44 668 18 00", vec![Pii::Phone]),
            ("+1", vec![]),
            ("00:1A:2b:3c:4d:5e", vec![Pii::Device]),
            ("4111 1111 1111 1111", vec![Pii::Card]),
            ("4111111111111112", vec![]),
            ("078-05-1120", vec![Pii::National]),
            ("2026-11-21", vec![]),
            ("", vec![]),
        ];
        for (value, expected) in cases {
            assert_eq!(kinds(value), expected, "{value}");
        }
    }
}
