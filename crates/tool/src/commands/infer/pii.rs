//! Kinds of personal data, and the names of fields that suggest them, in English, German and French. If it is not
//! certain, mask: a superfluous mask can be removed later, but a value that was stored in plaintext remains known.

use std::fmt;

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pii {
    IpAddress,
    Email,
    Phone,
    Device,
    Card,
    National,
    Vehicle,
    Name,
    Login,
    Birth,
    Address,
    Location,
    Credential,
    Circumstance,
    /// Source: Regulation (EU) 2016/679 (GDPR), Article 9.
    SpecialCategory,
    /// The value of a field that is masked, within another field.
    Copy,
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
            Self::Vehicle => "the number of a vehicle",
            Self::Name => "the name of a person",
            Self::Login => "the user name of a person",
            Self::Birth => "a date of birth",
            Self::Address => "a postal address",
            Self::Location => "a location",
            Self::Credential => "a credential",
            Self::Circumstance => "personal circumstances",
            Self::SpecialCategory => {
                "a special category of personal data (GDPR, Article 9: is it needed at all?)"
            }
            Self::Copy => "a value that is masked elsewhere",
        })
    }
}

/// Last words of fields that describe personal data without being it.
const ABOUT: &str = "at brand confirmed count country currency date enabled family format kind language method mode \
    model on opened os plan platform preference provider region required role scope sent state status time timezone \
    tier type valid verified version";

/// Last words of fields that identify what the words before them name.
const IDENTIFIES: &str = "code id identifier name no nr num number nummer numero serial token uuid";

/// Last words of numbers and ids that authorities give out, and their words in front.
const NUMBERS: &str = "id identifier no nr num number nummer numero";

/// Names of parts of an object that do not say what the whole is.
const PARTS: &str =
    "display family first full given key last line line1 line2 middle nick value zip";

/// Words next to `name` that make it the name of a person. The name of an app, a file or an event is not one, and
/// `name` alone may be any of them.
const PERSONS: &str = "account_holder approver assignee attendee author beneficiary birth bearer buyer cardholder client \
    committer consignee consumer contact creator customer debtor driver editor emergency employee family father first \
    full given guest holder insured invitee last legal login maiden manager member middle mother nick owner parent \
    passenger patient payee payer person pusher recipient reporter requester resident reviewer sender shipper spouse \
    student subscriber submitter teacher uploader user visitor";

/// Words that alone name a person, by name or user name, if their value is text.
const WHO: &str = "addressee assignee attendee author beneficiary buyer cardholder committer consignee contact creator \
    driver employee guest initiator invitee kontakt kunde mitarbeiter owner passenger patient payee payer pusher \
    recipient requester reviewer sender submitter uploader user";

/// Words of names that are said of anything.
const GENERIC_NAMES: &str = "full display short long long_display legal";

/// Things whose names are not names of persons.
const THINGS: &str = "action agent app application bank branch brand bucket campaign category channel class cluster column \
    company config container country currency db database device display domain env environment event factory feature \
    field file function group host instance item job key label list locale method module network organization org os \
    package pipeline plan plugin policy port process product profile project property provider queue region repo \
    repository resource role rule schema screen server service session shop site stack stage state status step store stream \
    table tag task team template tenant test topic tool type unit vendor version workflow workspace zone";

/// Words that say birth, whatever follows: `birth_date`.
const BIRTH: &str = "birth birthday birthdate birthplace dob born dateofbirth geboren geburtsdatum geburtstag geburtsort \
    naissance datenaissance";

/// The words of a kind, in lower case and separated by spaces.
struct Names {
    kind: Pii,
    /// Enough anywhere in a name, in the singular or the plural.
    anywhere: &'static str,
    /// Enough if the name ends with one of [`NUMBERS`].
    numbered: &'static str,
    /// Enough at the end. Several words are joined by `_`.
    at_end: &'static str,
}

/// The first kind that fits counts.
const NAMES: [Names; 13] = [
    Names {
        kind: Pii::SpecialCategory,
        anywhere: "allergie allergy behinderung biometric blutgruppe diagnose diagnosis diagnoses disability disease dna \
            ethnic ethnicity ethnie genetic gesundheit gesundheitszustand gewerkschaft gewerkschaftszugehoerigkeit \
            handicap health illness konfession krankheit maladie medical medication political religion religioese \
            religious sante sexuality sexual syndicat",
        numbered: "",
        at_end: "race blood_type blood_group groupe_sanguin trade_union union_member union_membership opinion_politique",
    },
    Names {
        kind: Pii::Circumstance,
        anywhere: "einkommen familienstand gehalt gender geschlecht income lohn marital nationalitaet nationalite \
            nationality citizenship salaire salary sexe staatsangehoerigkeit wage zivilstand",
        numbered: "",
        at_end: "sex etat_civil civilite",
    },
    Names {
        kind: Pii::IpAddress,
        anywhere: "ip ipv4 ipv6 ipaddr ipaddress ipadresse clientip remoteip",
        numbered: "",
        at_end: "remote_addr",
    },
    Names {
        kind: Pii::Email,
        anywhere: "courriel email emailadresse mail mailadresse emailaddress",
        numbered: "",
        at_end: "",
    },
    Names {
        kind: Pii::Phone,
        anywhere: "cellphone fax festnetz handy handynummer mobile mobilnummer mobiltelefon msisdn natel phone phonenumber \
            rufnummer tel telefon telefonnummer telefonno telephone",
        numbered: "",
        at_end: "",
    },
    Names {
        kind: Pii::Device,
        anywhere: "imei imsi iccid udid idfa idfv gaid aaid adid mac deviceid",
        numbered: "device hardware advertising android geraete",
        at_end: "",
    },
    Names {
        kind: Pii::Card,
        anywhere: "pan cvv cvc iban creditcard cardnumber kartennummer kontonummer kreditkarte kreditkartennummer",
        numbered: "card",
        at_end: "account_number account_no account_nr account_num bank_account numero_compte numero_carte",
    },
    Names {
        kind: Pii::National,
        anywhere: "ahv ahvnummer ahvnr ausweisnummer avs bsn cpf nino passport personalausweis pesel reisepass \
            sozialversicherungsnummer ssn steuernummer steuerid",
        numbered: "national identity tax social insurance insuree licence license securite ausweis versicherten",
        at_end: "numero_securite_sociale securite_sociale",
    },
    Names {
        kind: Pii::Vehicle,
        anywhere: "autokennzeichen immatriculation kennzeichen nummernschild numberplate licenseplate vin",
        numbered: "",
        at_end: "license_plate licence_plate number_plate registration_plate plate",
    },
    Names {
        kind: Pii::Name,
        anywhere: "familienname firstname forename fullname givenname kontoinhaber lastname nachname \
            nickname nomdefamille patronyme prenom rufname surname vorname",
        numbered: "",
        at_end: "nom nom_famille titulaire",
    },
    Names {
        kind: Pii::Login,
        anywhere: "benutzername login screenname username",
        numbered: "",
        at_end: "handle",
    },
    Names {
        kind: Pii::Address,
        anywhere: "address addresses addr adresse anschrift codepostal hausnummer plz postal postcode postalcode postleitzahl \
            rue strasse straße street zipcode",
        numbered: "house",
        at_end: "zip zip_code",
    },
    Names {
        kind: Pii::Location,
        anywhere: "breitengrad coord coordinate geo geohash geolocation geopoint gps laengengrad lat latitude latlng lng lon \
            longitude",
        numbered: "",
        at_end: "long location",
    },
];

/// After the others: their last words are short.
const CREDENTIALS: Names = Names {
    kind: Pii::Credential,
    anywhere: "password passwd passwort pwd passphrase passcode kennwort motdepasse secret credential authorization bearer \
        jwt otp apikey sessionid",
    numbered: "token session cookie auth verification pin access_key",
    at_end: "token session sid cookie cookies auth pin api_key access_key auth_key encryption_key private_key \
        secret_key session_key signing_key mot_de_passe",
};

/// Names that say little, but may be of a person: they are stored in plaintext, and mentioned.
const PERHAPS: &str = "actor age alias alter anrede city comment comments commune customer employer kommentar message \
    name note notes ort remark remarks salutation signature stadt subject ville wohnort";

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

/// Whether a name is that of an id: a row without one is hardly of use.
pub(super) fn ends_with_id(name: &str) -> bool {
    words(name)
        .last()
        .is_some_and(|last| is_in("id uuid", last))
}

/// The name of a part of an object. A name such as `id` or `first` is completed by the name of the object.
pub(super) fn part_name(object: &str, part: &str) -> String {
    let words = words(part);
    let is_part = |word: &String| is_in(IDENTIFIES, word) || is_in(PARTS, word);
    match words.iter().all(is_part) {
        true => format!("{object}_{part}"),
        false => part.to_owned(),
    }
}

impl Pii {
    /// The kind that the name of a field suggests; a field without a text or number has none.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let words = words(name);
        let last = words.last()?.as_str();
        let before = words.iter().rev().nth(1).map_or("", String::as_str);
        let has = |known: &str| words.iter().any(|word| is_one(word, known));
        // Before ABOUT, which has some of their last words: birth_date, name.family.
        if is_name_of_person(&words) {
            return Some(Self::Name);
        }
        if has(BIRTH) && !is_in("count status verified", last) {
            return Some(Self::Birth);
        }
        let ends = |names: &Names| {
            let two = format!("{before}_{last}");
            let three = words
                .get(words.len().saturating_sub(3)..)
                .unwrap_or_default();
            let is_end = |end: &str| is_in(names.at_end, end);
            is_end(&two) || is_end(&three.join("_"))
        };
        if let Some(names) = NAMES.iter().find(|names| ends(names)) {
            return Some(names.kind);
        }
        if has("marital") {
            return Some(Self::Circumstance);
        }
        if is_in(ABOUT, last) {
            return None;
        }
        // Before the others: `created_by`, `user`.
        if is_one(last, WHO) && !is_in(THINGS, before) {
            return Some(Self::Login);
        }
        if last == "by" && before.ends_with("ed") {
            return Some(Self::Login);
        }
        let is_number = is_in(NUMBERS, last);
        let fits = |names: &&Names| {
            has(names.anywhere)
                || is_number && has(names.numbered)
                || ends(names)
                || is_in(names.at_end, last)
        };
        let mut all = NAMES.iter().chain([&CREDENTIALS]);
        all.find(fits).map(|names| names.kind)
    }

    /// Whether a name ends with a thing, whose name is not that of a person: `repository`.
    pub(crate) fn is_thing(name: &str) -> bool {
        words(name).last().is_some_and(|last| is_one(last, THINGS))
    }

    /// Whether a name that suggests nothing certain may still be of something about a person.
    pub(crate) fn is_possible(name: &str) -> bool {
        let words = words(name);
        let last = words.last().map_or("", String::as_str);
        let before = words.iter().rev().nth(1).map_or("", String::as_str);
        is_in(PERHAPS, last) && !is_in(THINGS, before)
    }
}

/// Whether a word is in a list, in the singular or the plural, perhaps with a number: `address1`.
fn is_one(word: &str, known: &str) -> bool {
    let bare = word.trim_end_matches(|digit: char| digit.is_ascii_digit());
    let is_known = |word: &str| !word.is_empty() && is_in(known, word);
    is_known(word)
        || is_known(bare)
        || word.strip_suffix('s').is_some_and(is_known)
        || bare.strip_suffix('s').is_some_and(is_known)
}

/// Whether these words are the name of a person: `first_name`, `name_family`, `customer_name`; not `repository_full_name`.
fn is_name_of_person(words: &[String]) -> bool {
    let is_whose = |whose: Option<&String>| whose.is_some_and(|whose| is_one(whose, PERSONS));
    match words {
        [.., name, whose] if name == "name" && is_one(whose, PERSONS) => return true,
        [.., name] if name != "name" => return false,
        _ => {}
    }
    let mut before = words.iter().rev().skip(1);
    let nearest = before.next();
    let is_generic = nearest.is_some_and(|word| is_in(GENERIC_NAMES, word));
    match is_generic {
        true => match before.next() {
            Some(whose) => !is_one(whose, THINGS),
            None => nearest.is_some_and(|word| is_in("full display legal", word)),
        },
        false => is_whose(nearest),
    }
}

/// The words of a name, in lower case: `clientIp` and `client_ip` have the same two, as have `clientIP` and
/// `ClientIPs` but for the plural. A capital after two others begins a word if a small letter follows: `MFAUsed`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = name.chars().peekable();
    let (mut after_lowercase, mut capitals) = (false, 0);
    while let Some(character) = characters.next() {
        let mut ahead = characters.clone();
        let next_is_small = ahead.next().is_some_and(char::is_lowercase);
        let is_plural = next_is_small
            && characters.peek() == Some(&'s')
            && !ahead.next().is_some_and(char::is_lowercase);
        let ends_acronym = capitals >= 2 && next_is_small && !is_plural;
        let begins = character.is_uppercase() && (after_lowercase || ends_acronym);
        if begins || !character.is_alphanumeric() {
            words.push(String::new());
        }
        if character.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        capitals = match character.is_uppercase() {
            true if begins => 1,
            true => capitals + 1,
            false => 0,
        };
        after_lowercase = character.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}
