//! The type of a column, by the majority of its values.

use super::class::Class;
use super::pii::{ends_with_identifier, is_in, words};
use super::shape::{Shape, is_most};
use crate::cli::output::counted;
use crate::cli::samples::Sample;

/// A field with an integer above this may soon exceed 32 bits.
const ROOMY_INTEGER_DIGITS: usize = 9;

/// With this many digits every integer fits 64 bits.
const BIGINT_DIGITS: usize = 18;

/// A floating point number of 64 bits keeps decimal numbers of this many digits.
/// Source: `DBL_DIG`, <https://www.postgresql.org/docs/18/datatype-numeric.html#DATATYPE-FLOAT>.
const DOUBLE_DIGITS: usize = 15;

/// An amount of money has at least this many digits before the point, and at most this many after it.
const MONEY_DIGITS: usize = 10;
const MONEY_SCALE: std::ops::RangeInclusive<usize> = 2..=4;

/// Widths of a varchar; the first that fits twice the longest sample is chosen.
const WIDTHS: [usize; 6] = [32, 64, 128, 256, 512, 1024];

/// Words of fields whose digits are a code: `0010` may follow, or `12-B`.
const CODES: &str = "account barcode code ean gtin isbn last4 mcc phone pin plz postal postcode routing sku tel tracking \
    version zip zipcode";

/// Last words of fields that hold a quantity, before [`UNITS`] if there is one: digits in strings are numbers there.
const QUANTITIES: &str = "amount balance cost count duration fee gross height length net price qty quantity subtotal sum \
    total weight width";
const UNITS: &str = "cents chf eur gbp jpy usd";

/// Words of fields that hold money.
const MONEY: &str = "amount balance charge cost credit debit discount due fee gross net paid payment price \
    refund revenue salary shipping subtotal tax tip total vat";

/// The type of a column.
pub(super) struct Choice {
    pub(super) column_type: String,
    /// Why, or which values it does not fit.
    pub(super) why: String,
    /// Whether every value fits it.
    pub(super) fits_all: bool,
}

impl Choice {
    fn new(column_type: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            column_type: column_type.into(),
            why: why.into(),
            fits_all: true,
        }
    }
}

/// The type of a column of this name.
pub(super) fn choose(name: &str, shape: &Shape, samples: &[Sample]) -> Choice {
    let all = shape.all();
    if all == 0 {
        return Choice::new("text", "only null in the samples: set its type");
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
    if count > 0 && is_most(count, all) {
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
    let mut choice = text(shape);
    if scalars < all {
        choice.fits_all = false;
        choice.why += &misfits(Class::Text, Class::is_scalar, shape, samples);
    } else if let Some(fitting) = fitting(name, shape) {
        choice.why += &format!("; {fitting} would fit");
    } else if count * 2 >= all {
        // Two types may have half of the values each.
        let usual = groups
            .iter()
            .filter(|(_, classes)| shape.of(classes) == count);
        let usual = usual.map(|(class, _)| of_class(*class, name, shape, samples).column_type);
        let usual = usual.collect::<Vec<_>>().join(" and as many ");
        choice.why = format!("only {count} of {all} are {usual}; {}", choice.why);
    }
    choice
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
    const NUMBERS: [Class; 2] = [Class::Integer, Class::Number];
    const TEXTS: [Class; 2] = [Class::IntegerText, Class::NumberText];
    let words = words(name);
    let mut last = words.iter().rev().skip_while(|word| is_in(UNITS, word));
    let is_quantity = last.next().is_some_and(|word| is_in(QUANTITIES, word));
    let is_code = words.iter().any(|word| is_in(CODES, word));
    let is_decimal = shape.of(&[Class::NumberText]) > 0;
    let is_usually_number = shape.of(&NUMBERS) >= shape.of(&TEXTS);
    // Other digits identify something: the next may begin with zero, which a number does not keep.
    let are_texts_numbers = is_quantity || is_decimal || is_usually_number;
    match are_texts_numbers && !is_code && !shape.has_padded_digits {
        true => [NUMBERS, TEXTS].concat(),
        false => NUMBERS.to_vec(),
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
        Class::Array => array(name, shape, samples),
        _ => number(name, shape),
    }
}

fn number(name: &str, shape: &Shape) -> Choice {
    let (digits, in_texts) = (shape.digits, shape.of(&[Class::NumberText]));
    let words = words(name);
    if shape.of(&[Class::Number, Class::NumberText]) == 0 {
        let is_roomy = digits.whole > ROOMY_INTEGER_DIGITS || ends_with_identifier(name);
        let column_type = match digits.whole {
            0..=BIGINT_DIGITS if !is_roomy => "integer",
            0..=BIGINT_DIGITS => "bigint",
            _ => "numeric",
        };
        let is_text = shape.of(&[Class::IntegerText]) > 0;
        return Choice::new(column_type, if is_text { "digits in strings" } else { "" });
    }
    let has_cents = in_texts > 0 && shape.has_one_scale && MONEY_SCALE.contains(&digits.scale);
    let is_money = has_cents || words.iter().any(|word| is_in(MONEY, word));
    if is_money && digits.scale <= *MONEY_SCALE.end() {
        let scale = digits.scale.max(*MONEY_SCALE.start());
        let precision = MONEY_DIGITS.max(2 * digits.whole) + scale;
        return Choice::new(format!("numeric({precision},{scale})"), "");
    }
    if in_texts > 0 || is_money || digits.whole + digits.scale > DOUBLE_DIGITS {
        return Choice::new("numeric", "");
    }
    Choice::new("double precision", "or numeric, which keeps every digit")
}

/// The text type for scalar values.
fn text(shape: &Shape) -> Choice {
    let longest = format!("the longest has {}", counted(shape.max_chars, "character"));
    let mut widths = WIDTHS.into_iter();
    let width = widths.find(|&width| width >= 2 * shape.max_chars);
    let column_type = width.map_or("text".to_owned(), |width| format!("varchar({width})"));
    Choice::new(column_type, longest)
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
    let column_type = match element.column_type.as_str() {
        _ if !element.fits_all => "text[]".to_owned(),
        text if text.starts_with("varchar") => "text[]".to_owned(),
        other => format!("{other}[]"),
    };
    let mut choice = Choice::new(column_type, "");
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
