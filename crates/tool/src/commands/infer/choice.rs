//! The type of a column, by the majority of its values: one that takes the values of tomorrow, too.

use mapping::Unit;

use super::class::Class;
use super::epoch::is_time_name;
use super::pii::{ends_with_identifier, is_in, words};
use super::shape::{NUMBERS, Shape, is_most};
use crate::cli::output::counted;
use crate::cli::samples::Sample;

/// With this many digits every integer fits 64 bits.
const BIGINT_DIGITS: usize = 18;

/// A floating point number of 64 bits keeps decimal numbers of this many digits.
/// Source: `DBL_DIG`, <https://www.postgresql.org/docs/18/datatype-numeric.html#DATATYPE-FLOAT>.
const DOUBLE_DIGITS: usize = 15;

/// An amount of money has at most this many digits after the point.
const MONEY_SCALE: usize = 4;

/// Words of fields whose digits are a code: `0010` may follow, or `12-B`.
const CODES: &str = "account barcode code ean firmware gtin isbn label last4 mcc name phone pin plz postal postcode release \
    routing sku tag tel title tracking version zip zipcode";

/// Last words of fields that hold a quantity, before [`UNITS`] if there is one: digits in strings are numbers there.
const QUANTITIES: &str = "amount balance cost count duration fee gross height length net price qty quantity subtotal sum \
    total weight width";
const UNITS: &str = "cents chf eur gbp jpy usd";

/// Words of fields that hold money.
const MONEY: &str = "amount balance charge cost credit debit discount due fee gross net paid payment price \
    refund revenue salary shipping subtotal tax tip total vat";

/// Words of fields that hold a measurement: the next may have decimals.
const MEASUREMENTS: &str = "average avg celsius battery consumption distance flow height humidity kg km load mean percent percentage pressure \
    rate ratio score speed temperature temp value voltage weight width";

/// Last words of fields that hold a day, or a time of day, whatever a few values are.
const DAYS: &str = "born birthday date day on";

/// The type of a column, and how its values are written.
pub(super) struct Choice {
    pub(super) column_type: String,
    /// Why, or which values it does not fit.
    pub(super) why: String,
    /// Whether every value fits it.
    pub(super) fits_all: bool,
    pub(super) spelling: Spelling,
}

/// How the values of a column are written, if its type alone does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Plain,
    /// Numbers that count time since 1970.
    Unix(Unit),
    /// Seconds since 1970 as numbers, and other times as text.
    UnixOrText,
    /// JSON in a string.
    JsonText,
}

impl Choice {
    fn new(column_type: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            column_type: column_type.into(),
            why: why.into(),
            fits_all: true,
            spelling: Spelling::Plain,
        }
    }

    fn spelt(self, spelling: Spelling) -> Self {
        Self { spelling, ..self }
    }
}

/// The type of a column of this name.
pub(super) fn choose(name: &str, shape: &Shape, samples: &[Sample]) -> Choice {
    let all = shape.all();
    if all == 0 {
        return Choice::new("text", "only null in the samples: set its type");
    }
    if let Some(choice) = unix(name, shape) {
        return choice;
    }
    let json = [Class::JsonText, Class::Array, Class::Object];
    if shape.of(&[Class::JsonText]) > 0 && is_most(shape.of(&json), all) {
        return of_class(Class::JsonText, name, shape, samples);
    }
    let mut groups = [
        (Class::Bool, booleans(shape)),
        (Class::Number, numbers(name, shape)),
        (Class::Uuid, vec![Class::Uuid]),
        (Class::TimestampTz, vec![Class::TimestampTz]),
        (Class::Timestamp, vec![Class::Timestamp]),
        (Class::Date, vec![Class::Date]),
        (Class::Time, vec![Class::Time]),
        (Class::Array, vec![Class::Array]),
    ];
    groups.sort_by_key(|(_, classes)| std::cmp::Reverse(shape.of(classes)));
    let [(class, classes), ..] = &groups;
    let count = shape.of(classes);
    if count > 0 && is_most(count, all) && is_certain(*class, count, name, shape) {
        let mut choice = of_class(*class, name, shape, samples);
        if count < all && choice.column_type != "jsonb" {
            choice.fits_all = false;
            choice.why = format!("{}: {count} of {all}", choice.column_type);
            choice.why += &misfits(*class, |class| classes.contains(&class), shape, samples);
        }
        return choice;
    }
    let scalars = shape.scalars();
    if !is_most(scalars, all) {
        return Choice::new("jsonb", nested(shape) + &not_nested(shape, samples));
    }
    let mut choice = Choice::new("text", "");
    if scalars < all && shape.of(&[Class::JsonText]) * 2 >= all {
        // It takes both, as they are.
        return Choice::new("jsonb", "JSON, or JSON in a string");
    }
    if scalars < all {
        choice.fits_all = false;
        choice.why = format!("text: {scalars} of {all}");
        choice.why += &misfits(Class::Text, Class::is_scalar, shape, samples);
    } else if let Some(fitting) = fitting(name, shape) {
        choice.why = format!("{fitting} would fit");
    } else if count * 2 >= all && !is_version(name) {
        // Two types may have half of the values each.
        let usual = groups
            .iter()
            .filter(|(_, classes)| shape.of(classes) == count);
        let usual = usual.map(|(class, _)| of_class(*class, name, shape, samples).column_type);
        let usual = usual.collect::<Vec<_>>().join(" and as many ");
        choice.why = format!("only {count} of {all} are {usual}");
    }
    choice
}

/// Whether most values are enough for the type. A text may look like a day or a UUID and be followed by one that does
/// not: all values must, or the name must say so.
fn is_certain(class: Class, count: usize, name: &str, shape: &Shape) -> bool {
    let words = words(name);
    let ends_in = |list: &str| words.last().is_some_and(|last| is_in(list, last));
    match class {
        Class::Uuid => count == shape.all() || ends_in("guid id key token uuid"),
        Class::Date => !is_version(name) && (count == shape.all() || ends_in(DAYS)),
        Class::Time => count == shape.all(),
        // The next may have letters, too.
        Class::Number => !ends_with_identifier(name) || shape.of(&[Class::Text, Class::Uuid]) == 0,
        Class::Bool | Class::Integer | Class::IntegerText | Class::NumberText => true,
        Class::BoolText | Class::BoolWord | Class::Empty | Class::JsonText | Class::Text => true,
        Class::TimestampTz | Class::Timestamp | Class::Array | Class::Object => true,
    }
}

fn is_version(name: &str) -> bool {
    words(name).iter().any(|word| word == "version")
}

/// The type of a field that is called like a time and holds numbers, or numbers and text.
fn unix(name: &str, shape: &Shape) -> Option<Choice> {
    let (unit, odd) = shape.unit().filter(|_| is_time_name(name))?;
    let (all, numbers) = (shape.all(), shape.of(&NUMBERS));
    if numbers > 0 && is_most(numbers - odd, all) {
        let why = match all - (numbers - odd) {
            0 => String::new(),
            _ => format!("{} of {all} are such times", numbers - odd),
        };
        let mut choice = Choice::new("timestamptz", why);
        choice.fits_all = false;
        return Some(choice.spelt(Spelling::Unix(unit)));
    }
    let times = shape.of(&[Class::TimestampTz]);
    let plain = shape.of(&[Class::Integer, Class::Number]);
    let is_mixed = unit == Unit::Seconds
        && times > 0
        && plain == numbers
        && is_most((times + plain).saturating_sub(odd), all);
    let why = format!("{plain} of {all} are Unix times");
    is_mixed.then(|| Choice::new("timestamptz", why).spelt(Spelling::UnixOrText))
}

/// What counts as true or false. Words such as `"yes"` alone may be anything.
fn booleans(shape: &Shape) -> Vec<Class> {
    let certain = [Class::Bool, Class::BoolText];
    match shape.of(&certain) {
        0 => certain.to_vec(),
        _ => [&certain[..], &[Class::BoolWord]].concat(),
    }
}

/// What counts as a number in a column of this name.
fn numbers(name: &str, shape: &Shape) -> Vec<Class> {
    const PLAIN: [Class; 2] = [Class::Integer, Class::Number];
    const TEXTS: [Class; 2] = [Class::IntegerText, Class::NumberText];
    let words = words(name);
    let mut last = words.iter().rev().skip_while(|word| is_in(UNITS, word));
    let is_quantity = last.next().is_some_and(|word| is_in(QUANTITIES, word));
    let is_code = words.iter().any(|word| is_in(CODES, word));
    let is_decimal = shape.of(&[Class::NumberText]) > 0;
    let is_usually_number = shape.of(&PLAIN) >= shape.of(&TEXTS);
    // Other digits identify something: the next may begin with zero, which a number does not keep.
    let are_texts_numbers = is_quantity || is_decimal || is_usually_number;
    match are_texts_numbers && !is_code && !shape.has_padded_digits {
        true => [PLAIN, TEXTS].concat(),
        false => PLAIN.to_vec(),
    }
}

/// The type that all texts would fit, although they are hardly meant as such.
fn fitting(name: &str, shape: &Shape) -> Option<&'static str> {
    let is_code = words(name).iter().any(|word| is_in(CODES, word));
    let are_all = |classes: &[Class]| shape.of(classes) == shape.present;
    let is_bigint = shape.digits.whole <= BIGINT_DIGITS && !is_code;
    match shape {
        _ if are_all(&[Class::Integer, Class::IntegerText]) && is_bigint => Some("bigint"),
        _ if are_all(&[Class::BoolWord]) => Some("boolean"),
        _ if are_all(&[Class::Date]) => Some("date"),
        _ => None,
    }
}

/// The type for values of one class.
fn of_class(class: Class, name: &str, shape: &Shape, samples: &[Sample]) -> Choice {
    match class {
        Class::Bool => Choice::new("boolean", ""),
        Class::Uuid => Choice::new("uuid", ""),
        Class::TimestampTz => Choice::new("timestamptz", ""),
        Class::Timestamp => Choice::new("timestamp", "without an offset"),
        Class::Time => Choice::new("time", ""),
        Class::Date => Choice::new("date", ""),
        Class::JsonText => Choice::new("jsonb", "JSON in a string").spelt(Spelling::JsonText),
        Class::Array => array(name, shape, samples),
        Class::Integer | Class::Number | Class::IntegerText | Class::NumberText => {
            number(name, shape)
        }
        // `choose` asks for none of these.
        Class::BoolText | Class::BoolWord | Class::Empty | Class::Text | Class::Object => {
            number(name, shape)
        }
    }
}

fn number(name: &str, shape: &Shape) -> Choice {
    let digits = shape.digits;
    let words = words(name);
    let has = |list: &str| words.iter().any(|word| is_in(list, word));
    let (is_money, in_texts) = (has(MONEY), shape.of(&[Class::NumberText]) > 0);
    if shape.of(&[Class::Number, Class::NumberText]) == 0 {
        let is_text = shape.of(&[Class::IntegerText]) > 0;
        return match digits.whole > BIGINT_DIGITS {
            false if has(MEASUREMENTS) => Choice::new("numeric", "the next may have decimals"),
            false if is_money && is_text => Choice::new("numeric", "digits in strings"),
            false => Choice::new("bigint", if is_text { "digits in strings" } else { "" }),
            true => Choice::new("numeric", ""),
        };
    }
    let is_exact = in_texts || is_money && digits.scale <= MONEY_SCALE;
    if is_exact || digits.whole + digits.scale > DOUBLE_DIGITS {
        return Choice::new("numeric", "");
    }
    Choice::new("double precision", "or numeric, which keeps every digit")
}
/// The type for arrays: the type of their values, if they have one.
fn array(name: &str, shape: &Shape, samples: &[Sample]) -> Choice {
    let Some(items) = shape.items.as_ref().filter(|items| items.all() > 0) else {
        return Choice::new("jsonb", "only empty arrays in the samples");
    };
    if !is_most(items.scalars(), items.all()) {
        return Choice::new("jsonb", nested(shape));
    }
    let element = choose(name, items, samples);
    let spelling = match element.spelling {
        Spelling::Unix(unit) => Spelling::Unix(unit),
        Spelling::Plain | Spelling::UnixOrText | Spelling::JsonText => Spelling::Plain,
    };
    let column_type = match element.column_type.as_str() {
        _ if !element.fits_all || element.spelling == Spelling::UnixOrText => "text[]".to_owned(),
        "jsonb" => "text[]".to_owned(),
        other => format!("{other}[]"),
    };
    let mut choice = Choice::new(column_type, "").spelt(spelling);
    if items.scalars() < items.all() {
        let others = misfits(Class::Text, Class::is_scalar, items, samples);
        choice.why = format!("elements{}", others.replacen(';', ":", 1));
        choice.fits_all = false;
    }
    choice
}

/// What a jsonb column holds.
fn nested(shape: &Shape) -> String {
    let objects = shape.items.as_deref().unwrap_or(shape);
    let names = objects.keys.keys().map(String::as_str);
    let names = names.filter(|key| !objects.is_data(key) && !objects.is_map(""));
    let names: Vec<&str> = names.collect();
    let keys = names.iter().take(6).copied().collect::<Vec<_>>().join(", ");
    match (shape.of(&[Class::Array]), keys.is_empty()) {
        (0, _) if names.len() < objects.keys.len() => {
            "an object with keys that look like data".to_owned()
        }
        (0, _) => "an object whose keys differ".to_owned(),
        (_, true) => "an array".to_owned(),
        _ => format!("up to {} with {keys}", counted(shape.max_items, "object")),
    }
}

/// In a jsonb column of different values: how many are objects or arrays, and where the fewer others are.
fn not_nested(shape: &Shape, samples: &[Sample]) -> String {
    let (all, scalars) = (shape.all(), shape.scalars());
    if scalars == 0 {
        return String::new();
    }
    let nested = all - scalars;
    let others = match scalars > nested {
        true => misfits(Class::Text, Class::is_scalar, shape, samples),
        false => misfits(Class::Array, |class| !class.is_scalar(), shape, samples),
    };
    format!(": {nested} of {all}{others}")
}

/// Which samples have values of other classes.
pub(super) fn misfits(
    wanted: Class,
    fits: impl Fn(Class) -> bool,
    shape: &Shape,
    samples: &[Sample],
) -> String {
    let mut misfits = String::new();
    let others = shape.seen.iter();
    for (class, seen) in others.filter(|(class, _)| !fits(**class)) {
        let places = seen.first.iter().filter_map(|&at| samples.get(at));
        let places: Vec<&str> = places.map(|sample| sample.place.as_str()).collect();
        let (is, are) = class.misfit(wanted);
        let what = match seen.count - places.len().min(seen.count) {
            0 if places.len() == 1 => format!("{} {is}", places.join("")),
            0 => format!("{} {are}", places.join(" and ")),
            more => format!("{} and {more} more {are}", places.join(", ")),
        };
        misfits += &format!("; {what}");
    }
    misfits
}
