//! Waiting longer after each failure: 10 s, doubling to 5 min, forgotten after a good while.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(5);
/// A container that ran this long has recovered.
const RECOVERED: Duration = Duration::from_mins(10);

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    since: Instant,
}

/// The delays of one pod, by whatever failed.
#[derive(Debug, Default)]
pub struct Backoff(HashMap<String, Entry>);

impl Backoff {
    /// How long to wait from `now` before `key`, which last failed at `failed`, may be tried again.
    pub fn remaining(&self, key: &str, failed: Instant, now: Instant) -> Option<Duration> {
        let entry = self.0.get(key)?;
        let until = failed + entry.delay;
        (until > now).then(|| until - now)
    }

    /// Notes an attempt that follows a failure; the next one waits longer.
    pub fn next(&mut self, key: &str, now: Instant) {
        let entry = self.0.get(key).copied();
        let delay = match entry {
            Some(entry) if now - entry.since < entry.delay + RECOVERED => (entry.delay * 2).min(LONGEST),
            _ => FIRST,
        };
        self.0.insert(key.to_owned(), Entry { delay, since: now });
    }

    /// The delay that stands for `key`.
    pub fn delay(&self, key: &str) -> Duration {
        self.0.get(key).map_or(FIRST, |entry| entry.delay)
    }

    /// The moment of the last attempt.
    pub fn last(&self, key: &str) -> Option<Instant> {
        self.0.get(key).map(|entry| entry.since)
    }

    /// Forgets `key` after a success.
    pub fn reset(&mut self, key: &str) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_five_minutes() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        assert_eq!(backoff.remaining("a", now, now), None);
        let mut seen = Vec::new();
        for _ in 0..7 {
            backoff.next("a", now);
            seen.push(backoff.remaining("a", now, now).unwrap().as_secs());
            now += backoff.delay("a");
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_long_good_run_starts_the_count_anew() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        backoff.next("a", now);
        backoff.next("a", now + Duration::from_secs(10));
        backoff.next("a", now + Duration::from_mins(20));
        assert_eq!(backoff.delay("a"), FIRST);
    }
}
