//! What values cost, and the functions by which a program counts its work. No program can write their names.

use jaq_core::box_iter::box_once;
use jaq_core::native::{self, Fun};
use jaq_core::{Cv, Error, Exn, Native};
use jaq_json::{Num, Val};
use serde::de::IgnoredAny;

use super::json::is_readable;
use super::{MAX_NESTING, Metered, Work};

/// Takes the size of a value from the work that is left.
pub(super) const CHARGE: &str = "!charge";
/// Takes the size of a value as often as that of an argument: each part of both is compared.
pub(super) const CHARGE_SEARCH: &str = "!charge_search";
/// Takes the length of a text as often as a regular expression has states.
pub(super) const CHARGE_MATCH: &str = "!charge_match";
/// Takes the size of a product with an argument.
pub(super) const CHARGE_PRODUCT: &str = "!charge_product";
/// Takes the length of an array as often as an argument is long.
pub(super) const CHARGE_JOIN: &str = "!charge_join";
/// Takes what an object for each field or element costs.
pub(super) const CHARGE_ENTRIES: &str = "!charge_entries";
/// Takes the size of a table with a row for each array, and as many columns as the longest has elements.
pub(super) const CHARGE_TABLE: &str = "!charge_table";
/// Fails at a string that is not exactly one JSON value, and stops at one that is too deep.
pub(super) const CHECK_JSON: &str = "!check_json";

/// The cost of a value besides its bytes: about its size in memory.
const VALUE: u64 = 32;
/// What a string costs besides.
const TEXT: u64 = 32;
/// What an array costs besides its elements.
const ARRAY: u64 = 64;
/// What an object costs besides its fields.
const OBJECT: u64 = 192;
/// An object with a key and a value.
const ENTRY: u64 = 320;

/// The functions that count.
pub(super) fn natives() -> impl Iterator<Item = Fun<Metered>> {
    let charge: Native<Metered> = Native::new(|cv| box_once(charge(cv)))
        .with_paths(|(context, (value, path))| {
            box_once(charge((context, value)).map(|value| (value, path)))
        })
        .with_update(|cv, update| match charge(cv) {
            Ok(value) => update(value),
            Err(stopped) => box_once(Err(stopped)),
        });
    let search = Native::new(|cv| {
        let cost = |value: &Val, argument: &Val| weight(value).saturating_mul(weight(argument));
        box_once(charge_both(cv, cost))
    });
    let join = Native::new(|cv| {
        let cost = |value: &Val, argument: &Val| length(value).saturating_mul(length(argument));
        box_once(charge_both(cv, cost))
    });
    let matching_cost = Native::new(|cv| box_once(charge_both(cv, matching)));
    let product = Native::new(|cv| box_once(charge_both(cv, product)));
    let entries: Native<Metered> = Native::new(|(context, value)| {
        let cost = length(&value).saturating_mul(ENTRY);
        box_once(paid(context.data().work, cost).map(|()| value))
    });
    let table: Native<Metered> = Native::new(|(context, value)| {
        let cost = cells(&value).saturating_mul(VALUE);
        box_once(paid(context.data().work, cost).map(|()| value))
    });
    let check_json = Native::new(|cv| box_once(check_json(cv)));
    [
        (CHARGE, native::v(0), charge),
        (CHARGE_SEARCH, native::v(1), search),
        (CHARGE_JOIN, native::v(1), join),
        (CHARGE_MATCH, native::v(1), matching_cost),
        (CHARGE_PRODUCT, native::v(1), product),
        (CHARGE_ENTRIES, native::v(0), entries),
        (CHARGE_TABLE, native::v(0), table),
        (CHECK_JSON, native::v(0), check_json),
    ]
    .into_iter()
}

/// Takes a cost, or ends the program.
pub(super) fn paid<'a>(work: &Work, cost: u64) -> Result<(), Exn<'a, Val>> {
    match work.take(cost) {
        true => Ok(()),
        false => Err(Exn::halt(1)),
    }
}

fn charge<'a>((context, value): Cv<'a, Metered>) -> Result<Val, Exn<'a, Val>> {
    take(&value, 0, context.data().work).map(|()| value)
}

fn charge_both<'a>(
    (mut context, value): Cv<'a, Metered>,
    cost: fn(&Val, &Val) -> u64,
) -> Result<Val, Exn<'a, Val>> {
    let argument = context.pop_var();
    let cost = cost(&value, &argument);
    paid(context.data().work, cost).map(|()| value)
}

/// jaq would read several values of a string, and none of an empty one.
fn check_json<'a>((context, value): Cv<'a, Metered>) -> Result<Val, Exn<'a, Val>> {
    if let Val::TStr(text) = &value {
        if !is_readable(text) {
            paid(context.data().work, u64::MAX)?;
        }
        let json = serde_json::from_slice::<IgnoredAny>(text);
        json.map_err(|_| Error::str("not one JSON value"))?;
    }
    Ok(value)
}

/// Takes the cost of a value with all that is in it. jaq has objects with keys of any type, and would write them into
/// texts; as in jq, they are errors.
fn take<'a>(value: &Val, depth: usize, work: &Work) -> Result<(), Exn<'a, Val>> {
    if depth > MAX_NESTING {
        return paid(work, u64::MAX);
    }
    let own = match value {
        Val::Null | Val::Bool(_) | Val::Num(Num::Int(_) | Num::Float(_)) => 0,
        // Its decimal digits take the square of its size.
        Val::Num(Num::BigInt(number)) => (number.bits() / 64).pow(2),
        Val::Num(Num::Dec(digits)) => count(digits.len()),
        Val::TStr(text) | Val::BStr(text) => TEXT + count(text.len()),
        Val::Arr(_) => ARRAY,
        Val::Obj(_) => OBJECT,
    };
    paid(work, own + VALUE)?;
    match value {
        Val::Arr(elements) => elements
            .iter()
            .try_for_each(|element| take(element, depth + 1, work)),
        Val::Obj(fields) => fields.iter().try_for_each(|(key, field)| {
            if !matches!(key, Val::TStr(_)) {
                return Err(Error::str("a key is not a string").into());
            }
            take(key, depth + 1, work)?;
            take(field, depth + 1, work)
        }),
        _ => Ok(()),
    }
}

/// The cost of `value * factor`: a string times a number is as long as the number is large.
fn product(value: &Val, factor: &Val) -> u64 {
    match (value, factor) {
        (Val::Num(number), text @ (Val::TStr(_) | Val::BStr(_)))
        | (text @ (Val::TStr(_) | Val::BStr(_)), Val::Num(number)) => {
            let times = number.to_string().parse().unwrap_or(f64::MAX).max(1.0) as u64;
            times.saturating_mul(length(text).max(1))
        }
        _ => 1,
    }
}

/// The cost of a regular expression with so many states: at each byte it may be in all of them, and before the first it
/// is compiled.
fn matching(value: &Val, states: &Val) -> u64 {
    const BYTES_OF_COMPILING: u64 = 16;
    let states = match states {
        Val::Num(Num::Int(states)) => u64::try_from(*states).unwrap_or(u64::MAX),
        _ => u64::MAX,
    };
    (length(value) + BYTES_OF_COMPILING).saturating_mul(states) / 2
}

/// How many bytes a string has, elements an array, or fields an object; one for other values.
fn length(value: &Val) -> u64 {
    match value {
        Val::Null | Val::Bool(_) | Val::Num(_) => 1,
        Val::TStr(text) | Val::BStr(text) => count(text.len()),
        Val::Arr(elements) => count(elements.len()),
        Val::Obj(fields) => count(fields.len()),
    }
}

/// The bytes of all strings in a value, and one for each other value. What is charged is not too deep.
fn weight(value: &Val) -> u64 {
    match value {
        Val::Null | Val::Bool(_) | Val::Num(_) => 1,
        Val::TStr(text) | Val::BStr(text) => count(text.len()).max(1),
        Val::Arr(elements) => 1 + elements.iter().map(weight).sum::<u64>(),
        Val::Obj(fields) => {
            let of_field = |(key, field)| weight(key) + weight(field);
            1 + fields.iter().map(of_field).sum::<u64>()
        }
    }
}

/// How many cells the table of arrays has.
fn cells(value: &Val) -> u64 {
    let Val::Arr(rows) = value else { return 1 };
    let columns = rows.iter().map(length).max().unwrap_or_default();
    columns.saturating_mul(count(rows.len()))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
