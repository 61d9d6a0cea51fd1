use super::*;
use proptest::prelude::*;

fn check(text: &str, canonical: &str) {
    assert_eq!(Quantity::canonical(text).as_deref(), Ok(canonical), "{text}");
}

#[test]
fn amounts_are_written_as_upstream_writes_them() {
    for (text, canonical) in [
        ("0", "0"),
        ("0.0Ki", "0"),
        ("1", "1"),
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1500m", "1500m"),
        ("1.5", "1500m"),
        ("1000", "1k"),
        ("1200", "1200"),
        ("100000", "100k"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000Ki", "1000Ki"),
        ("0.5Ki", "512"),
        ("1Ki", "1Ki"),
        ("1023", "1023"),
        ("100Mi", "100Mi"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e-3", "12e-3"),
        ("15e2", "1500"),
        ("1E", "1E"),
        ("-1.5", "-1500m"),
        ("+3k", "3k"),
        (".5", "500m"),
        ("5.", "5"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("1.0000000001", "1000000001n"),
        ("0.3Ki", "307200m"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775807"),
        ("1e100", "9223372036854775807"),
        ("8Ei", "9223372036854775807"),
        ("1e-100", "1e-9"),
        ("110", "110"),
        ("0.00000000000000000000000000000000000000000001", "1n"),
    ] {
        check(text, canonical);
    }
}

#[test]
fn other_text_is_refused() {
    for text in
        ["", "-", ".", "1.2.3", "x", "1x", "1 ", " 1", "1ki", "1K", "1e", "1e+", "1ee3", "--1", "0x10", "1Kii", "1mi"]
    {
        assert_eq!(text.parse::<Quantity>(), Err(ParseQuantityError), "{text}");
    }
}

#[test]
fn sums_and_comparisons_are_exact() {
    let parse = |text: &str| text.parse::<Quantity>().unwrap();
    assert_eq!((parse("100m") + parse("0.2")).to_string(), "300m");
    assert_eq!((Quantity::ZERO + parse("1Gi")).to_string(), "1Gi");
    assert_eq!((parse("1Gi") - parse("1Mi")).to_string(), "1023Mi");
    assert_eq!(parse("1000m"), parse("1"));
    assert!(parse("1Ki") > parse("1k"));
    assert_eq!((parse("1500m").value(), parse("1500m").milli_value(), parse("1n").milli_value()), (2, 1500, 1));
    assert_eq!([parse("1"), parse("2")].into_iter().sum::<Quantity>().times(3).to_string(), "9");
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(nanos in -MAX..MAX, format in 0..3) {
        let format = [Format::DecimalSi, Format::BinarySi, Format::DecimalExponent][usize::try_from(format).unwrap()];
        let amount = Quantity { nanos, format };
        let text = amount.to_string();
        let again: Quantity = text.parse().unwrap();
        prop_assert_eq!(again.nanos, nanos, "{}", text);
        prop_assert_eq!(Quantity::canonical(&again.to_string()).unwrap(), again.to_string());
    }

    #[test]
    fn garbage_never_panics(text in ".{0,24}", digits in "[-+.0-9eEKMi]{0,60}") {
        let _ = text.parse::<Quantity>();
        let _ = digits.parse::<Quantity>();
    }
}
