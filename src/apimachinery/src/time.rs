//! Times as the API writes them. Nobody here asks what time it is: that is the caller's argument.

use jiff::Timestamp;

/// `metav1.Time`: RFC 3339 in UTC, whole seconds.
pub fn format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: RFC 3339 in UTC, always six digits of the second.
pub fn format_micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads an RFC 3339 time with any offset and any precision. Unlike the library, it insists on `T`, seconds and an offset.
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20
        && bytes[..19].iter().zip(b"dddd-dd-ddTdd:dd:dd").all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            _ => byte == shape,
        });
    if shaped && valid_rest(&bytes[19..]) { text.parse().ok() } else { None }
}

/// An optional fraction, then `Z` or `+hh:mm`.
fn valid_rest(mut rest: &[u8]) -> bool {
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    match rest {
        b"Z" => true,
        [b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

/// Reads a duration as Go writes it, such as `1h30m` or `1.5s`, into nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Some(0);
    }
    let mut rest = unsigned;
    let mut total = 0_i128;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(end);
        let (unit, scale) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || number.len() > 24 {
            return None;
        }
        let digits: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total += digits * i128::from(*scale);
        if !fraction.is_empty() {
            let part: i128 = fraction.parse().ok()?;
            total += part * i128::from(*scale) / 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        }
        rest = &after[unit.len()..];
    }
    if unsigned.is_empty() {
        return None;
    }
    i64::try_from(if text.starts_with('-') { -total } else { total }).ok()
}

/// Longer units first where one is the start of another.
const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds as Go writes a duration: `1h30m0s`, `1.5s`, `20ms`.
pub fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    let decimal = |unit: u64| {
        let (whole, fraction) = (size / unit, size % unit);
        let width = unit.ilog10() as usize;
        let fraction = format!("{fraction:0width$}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
    };
    match size {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(1_000_000)),
        _ => {
            let minutes = size / 60_000_000_000;
            let seconds = {
                let size = size % 60_000_000_000;
                let fraction = format!("{:09}", size % 1_000_000_000);
                let fraction = fraction.trim_end_matches('0');
                if fraction.is_empty() {
                    format!("{}s", size / 1_000_000_000)
                } else {
                    format!("{}.{fraction}s", size / 1_000_000_000)
                }
            };
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_upstream_writes_them() {
        let time = parse("2026-01-02T03:04:05.678901234+01:00").unwrap();
        assert_eq!(format(time), "2026-01-02T02:04:05Z");
        assert_eq!(format_micro(time), "2026-01-02T02:04:05.678901Z");
        assert_eq!(format_micro(parse("2026-01-02T03:04:05Z").unwrap()), "2026-01-02T03:04:05.000000Z");
    }

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for text in ["0s", "1ns", "1.5µs", "20ms", "1.5s", "1m0s", "1h30m0.25s", "-2h0m1s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("1h30m").map(format_duration).as_deref(), Some("1h30m0s"));
        for text in ["", "-", "1", "s", "1x", "1.s.", "99999999999h", "1 s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05Z",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05.Z",
            "x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
