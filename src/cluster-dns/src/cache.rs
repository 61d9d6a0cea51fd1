//! Answers of other servers, kept for a short time and in a bounded number.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

/// How many answers are kept.
const CAPACITY: usize = 10_000;
/// The longest time for which one is kept.
const LONGEST: Duration = Duration::from_secs(30);

/// What an answer was asked with: the name in lower case, and the type.
pub type Key = (Name, RecordType);

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    kept: Mutex<HashMap<Key, Kept>>,
}

#[derive(Debug)]
struct Kept {
    message: Message,
    since: Instant,
    until: Instant,
}

impl Cache {
    /// The kept answer, with the time to live that is left of each record.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Message> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.get(key)?;
        if kept.until <= now {
            all.remove(key);
            return None;
        }
        let age = u32::try_from(now.duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        let mut message = kept.message.clone();
        let records = message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals);
        for record in records {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(message)
    }

    /// Keeps an answer as long as its records allow; failures are not kept.
    pub fn put(&self, key: Key, message: &Message, now: Instant) {
        let Some(life) = life(message) else { return };
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= CAPACITY && !all.contains_key(&key) {
            all.retain(|_, kept| kept.until > now);
            // All still good: any one goes.
            if all.len() >= CAPACITY
                && let Some(victim) = all.keys().next().cloned()
            {
                all.remove(&victim);
            }
        }
        all.insert(key, Kept { message: message.clone(), since: now, until: now + life });
    }
}

/// How long an answer may be believed; `None` if not at all.
fn life(message: &Message) -> Option<Duration> {
    let code = message.metadata.response_code;
    if message.metadata.truncation || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let shortest = if message.answers.is_empty() {
        // RFC 2308: the smaller of the authority's own life and its minimum.
        message.authorities.iter().find_map(|r| match &r.data {
            RData::SOA(soa) => Some(r.ttl.min(soa.minimum)),
            _ => None,
        })
    } else {
        message.answers.iter().map(|r| r.ttl).min()
    };
    let life = Duration::from_secs(u64::from(shortest?)).min(LONGEST);
    (!life.is_zero()).then_some(life)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::Record;

    use super::*;

    fn key(name: &str) -> Key {
        (Name::from_ascii(name).unwrap(), RecordType::A)
    }

    fn message(ttl: u32) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        let name = Name::from_ascii("a.example.").unwrap();
        message.add_answer(Record::from_rdata(name, ttl, RData::from(std::net::IpAddr::from([192, 0, 2, 1]))));
        message
    }

    #[test]
    fn the_time_to_live_runs_down() {
        let (cache, now) = (Cache::default(), Instant::now());
        cache.put(key("a.example."), &message(20), now);
        let later = cache.get(&key("a.example."), now + Duration::from_secs(15)).unwrap();
        assert_eq!(later.answers[0].ttl, 5);
        assert!(cache.get(&key("a.example."), now + Duration::from_secs(20)).is_none());
    }

    #[test]
    fn failures_and_answers_without_life_are_not_kept() {
        let (cache, now) = (Cache::default(), Instant::now());
        cache.put(key("zero."), &message(0), now);
        let mut failed = message(20);
        failed.metadata.response_code = ResponseCode::ServFail;
        cache.put(key("failed."), &failed, now);
        assert!(cache.get(&key("zero."), now).is_none() && cache.get(&key("failed."), now).is_none());
    }

    #[test]
    fn it_never_grows_beyond_its_bound() {
        let (cache, now) = (Cache::default(), Instant::now());
        for i in 0..CAPACITY + 10 {
            cache.put(key(&format!("n{i}.example.")), &message(20), now);
        }
        assert_eq!(cache.kept.lock().unwrap().len(), CAPACITY);
    }
}
