//! Amounts as Kubernetes writes them (`100m`, `1Gi`, `1e3`), exact, rounded up as upstream does.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANO: i128 = 1_000_000_000;

/// Whole units, rounded up: bytes, pods.
pub fn units(quantity: &Quantity) -> Option<i64> {
    i64::try_from(ceil(nanos(&quantity.0)?, NANO)).ok()
}

/// Thousandths, rounded up: CPU.
pub fn millis(quantity: &Quantity) -> Option<i64> {
    i64::try_from(ceil(nanos(&quantity.0)?, NANO / 1000)).ok()
}

fn ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

fn nanos(text: &str) -> Option<i128> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let (numerator, denominator) = scale(suffix)?;
    let denominator = denominator.checked_mul(10_i128.checked_pow(u32::try_from(part.len()).ok()?)?)?;
    let scaled = digits.checked_mul(numerator)?.checked_mul(NANO)?;
    Some(sign * ceil(scaled, denominator))
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |exponent: u32| Some((1024_i128.pow(exponent), 1));
    let decimal = |exponent: u32| Some((1000_i128.pow(exponent), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_and_rounded_up() {
        let cases = [
            ("1", 1, 1000),
            ("100m", 1, 100),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("1e3", 1000, 1_000_000),
            ("0", 0, 0),
        ];
        for (text, whole, thousandths) in cases {
            let quantity = Quantity(text.to_owned());
            assert_eq!((units(&quantity), millis(&quantity)), (Some(whole), Some(thousandths)), "{text}");
        }
        assert_eq!(millis(&Quantity("1u".to_owned())), Some(1));
        for wrong in ["", "x", "1.2.3", "1Zi", "."] {
            assert_eq!(units(&Quantity(wrong.to_owned())), None, "{wrong}");
        }
    }
}
