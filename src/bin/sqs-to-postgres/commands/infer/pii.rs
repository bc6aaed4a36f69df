//! What names and values look like personal data. In doubt it is: a mask too many is taken out by
//! hand, a value in clear is not.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pii {
    IpAddress,
    Email,
    Phone,
    Device,
    Card,
    National,
    Name,
    Birth,
    Address,
    Location,
    Credential,
}

/// Those that a value alone can tell, in the order in which it is asked.
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
            Self::Name => "the name of a person",
            Self::Birth => "a date of birth",
            Self::Address => "a postal address",
            Self::Location => "a location",
            Self::Credential => "a credential",
        })
    }
}

/// A field that ends so tells something about the personal data, and is none.
const ABOUT: [&str; 28] = [
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
    "timezone",
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

/// Parts of an object that say no more than which part they are.
const PARTS: [&str; 10] = [
    "first", "last", "middle", "given", "family", "key", "value", "line", "line1", "line2",
];

/// Whose name is that of a person. That of an app, a file or an event is not, nor is a name alone.
const PERSONS: [&str; 27] = [
    "first",
    "last",
    "middle",
    "full",
    "given",
    "family",
    "maiden",
    "nick",
    "legal",
    "birth",
    "display",
    "login",
    "user",
    "person",
    "customer",
    "contact",
    "member",
    "employee",
    "patient",
    "guest",
    "passenger",
    "driver",
    "owner",
    "holder",
    "sender",
    "recipient",
    "author",
];

/// What opens something, if a word before says what.
const KEYS_TO: [&str; 8] = [
    "api",
    "access",
    "auth",
    "encryption",
    "private",
    "secret",
    "session",
    "signing",
];

/// The name of a part of an object: where it says no more than `id` or `first`, it takes that of the
/// object to know of what.
pub(super) fn part_name(object: &str, part: &str) -> String {
    let lower = part.to_lowercase();
    if IDENTIFIES.contains(&lower.as_str()) || PARTS.contains(&lower.as_str()) {
        format!("{object}_{part}")
    } else {
        part.to_owned()
    }
}

impl Pii {
    /// What the name of a field says.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let words = words(name);
        let last = words.last()?.as_str();
        let before = words.iter().rev().nth(1).map_or("", String::as_str);
        let is_one = |word: &str, known: &[&str]| {
            known.contains(&word)
                || word
                    .strip_suffix('s')
                    .is_some_and(|one| known.contains(&one))
        };
        let has = |known: &[&str]| words.iter().any(|word| is_one(word, known));
        // These end as what is only about something does: birth_date, name.family.
        let is_persons = |whose: &str, name: &str| name == "name" && PERSONS.contains(&whose);
        if is_persons(before, last) || is_persons(last, before) {
            return Some(Self::Name);
        }
        if has(&["birth", "birthday", "birthdate", "dob", "dateofbirth"]) {
            return Some(Self::Birth);
        }
        if ABOUT.contains(&last) {
            return None;
        }
        let ends = |known: &[&str]| known.contains(&last);
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
        } else if has(&[
            "firstname",
            "lastname",
            "fullname",
            "surname",
            "forename",
            "givenname",
            "nickname",
            "username",
        ]) {
            Some(Self::Name)
        } else if has(&[
            "address",
            "addresses",
            "addr",
            "street",
            "postal",
            "postcode",
            "postalcode",
            "zipcode",
        ]) || ends(&["zip"])
            || identifies(&["zip", "house"])
        {
            Some(Self::Address)
        } else if has(&[
            "latitude",
            "longitude",
            "lat",
            "lng",
            "lon",
            "latlng",
            "geo",
            "geolocation",
            "geohash",
            "geopoint",
            "gps",
            "coordinate",
            "coord",
        ]) || ends(&["long", "location"])
        {
            Some(Self::Location)
        } else if has(&[
            "password",
            "passwd",
            "pwd",
            "passphrase",
            "passcode",
            "secret",
            "credential",
            "authorization",
            "bearer",
            "jwt",
            "otp",
            "apikey",
            "sessionid",
        ]) || ends(&[
            "token", "session", "sid", "cookie", "cookies", "auth", "pin",
        ]) || identifies(&["token", "session", "cookie", "auth", "verification", "pin"])
            || KEYS_TO.contains(&before) && last == "key"
        {
            Some(Self::Credential)
        } else {
            None
        }
    }

    /// Whether a value looks like it.
    pub(super) fn is_value(self, value: &str) -> bool {
        match self {
            // As proxies list them.
            Self::IpAddress => value.split(',').any(|part| is_ip_address(part.trim())),
            Self::Email => value.split(is_beside_email).any(is_email),
            Self::Phone => is_phone(value),
            Self::Device => is_mac(value),
            Self::Card => is_card(value),
            Self::National => is_grouped(value, &[3, 2, 4]),
            Self::Name | Self::Birth | Self::Address | Self::Location | Self::Credential => false,
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

/// With a port or without, an IPv6 address in brackets or without.
fn is_ip_address(value: &str) -> bool {
    let in_brackets = |value: &str| {
        let value = value.strip_prefix('[')?.strip_suffix(']')?;
        value.parse::<IpAddr>().ok()
    };
    value.parse::<IpAddr>().is_ok()
        || value.parse::<SocketAddr>().is_ok()
        || in_brackets(value).is_some()
}

/// What stands before and after an address within a text.
fn is_beside_email(character: char) -> bool {
    character.is_whitespace() || "<>()[]{}\"'`,;:|=?&/".contains(character)
}

/// A top level domain is none of digits, as that of `package@1.2.3` would be.
fn is_email(value: &str) -> bool {
    let value = value.trim_end_matches(['.', '!']);
    value.split_once('@').is_some_and(|(local, domain)| {
        let has_top = domain.rsplit_once('.').is_some_and(|(host, top)| {
            !host.is_empty() && top.len() > 1 && top.starts_with(char::is_alphabetic)
        });
        !local.is_empty() && !domain.contains('@') && has_top
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
            ("zip", Some(Pii::Address)),
            ("zipCode", Some(Pii::Address)),
            ("zip_file", None),
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
            ("emails", Some(Pii::Email)),
            ("first_name", Some(Pii::Name)),
            ("lastName", Some(Pii::Name)),
            ("FullName", Some(Pii::Name)),
            ("surname", Some(Pii::Name)),
            ("username", Some(Pii::Name)),
            ("user_name", Some(Pii::Name)),
            ("nickname", Some(Pii::Name)),
            ("family_name", Some(Pii::Name)),
            ("name_family", Some(Pii::Name)),
            ("birth_name", Some(Pii::Name)),
            ("name", None),
            ("event_name", None),
            ("last_event_name", None),
            ("app_name", None),
            ("screen_name", None),
            ("user_file_name", None),
            ("hostname", None),
            ("date_of_birth", Some(Pii::Birth)),
            ("birthDate", Some(Pii::Birth)),
            ("dob", Some(Pii::Birth)),
            ("birthday", Some(Pii::Birth)),
            ("create_date", None),
            ("street", Some(Pii::Address)),
            ("addressLine1", Some(Pii::Address)),
            ("billing_address", Some(Pii::Address)),
            ("ip_address", Some(Pii::IpAddress)),
            ("address_count", None),
            ("postcode", Some(Pii::Address)),
            ("city", None),
            ("lat", Some(Pii::Location)),
            ("geo_longitude", Some(Pii::Location)),
            ("geo_country", None),
            ("long_description", None),
            ("flat", None),
            ("password_hash", Some(Pii::Credential)),
            ("password_changed_at", None),
            ("accessToken", Some(Pii::Credential)),
            ("token_type", None),
            ("max_tokens", None),
            ("session_id", Some(Pii::Credential)),
            ("session_count", None),
            ("set-cookie", Some(Pii::Credential)),
            ("Authorization", Some(Pii::Credential)),
            ("x-api-key", Some(Pii::Credential)),
            ("partition_key", None),
            ("status", None),
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
            ("package@1.2.3", vec![]),
            ("Anna <a@example.org>, Bern", vec![Pii::Email]),
            ("write to a@example.org.", vec![Pii::Email]),
            ("https://example.org/@anna/notes.html", vec![]),
            ("unknown, 203.0.113.7", vec![Pii::IpAddress]),
            ("203.0.113.7:8080", vec![Pii::IpAddress]),
            ("[2001:db8::1]", vec![Pii::IpAddress]),
            ("[2001:db8::1]:443", vec![Pii::IpAddress]),
            ("12:30", vec![]),
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
