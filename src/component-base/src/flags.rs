//! The conventions of Kubernetes' flags on top of clap.
//!
//! A boolean flag accepts `--flag`, `--flag=true` and `--flag=false`; declare it as
//! `#[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = clap::ArgAction::Set)]`.
//! A list accepts `--flag=a,b` and repetition: `#[arg(long, value_delimiter = ',')]`. Durations are Go's: [`duration`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::version::VERSION_LINE;

/// Parses the arguments of a program (`args[0]` is its name).
///
/// `--version` and `--help` are answered on standard output; a wrong flag is told on standard error. In both cases the
/// error value is the exit code to end with.
pub fn parse<A: Parser>(args: Vec<OsString>) -> Result<A, ExitCode> {
    if args.iter().skip(1).any(|arg| arg == "--version" || arg == "--version=true") {
        let told = writeln!(std::io::stdout(), "{VERSION_LINE}");
        return Err(if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    A::try_parse_from(args).map_err(|error| {
        let code = if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        // Nobody is left to tell when standard error itself is closed.
        let _ = error.print();
        code
    })
}

/// Reads a boolean as Go does.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Reads a duration in Go's form: `1m30s`, `300ms`, `1.5h`, `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let wrong = || format!("{text:?} is not a duration such as 10s, 1m30s or 500ms");
    let mut rest = text;
    let mut total = 0.0_f64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

/// Writes a duration in Go's form.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, duration.subsec_millis()) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, millis) if rest == 0 => format!("{millis}ms"),
        (0, 0, millis) => format!("{rest}.{millis:03}s"),
        (0, minutes, _) => format!("{minutes}m{rest}s"),
        (hours, minutes, _) => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// Reads `a=1,b=2`; an empty text is an empty map.
pub fn key_values(text: &str) -> Result<BTreeMap<String, String>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not key=value"))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser, Debug)]
    struct Sample {
        #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_parser = boolean, action = clap::ArgAction::Set)]
        leader_elect: bool,
        #[arg(long, value_delimiter = ',')]
        controllers: Vec<String>,
        #[arg(long, value_parser = duration, default_value = "10s")]
        period: Duration,
        #[command(flatten)]
        logging: crate::logging::LoggingArgs,
    }

    fn sample(args: &[&str]) -> Result<Sample, ExitCode> {
        parse(std::iter::once("sample").chain(args.iter().copied()).map(OsString::from).collect())
    }

    #[test]
    fn a_boolean_flag_may_stand_alone_or_carry_a_value() {
        assert!(sample(&["--leader-elect"]).unwrap().leader_elect);
        assert!(sample(&["--leader-elect=true"]).unwrap().leader_elect);
        assert!(!sample(&["--leader-elect=false"]).unwrap().leader_elect);
        assert!(!sample(&[]).unwrap().leader_elect);
    }

    #[test]
    fn a_list_is_split_at_commas() {
        assert_eq!(sample(&["--controllers=*,bootstrapsigner"]).unwrap().controllers, ["*", "bootstrapsigner"]);
    }

    #[test]
    fn verbosity_has_a_short_and_a_long_form() {
        assert_eq!(sample(&["--v=4"]).unwrap().logging.verbosity, 4);
        assert_eq!(sample(&["-v", "2"]).unwrap().logging.verbosity, 2);
    }

    #[test]
    fn an_unknown_flag_is_an_error() {
        assert!(sample(&["--no-such-flag"]).is_err());
    }

    #[test]
    fn durations_are_gos() {
        for (text, millis) in
            [("10s", 10_000), ("1m30s", 90_000), ("300ms", 300), ("1.5h", 5_400_000), ("0", 0), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "1x", "-1s", "1m 3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "1m30s");
        assert_eq!(sample(&["--period=2m"]).unwrap().period, Duration::from_mins(2));
    }

    #[test]
    fn key_values_refuse_a_missing_equals_sign() {
        assert_eq!(key_values("a=1,b=").unwrap().len(), 2);
        assert!(key_values("a").is_err());
        assert!(key_values("").unwrap().is_empty());
    }
}
