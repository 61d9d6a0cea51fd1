//! Amounts of resources: `100m`, `1.5Gi`, `12e6`. Exact, in billionths, up to the 2^63-1 upstream allows.

use std::{cmp::Ordering, fmt, ops, str::FromStr};

const NANOS: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANOS;

/// The family of suffixes an amount is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `n`, `u`, `m`, `k`, `M`, …
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, …
    BinarySi,
    /// `e3`, `e6`, …
    DecimalExponent,
}

/// An amount. Two amounts are equal if their values are, however they are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Text that is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct ParseQuantityError;

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Suffixes by the power of thousand, from 10^-9.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    fn capped(nanos: i128, format: Format) -> Self {
        Self { nanos: nanos.clamp(-MAX, MAX), format }
    }

    /// A whole amount.
    pub fn new(value: i64, format: Format) -> Self {
        Self::capped(i128::from(value) * NANOS, format)
    }

    /// An amount of thousandths.
    pub fn from_milli(value: i64) -> Self {
        Self::capped(i128::from(value) * (NANOS / 1000), Format::DecimalSi)
    }

    /// The family of suffixes it is written with.
    pub fn format(self) -> Format {
        self.format
    }

    /// The same amount in another notation.
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The amount, a fraction counting as one more.
    pub fn value(self) -> i64 {
        self.scaled(NANOS)
    }

    /// The amount in thousandths, a fraction counting as one more.
    pub fn milli_value(self) -> i64 {
        self.scaled(NANOS / 1000)
    }

    fn scaled(self, unit: i128) -> i64 {
        let up = divide_away_from_zero(self.nanos, unit);
        i64::try_from(up).unwrap_or(if up < 0 { i64::MIN } else { i64::MAX })
    }

    /// The amount as a number that may be a little off.
    #[expect(clippy::cast_precision_loss, reason = "an approximation was asked for")]
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The amount some times over.
    #[must_use]
    pub fn times(self, factor: i64) -> Self {
        Self::capped(self.nanos.saturating_mul(i128::from(factor)), self.format)
    }

    /// The canonical form of a text, `1000m` being `1`.
    pub fn canonical(text: &str) -> Result<String, ParseQuantityError> {
        Ok(text.parse::<Self>()?.to_string())
    }

    fn sum(self, nanos: i128, other: Format) -> Self {
        let format = if self.is_zero() { other } else { self.format };
        Self::capped(self.nanos + nanos, format)
    }
}

fn divide_away_from_zero(value: i128, unit: i128) -> i128 {
    let whole = value / unit;
    if value % unit == 0 { whole } else { whole + value.signum() }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number_end =
            unsigned.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(ParseQuantityError);
        }
        let (binary, exponent, format) = parse_suffix(suffix).ok_or(ParseQuantityError)?;
        let nanos = magnitude(whole, fraction, binary, exponent);
        Ok(Self::capped(if text.starts_with('-') { -nanos } else { nanos }, format))
    }
}

/// Powers of two and ten, and the notation.
fn parse_suffix(suffix: &str) -> Option<(u32, i32, Format)> {
    if suffix.is_empty() {
        return Some((0, 0, Format::DecimalSi));
    }
    if let Some(power) = BINARY.iter().position(|known| *known == suffix) {
        return Some((u32::try_from(power).ok()? * 10, 0, Format::BinarySi));
    }
    if let Some(power) = DECIMAL.iter().position(|known| *known == suffix) {
        return Some((0, i32::try_from(power).ok()? * 3 - 9, Format::DecimalSi));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Beyond these no digit of a capped amount is left to tell apart.
    let power = digits.parse::<i32>().unwrap_or(i32::MAX).min(1000);
    Some((0, if exponent.starts_with('-') { -power } else { power }, Format::DecimalExponent))
}

/// The billionths of digits times 2^`binary` times 10^`exponent`, rounded up, at most [`MAX`].
fn magnitude(whole: &str, fraction: &str, binary: u32, exponent: i32) -> i128 {
    let digits =
        || whole.bytes().chain(fraction.bytes()).map(|byte| i128::from(byte - b'0')).skip_while(|digit| *digit == 0);
    let mut power = exponent.saturating_add(9) - i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let mut mantissa: i128 = 0;
    // What fits; further digits can only decide rounding or capping.
    let limit = if binary == 0 { 28 } else { 19 };
    let mut kept = 0;
    let mut lost = false;
    for digit in digits() {
        if kept < limit {
            mantissa = mantissa * 10 + digit;
            kept += 1;
        } else {
            lost |= digit != 0;
            power = power.saturating_add(1);
        }
    }
    let mut nanos = mantissa << binary;
    while power > 0 && nanos != 0 && nanos <= MAX {
        nanos *= 10;
        power -= 1;
    }
    while power < 0 && nanos != 0 {
        lost |= nanos % 10 != 0;
        nanos /= 10;
        power += 1;
    }
    // A remainder that was divided away completely still counts as the smallest amount.
    (nanos + i128::from(lost)).min(MAX)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos / NANOS;
        let small = self.nanos.abs() < 1024 * NANOS;
        if self.format == Format::BinarySi && !small && self.nanos % NANOS == 0 {
            let (value, power) = shorten(whole, 1024, BINARY.len() - 1);
            return write!(f, "{value}{}", BINARY[power]);
        }
        let (value, power) = shorten(self.nanos, 1000, DECIMAL.len() - 1);
        match self.format {
            Format::DecimalExponent if power != 3 => {
                write!(f, "{value}e{}", i64::try_from(power).unwrap_or_default() * 3 - 9)
            }
            Format::DecimalExponent => write!(f, "{value}"),
            Format::DecimalSi | Format::BinarySi => write!(f, "{value}{}", DECIMAL[power]),
        }
    }
}

/// Divides by `base` as often as it goes without a rest.
fn shorten(mut value: i128, base: i128, limit: usize) -> (i128, usize) {
    let mut power = 0;
    while power < limit && value % base == 0 {
        value /= base;
        power += 1;
    }
    (value, power)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.sum(other.nanos, other.format)
    }
}

impl ops::Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.sum(-other.nanos, other.format)
    }
}

impl ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl ops::SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, ops::Add::add)
    }
}

#[cfg(test)]
mod tests;
