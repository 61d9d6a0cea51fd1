//! When to ask again somebody who did not answer.

use std::time::Duration;

use tokio::time::Instant;

/// The longest rest before the first answer: a cluster that starts is a row of programs that wait for each other.
const BEFORE_FIRST_ANSWER: Duration = Duration::from_millis(100);
/// The first rest once somebody who had answered fails; it doubles from try to try.
const FIRST_REST: Duration = Duration::from_millis(50);
/// After this long without any answer nothing is starting, something is broken.
const STARTING: Duration = Duration::from_mins(10);

/// The rests between tries: short until the first answer, then longer from failure to failure.
///
/// Every rest is shortened at random by up to a half, so that many who wait for one do not come all at once.
#[derive(Debug, Clone)]
pub struct Retry {
    longest: Duration,
    rest: Duration,
    /// Until when the first answer is waited for; `None` once it came.
    starting: Option<Instant>,
}

impl Retry {
    /// Nobody has answered yet; `longest` holds for rests after the first answer.
    pub fn new(longest: Duration) -> Self {
        Self { longest, rest: FIRST_REST.min(longest), starting: Some(Instant::now() + STARTING) }
    }

    /// It works: the next failure is the first of its kind.
    pub fn answered(&mut self) {
        self.there();
        self.rest = FIRST_REST.min(self.longest);
    }

    /// The other side is there, though this may not work: from now on rests grow.
    pub fn there(&mut self) {
        self.starting = None;
    }

    /// How long to rest after a failure.
    pub fn rest(&mut self) -> Duration {
        let starting = self.starting.is_some_and(|until| Instant::now() < until);
        let full = if starting { BEFORE_FIRST_ANSWER.min(self.longest) } else { self.rest };
        if !starting {
            self.rest = (self.rest * 2).min(self.longest);
        }
        full.mul_f64(1.0 - rand::random::<f64>() / 2.0)
    }

    /// Rests after a failure.
    pub async fn sleep(&mut self) {
        tokio::time::sleep(self.rest()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn until_the_first_answer_no_rest_is_longer_than_a_tenth_of_a_second() {
        let mut retry = Retry::new(LONGEST);
        for _ in 0..1000 {
            let rest = retry.rest();
            assert!(rest <= BEFORE_FIRST_ANSWER && rest >= BEFORE_FIRST_ANSWER / 2, "{rest:?}");
        }
        tokio::time::advance(STARTING).await;
        assert!((0..20).any(|_| retry.rest() > BEFORE_FIRST_ANSWER), "what is broken for long is asked less");
    }

    #[tokio::test(start_paused = true)]
    async fn who_went_away_is_asked_less_and_less_until_it_answers_again() {
        let mut retry = Retry::new(LONGEST);
        retry.answered();
        let rests: Vec<Duration> = (0..12).map(|_| retry.rest()).collect();
        assert!(rests[0] <= FIRST_REST && rests[11] >= LONGEST / 2, "{rests:?}");
        assert!(rests.iter().all(|rest| *rest <= LONGEST), "{rests:?}");
        retry.there();
        assert!(retry.rest() >= LONGEST / 2, "to be there is not to answer");
        retry.answered();
        assert!(retry.rest() <= FIRST_REST);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_wait_do_not_come_at_once() {
        let mut retry = Retry::new(LONGEST);
        let first = retry.rest();
        assert!((0..100).any(|_| retry.rest() != first));
    }
}
