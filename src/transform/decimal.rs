//! Exact decimal numbers: as JSON writes them and as Postgres stores them.
//!
//! Never converted to a float, which would change 2^53 + 1.

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use crate::types::MAX_DIGITS;

/// `numeric` stores groups of four decimal digits.
/// Source: `NumericVar` in <https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/numeric.c>.
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
        let first = written
            .iter()
            .position(|&digit| digit != b'0')
            .unwrap_or(last);
        let dropped = length(&written) - 1 - length(&written[..last]);
        Self {
            negative,
            digits: Digits::from_slice(&written[first..=last]),
            exponent: exponent.saturating_add(dropped),
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
