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
        && bytes[..19]
            .iter()
            .zip(b"dddd-dd-ddTdd:dd:dd")
            .all(|(byte, shape)| match shape {
                b'd' => byte.is_ascii_digit(),
                _ => byte == shape,
            });
    if shaped && valid_rest(&bytes[19..]) {
        text.parse().ok()
    } else {
        None
    }
}

/// An optional fraction, then `Z` or `+hh:mm`.
fn valid_rest(mut rest: &[u8]) -> bool {
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_upstream_writes_them() {
        let time = parse("2026-01-02T03:04:05.678901234+01:00").unwrap();
        assert_eq!(format(time), "2026-01-02T02:04:05Z");
        assert_eq!(format_micro(time), "2026-01-02T02:04:05.678901Z");
        assert_eq!(
            format_micro(parse("2026-01-02T03:04:05Z").unwrap()),
            "2026-01-02T03:04:05.000000Z"
        );
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
