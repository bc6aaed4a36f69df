//! Exact decimal numbers: as JSON writes them and as Postgres stores, compares and prints them.
//!
//! Never converted to a float, which would change 2^53 + 1.

use std::cmp::Ordering;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use crate::types::MAX_DIGITS;

/// `numeric` stores groups of four decimal digits. In its binary form, the number of groups, the weight of the first,
/// the sign and the scale come before them, each with 16 bits.
/// Source: `NumericVar` and `numeric_send` in
/// <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/numeric.c>.
const GROUP_DIGITS: usize = 4;
const SIGN_POSITIVE: u16 = 0x0000;
const SIGN_NEGATIVE: u16 = 0x4000;

/// The number ± digits × 10^exponent.
pub(crate) struct Decimal {
    negative: bool,
    /// ASCII digits without zeros at either end; empty for zero.
    digits: Digits,
    exponent: i64,
    /// How many digits were written after the point; Postgres stores and prints the same number.
    scale: i64,
}

/// Numbers of up to 32 digits need no allocation.
type Digits = SmallVec<[u8; 32]>;

/// Why a value does not fit a type.
pub(crate) enum Misfit {
    /// It is of another type, for example a fraction where an integer is needed.
    Type,
    /// It is too large or too precise.
    Range,
}

impl Decimal {
    /// Reads `[+-]digits[.digits][e[+-]digits]`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = split_sign(text);
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let exponent = parse_exponent(exponent)?;
        Some(Self::new(negative, whole, fraction, exponent))
    }

    /// Whether it is the number that a text represents, however that is written.
    pub(crate) fn equals(&self, text: &str) -> bool {
        let value = |number: &Self| (number.negative, number.digits.clone(), number.exponent);
        Self::parse(text).is_some_and(|other| value(self) == value(&other))
    }

    fn new(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Self {
        let mut written = Digits::from_slice(whole.as_bytes());
        written.extend_from_slice(fraction.as_bytes());
        let exponent = exponent.saturating_sub(length(fraction.as_bytes()));
        let scale = exponent.saturating_neg().max(0);
        let Some(last) = written.iter().rposition(|&digit| digit != b'0') else {
            return Self {
                negative: false,
                digits: Digits::new(),
                exponent: 0,
                scale,
            };
        };
        let (kept, dropped) = written.split_at(last + 1);
        let zeros = kept.iter().take_while(|&&digit| digit == b'0').count();
        Self {
            negative,
            digits: Digits::from_slice(kept.split_at(zeros).1),
            exponent: exponent.saturating_add(length(dropped)),
            scale,
        }
    }

    pub(crate) fn to_i64(&self) -> Result<i64, Misfit> {
        if self.exponent < 0 {
            return Err(Misfit::Type);
        }
        if self.integer_digits() > 19 {
            return Err(Misfit::Range);
        }
        let sign = if self.negative { -1 } else { 1 };
        let push = |value: i128, digit: &u8| value * 10 + i128::from(digit - b'0');
        let zeros = std::iter::repeat_n(&b'0', usize::try_from(self.exponent).unwrap_or(0));
        let value = self.digits.iter().chain(zeros).fold(0, push) * sign;
        i64::try_from(value).map_err(|_| Misfit::Range)
    }

    /// The number × 10^exponent as an integer, rounded half to even; `None` if it has more than 18 digits.
    pub(crate) fn to_i64_with(&self, exponent: i64) -> Option<i64> {
        let whole = self.integer_digits().saturating_add(exponent);
        if self.digits.is_empty() || whole < 0 {
            return Some(0);
        }
        let whole = usize::try_from(whole).ok().filter(|&whole| whole <= 18)?;
        let digit = |place| {
            self.digits
                .get(place)
                .map_or(0, |digit| i64::from(digit - b'0'))
        };
        let floor = (0..whole).fold(0, |value, place| value * 10 + digit(place));
        let is_up = match self.digits.get(whole..) {
            None | Some([]) => false,
            Some([b'5']) => floor % 2 == 1,
            Some([first, ..]) => *first >= b'5',
        };
        let sign = if self.negative { -1 } else { 1 };
        Some(sign * (floor + i64::from(is_up)))
    }

    fn integer_digits(&self) -> i64 {
        length(&self.digits).saturating_add(self.exponent)
    }

    /// How many digits Postgres prints of it; `None` if that is more than [`MAX_DIGITS`] on one side of the point.
    pub(crate) fn digits_within_bounds(&self) -> Option<usize> {
        let within = |digits: i64| {
            usize::try_from(digits.max(0))
                .ok()
                .filter(|&n| n <= MAX_DIGITS)
        };
        Some(within(self.integer_digits())? + within(self.scale)?)
    }

    /// This number with this many digits after the point.
    pub(crate) fn with_scale(self, precision: u16, scale: u16) -> Result<Self, Misfit> {
        let scale = i64::from(scale);
        let is_exact = -self.exponent <= scale;
        match is_exact && self.integer_digits() <= i64::from(precision) - scale {
            true => Ok(Self { scale, ..self }),
            false => Err(Misfit::Range),
        }
    }

    pub(crate) fn write_numeric(&self, out: &mut BytesMut) -> Result<(), Misfit> {
        self.digits_within_bounds().ok_or(Misfit::Range)?;
        let integer_digits = self.integer_digits();
        // Leading zeros align the groups at the decimal point.
        let lead = (-integer_digits).rem_euclid(GROUP_DIGITS as i64) as usize;
        let groups = (lead + self.digits.len()).div_ceil(GROUP_DIGITS);
        let weight = match groups {
            0 => 0,
            _ => (integer_digits - 1).div_euclid(GROUP_DIGITS as i64),
        };
        out.put_i16(i16::try_from(groups).map_err(|_| Misfit::Range)?);
        out.put_i16(i16::try_from(weight).map_err(|_| Misfit::Range)?);
        out.put_u16(if self.negative {
            SIGN_NEGATIVE
        } else {
            SIGN_POSITIVE
        });
        out.put_i16(i16::try_from(self.scale).map_err(|_| Misfit::Range)?);
        let digit = |place: usize| {
            let digit = place.checked_sub(lead).and_then(|at| self.digits.get(at));
            digit.map_or(0, |digit| i16::from(digit - b'0'))
        };
        for group in 0..groups {
            let places = group * GROUP_DIGITS..(group + 1) * GROUP_DIGITS;
            out.put_i16(places.fold(0, |value, place| value * 10 + digit(place)));
        }
        Ok(())
    }
}

/// A number in the binary form of `numeric`: ± 0.groups × 10000^(weight + 1).
pub struct Numeric<'a> {
    is_negative: bool,
    weight: i16,
    scale: u16,
    /// Two bytes each, so that groups sort like their bytes. There are no zeros at either end.
    groups: &'a [u8],
}

impl<'a> Numeric<'a> {
    /// `None` if the bytes are not of a numeric.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<2>()?;
        let (weight, rest) = rest.split_first_chunk()?;
        let (sign, rest) = rest.split_first_chunk()?;
        let (scale, groups) = rest.split_first_chunk()?;
        Some(Self {
            is_negative: u16::from_be_bytes(*sign) == SIGN_NEGATIVE,
            weight: i16::from_be_bytes(*weight),
            scale: u16::from_be_bytes(*scale),
            groups,
        })
    }

    /// How the numbers compare.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.magnitude().cmp(&other.magnitude()),
            (true, true) => other.magnitude().cmp(&self.magnitude()),
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
        }
    }

    fn magnitude(&self) -> impl Ord + use<'a> {
        let is_zero = self.groups.is_empty();
        (!is_zero).then_some((self.weight, self.groups))
    }

    /// The number as Postgres prints it.
    pub(crate) fn text(&self) -> String {
        // The position of the last group before the point.
        let ones = i32::from(self.weight);
        let group = |position: i32| format!("{:04}", self.group(position));
        let whole: String = (0..=ones).map(group).collect();
        let whole = whole.trim_start_matches('0');
        let scale = usize::from(self.scale);
        let mut fraction = String::new();
        let mut position = ones;
        while fraction.len() < scale {
            position += 1;
            fraction += &group(position);
        }
        fraction.truncate(scale);
        let point = if fraction.is_empty() { "" } else { "." };
        let minus = if self.is_negative { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        format!("{minus}{whole}{point}{fraction}")
    }

    /// How many characters that are, without making the text.
    pub(crate) fn chars(&self) -> usize {
        let whole = match usize::try_from(self.weight) {
            Ok(groups) if !self.groups.is_empty() => {
                groups * GROUP_DIGITS + self.group(0).to_string().len()
            }
            _ => "0".len(),
        };
        let fraction = usize::from(self.scale);
        usize::from(self.is_negative) + whole + usize::from(fraction > 0) + fraction
    }

    /// The four digits at a position, counted from the first group; zero where none is stored.
    fn group(&self, position: i32) -> u16 {
        let group = || {
            let at = usize::try_from(position).ok()?.checked_mul(2)?;
            self.groups.get(at..)?.first_chunk()
        };
        group().map_or(0, |group| u16::from_be_bytes(*group))
    }
}

/// Whether a text is a number as JSON writes it.
/// Source: <https://www.rfc-editor.org/rfc/rfc8259#section-6>.
pub(crate) fn is_json_number(text: &str) -> bool {
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let unsigned_exponent = |text: &str| is_digits(text.strip_prefix(['+', '-']).unwrap_or(text));
    is_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(unsigned_exponent)
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// An exponent that does not fit becomes the largest that does.
fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse::<i64>().unwrap_or(i64::MAX).min(i64::MAX / 4);
    Some(if negative { -value } else { value })
}

fn length(digits: &[u8]) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(text: &str) -> BytesMut {
        let mut out = BytesMut::new();
        let written = Decimal::parse(text).unwrap().write_numeric(&mut out);
        assert!(written.is_ok(), "{text}");
        out
    }

    proptest! {
        #[test]
        fn a_number_is_printed_as_it_was_written(text in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?") {
            let bytes = binary(&text);
            let number = Numeric::read(&bytes).unwrap();
            let is_zero = !text.contains(|digit: char| ('1'..='9').contains(&digit));
            let expected = if is_zero { text.trim_start_matches('-') } else { &text };
            prop_assert_eq!(number.text(), expected);
            prop_assert_eq!(number.chars(), expected.len());
        }
    }

    #[test]
    fn bytes_that_are_not_a_numeric_are_not_read() {
        for length in 0..8 {
            assert!(Numeric::read(&vec![0; length]).is_none());
        }
    }
}
