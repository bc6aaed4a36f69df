//! Kinds of personal data, and the names of fields that suggest them. If it is not certain, mask: a superfluous mask
//! can be removed later, but a value that was stored in plaintext remains known.

use std::fmt;

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

impl fmt::Display for Pii {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IpAddress => "an IP address",
            Self::Email => "an e-mail address",
            Self::Phone => "a phone number",
            Self::Device => "a device id",
            Self::Card => "a card or account number",
            Self::National => "a national identification number",
            Self::Name => "the name of a person",
            Self::Birth => "a date of birth",
            Self::Address => "a postal address",
            Self::Location => "a location",
            Self::Credential => "a credential",
        })
    }
}

/// Last words of fields that describe personal data without being it.
const ABOUT: &str = "at brand city confirmed count country currency date enabled family format kind language \
    model opened os platform provider region sent state status time timezone type valid verified version";

/// Last words of fields that identify what the words before them name.
const IDENTIFIES: &str = "code id identifier name no num number serial token uuid";

/// Names of parts of an object that do not say what the whole is.
const PARTS: &str = "family first given key last line line1 line2 middle value";

/// Words next to `name` that make it the name of a person. The name of an app, a file or an event is not one, and
/// `name` alone may be any of them.
const PERSONS: &str = "author birth contact customer display driver employee family first full given guest holder \
    last legal login maiden member middle nick owner passenger patient person recipient sender user";

/// Words that say birth, whatever follows: `birth_date`.
const BIRTH: &str = "birth birthday birthdate dob dateofbirth";

/// The words of a kind, in lower case and separated by spaces.
struct Names {
    kind: Pii,
    /// Enough anywhere in a name, in the singular or the plural.
    anywhere: &'static str,
    /// Enough if the name ends with one of [`IDENTIFIES`].
    identified: &'static str,
    /// Enough at the end. Several words are joined by `_`.
    at_end: &'static str,
}

/// The first kind that fits counts.
const NAMES: [Names; 10] = [
    Names {
        kind: Pii::IpAddress,
        anywhere: "ip ipv4 ipv6 ipaddr ipaddress clientip remoteip",
        identified: "",
        at_end: "remote_addr",
    },
    Names {
        kind: Pii::Email,
        anywhere: "email mail emailaddress",
        identified: "",
        at_end: "",
    },
    Names {
        kind: Pii::Phone,
        anywhere: "phone telephone mobile msisdn cellphone tel fax phonenumber",
        identified: "",
        at_end: "",
    },
    Names {
        kind: Pii::Device,
        anywhere: "imei imsi iccid udid idfa idfv gaid aaid adid mac deviceid",
        identified: "device hardware advertising android vendor",
        at_end: "",
    },
    Names {
        kind: Pii::Card,
        anywhere: "pan cvv cvc iban creditcard cardnumber",
        identified: "card account",
        at_end: "",
    },
    Names {
        kind: Pii::National,
        anywhere: "ssn nino cpf bsn pesel passport",
        identified: "national identity tax social insurance licence license",
        at_end: "",
    },
    Names {
        kind: Pii::Name,
        anywhere: "firstname lastname fullname surname forename givenname nickname username",
        identified: "",
        at_end: "",
    },
    Names {
        kind: Pii::Address,
        anywhere: "address addresses addr street postal postcode postalcode zipcode",
        identified: "zip house",
        at_end: "zip",
    },
    Names {
        kind: Pii::Location,
        anywhere: "latitude longitude lat lng lon latlng geo geolocation geohash geopoint gps coordinate coord",
        identified: "",
        at_end: "long location",
    },
    Names {
        kind: Pii::Credential,
        anywhere: "password passwd pwd passphrase passcode secret credential authorization bearer jwt otp apikey sessionid",
        identified: "token session cookie auth verification pin",
        at_end: "token session sid cookie cookies auth pin api_key access_key auth_key encryption_key private_key \
            secret_key session_key signing_key",
    },
];

/// Whether a word is in a list of words that are separated by spaces.
pub(super) fn is_in(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

/// Whether a name ends with a word that identifies something.
pub(super) fn ends_with_identifier(name: &str) -> bool {
    words(name)
        .last()
        .is_some_and(|last| is_in(IDENTIFIES, last))
}

/// The name of a part of an object. A name such as `id` or `first` is completed by the name of the object.
pub(super) fn part_name(object: &str, part: &str) -> String {
    let lower = part.to_lowercase();
    if is_in(IDENTIFIES, &lower) || is_in(PARTS, &lower) {
        format!("{object}_{part}")
    } else {
        part.to_owned()
    }
}

impl Pii {
    /// The kind that the name of a field suggests.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let words = words(name);
        let last = words.last()?.as_str();
        let before = words.iter().rev().nth(1).map_or("", String::as_str);
        let is_one = |word: &str, known: &str| {
            is_in(known, word) || word.strip_suffix('s').is_some_and(|one| is_in(known, one))
        };
        let has = |known: &str| words.iter().any(|word| is_one(word, known));
        // Before ABOUT, which has some of their last words: birth_date, name.family.
        let is_persons = |whose: &str, name: &str| name == "name" && is_one(whose, PERSONS);
        if is_persons(before, last) || is_persons(last, before) {
            return Some(Self::Name);
        }
        if has(BIRTH) {
            return Some(Self::Birth);
        }
        if is_in(ABOUT, last) {
            return None;
        }
        let (is_identifier, last_two) = (is_in(IDENTIFIES, last), format!("{before}_{last}"));
        let fits = |names: &&Names| {
            has(names.anywhere)
                || is_identifier && has(names.identified)
                || is_in(names.at_end, last)
                || is_in(names.at_end, &last_two)
        };
        NAMES.iter().find(fits).map(|names| names.kind)
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
