//! The schedules of cron jobs: five fields, or one of the words that stand for them.

/// Numbers a field may have, and the names for them.
struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { low: 0, high: 59, names: &[] },
    Field { low: 0, high: 23, names: &[] },
    Field { low: 1, high: 31, names: &[] },
    Field {
        low: 1,
        high: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// Checks a schedule.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if let Some(word) = schedule.strip_prefix('@') {
        return check_word(schedule, word);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields.iter().zip(&FIELDS).try_for_each(|(text, field)| text.split(',').try_for_each(|range| field.check(range)))
}

fn check_word(schedule: &str, word: &str) -> Result<(), String> {
    let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
    match word.strip_prefix("every ") {
        Some(duration) if is_duration(duration) => Ok(()),
        Some(_) => Err(format!("failed to parse duration {schedule}")),
        None if known.contains(&word) => Ok(()),
        None => Err(format!("unrecognized descriptor: {schedule}")),
    }
}

/// `1h30m`, `90s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
        let unit = units.iter().filter(|unit| digits.starts_with(**unit)).max_by_key(|unit| unit.len());
        match unit {
            Some(unit) if digits.len() < rest.len() => rest = &digits[unit.len()..],
            _ => return false,
        }
    }
    !text.is_empty()
}

impl Field {
    fn check(&self, text: &str) -> Result<(), String> {
        let (range, step) = text.split_once('/').map_or((text, None), |(range, step)| (range, Some(step)));
        if step.is_some_and(|step| step.contains('/')) {
            return Err(format!("too many slashes: {text}"));
        }
        let (low, high) = match range {
            "*" | "?" => (self.low, self.high),
            _ => match range.split_once('-') {
                Some((_, high)) if high.contains('-') => return Err(format!("too many hyphens: {text}")),
                Some((low, high)) => (self.number(low)?, self.number(high)?),
                None => {
                    let low = self.number(range)?;
                    (low, if step.is_some() { self.high } else { low })
                }
            },
        };
        if low < self.low {
            return Err(format!("beginning of range ({low}) below minimum ({}): {text}", self.low));
        }
        if high > self.high {
            return Err(format!("end of range ({high}) above maximum ({}): {text}", self.high));
        }
        if low > high {
            return Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}"));
        }
        match step.map(plain) {
            Some(Err(wrong)) => Err(wrong),
            Some(Ok(0)) => Err(format!("step of range should be a positive number: {text}")),
            _ => Ok(()),
        }
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let name = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        match name.and_then(|position| u32::try_from(position).ok()) {
            Some(position) => Ok(position + self.low),
            None => plain(text),
        }
    }
}

fn plain(text: &str) -> Result<u32, String> {
    if text.starts_with('-') {
        return Err(format!("negative number ({text}) not allowed: {text}"));
    }
    text.parse().map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
}

/// Checks the shape of the name of a time zone; whether there is such a zone only a database of them knows.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_zone(zone: &str) -> Result<(), String> {
    if zone.is_empty() {
        return Err("timeZone must be nil or non-empty string".to_owned());
    }
    if zone.eq_ignore_ascii_case("local") {
        let told = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        return Err(told.to_owned());
    }
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "_+-".contains(letter);
    let part =
        |part: &str| part.chars().next().is_some_and(|first| first.is_ascii_alphabetic()) && part.chars().all(letter);
    if zone.split('/').all(part) { Ok(()) } else { Err(format!("unknown time zone {zone}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_cron_reads_them() {
        for good in
            ["*/5 * * * *", "0 0 1-5 * MON", "0,30 8-18/2 ? jan-mar 0", "@daily", "@every 1h30m", "5/15 * * * *"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let wrong = |schedule: &str, expected: &str| assert_eq!(check(schedule), Err(expected.to_owned()));
        wrong("* *", "expected exactly 5 fields, found 2: [* *]");
        wrong("60 * * * *", "end of range (60) above maximum (59): 60");
        wrong("* * 0 * *", "beginning of range (0) below minimum (1): 0");
        wrong("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1");
        wrong("*/0 * * * *", "step of range should be a positive number: */0");
        wrong("* * * * 7", "end of range (7) above maximum (6): 7");
        wrong("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax");
        wrong("@often", "unrecognized descriptor: @often");
        wrong("@every soon", "failed to parse duration @every soon");
    }

    #[test]
    fn zones_are_named_as_the_database_names_them() {
        for good in ["Europe/Berlin", "UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires"] {
            assert_eq!(check_zone(good), Ok(()), "{good}");
        }
        for bad in ["", "Local", "/etc/passwd", "a/../b", "Europe/Ber lin"] {
            assert!(check_zone(bad).is_err(), "{bad}");
        }
    }
}
