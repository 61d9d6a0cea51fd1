//! The five fields of a cron schedule: minute, hour, day of the month, month, day of the week.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// A schedule that cannot come true, such as the thirtieth of February, is given up after this many days.
const HORIZON: i32 = 5 * 366;
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is due; each field is a set of bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether days and weekdays are both given: then one of them is enough.
    either: bool,
}

impl Schedule {
    /// Reads `m h dom mon dow` or a word such as `@daily`; the error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}", fields.len()));
        };
        let mut on = field(weekdays, (0, 7), &DAYS)?;
        // Sunday has two numbers.
        on |= on >> 7 & 1;
        let any = |field: &str| field.starts_with(['*', '?']);
        Ok(Self {
            minutes: field(minutes, (0, 59), &[])?,
            hours: field(hours, (0, 23), &[])?,
            days: field(days, (1, 31), &[])?,
            months: field(months, (1, 12), &MONTHS)?,
            weekdays: on,
            either: !any(days) && !any(weekdays),
        })
    }

    /// The first time after a moment. Minutes that a clock leaves out are skipped.
    pub(super) fn after(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut date = moment.to_zoned(zone.clone()).date();
        for _ in 0..HORIZON {
            if self.has_day(date)
                && let Some(found) = self.within(date, moment, zone)
            {
                return Some(found);
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn within(&self, date: Date, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        let times = hours.flat_map(|hour| (0..60).filter(|minute| has(self.minutes, *minute)).map(move |m| (hour, m)));
        times
            .filter_map(|(hour, minute)| {
                let civil = date.at(hour, minute, 0, 0);
                let at = zone.to_timestamp(civil).ok()?;
                // In a gap of the clock there is no such time.
                (at.to_zoned(zone.clone()).datetime() == civil).then_some(at)
            })
            .find(|at| *at > moment)
    }

    fn has_day(&self, date: Date) -> bool {
        let weekday = match date.weekday() {
            Weekday::Sunday => 0,
            other => other.to_monday_one_offset(),
        };
        let (day, weekday) = (has(self.days, date.day()), has(self.weekdays, weekday));
        has(self.months, date.month()) && if self.either { day || weekday } else { day && weekday }
    }
}

fn has(bits: u64, number: i8) -> bool {
    bits >> number & 1 == 1
}

/// A list of numbers, names, ranges and steps as bits.
fn field(text: &str, bounds: (u32, u32), words: &[&str]) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let number = step.parse::<usize>().ok().filter(|step| *step > 0);
                (range, Some(number.ok_or_else(|| format!("{step:?} is no step"))?))
            }
            None => (part, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*" | "?", _) => bounds,
            (_, Some((from, to))) => (number(from, bounds, words)?, number(to, bounds, words)?),
            // `5/10` means from five on.
            (one, None) => {
                let one = number(one, bounds, words)?;
                (one, if step.is_some() { bounds.1 } else { one })
            }
        };
        if from > to {
            return Err(format!("{range:?} runs backwards"));
        }
        for number in (from..=to).step_by(step.unwrap_or(1)) {
            bits |= 1 << number;
        }
    }
    Ok(bits)
}

fn number(text: &str, (least, most): (u32, u32), words: &[&str]) -> Result<u32, String> {
    let position = words.iter().position(|word| text.eq_ignore_ascii_case(word));
    let number = match position.and_then(|index| u32::try_from(index).ok()) {
        // Months begin with one, days of the week with zero.
        Some(index) => index + least,
        None => text.parse().map_err(|_| format!("{text:?} is no number"))?,
    };
    let fits = (least..=most).contains(&number);
    fits.then_some(number).ok_or_else(|| format!("{number} is not within {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: &str, moment: &str, expected: &str) {
        let found = Schedule::parse(schedule).unwrap().after(moment.parse().unwrap(), &TimeZone::UTC);
        assert_eq!(found.map(|at| at.to_string()).as_deref(), Some(expected), "{schedule}");
    }

    #[test]
    fn the_next_time_follows_every_field() {
        let now = "2026-01-01T10:07:30Z"; // A Thursday.
        check("* * * * *", now, "2026-01-01T10:08:00Z");
        check("*/15 * * * *", now, "2026-01-01T10:15:00Z");
        check("5 4 * * *", now, "2026-01-02T04:05:00Z");
        check("0 0 * * sun", now, "2026-01-04T00:00:00Z");
        check("0 0 * * 7", now, "2026-01-04T00:00:00Z");
        check("30 9-17/4 * * mon-fri", now, "2026-01-01T13:30:00Z");
        check("0 0 29 feb *", now, "2028-02-29T00:00:00Z");
        check("@hourly", now, "2026-01-01T11:00:00Z");
        check("10/20 * * * *", now, "2026-01-01T10:10:00Z");
    }

    #[test]
    fn day_and_weekday_together_mean_either() {
        check("0 0 13 * fri", "2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z");
        check("0 0 13 * fri", "2026-01-10T00:00:00Z", "2026-01-13T00:00:00Z");
    }

    #[test]
    fn what_never_comes_is_given_up() {
        let never = Schedule::parse("0 0 30 2 *").unwrap();
        assert_eq!(never.after("2026-01-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC), None);
    }

    #[test]
    fn wrong_schedules_say_what_is_wrong() {
        for (text, part) in [
            ("* * * *", "5 fields"),
            ("60 * * * *", "not within"),
            ("* * * * x", "no number"),
            ("*/0 * * * *", "no step"),
            ("9-5 * * * *", "backwards"),
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
