//! A request that survives the loss of a member: tried again elsewhere, never taken for done without an answer.

use super::Etcd;
use super::members::Member;
use crate::StorageError;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a small request may take before another member is asked too: a member that is gone without a word, or a
/// proposal that went to a dead leader, must not cost the whole timeout.
pub(super) const SMALL: Duration = Duration::from_secs(1);
/// The same for requests that carry many values.
pub(super) const LARGE: Duration = Duration::from_secs(4);
/// How many times the usual time a request may take before another member is asked too: when all members are slow, to
/// ask all of them makes them slower.
const USUALS: u32 = 4;
/// The longest that the usual time makes a request wait for one member.
const LONGEST_PATIENCE: Duration = Duration::from_secs(5);
/// The most tries under way at once: an etcd that is only slow must not get many times the load.
const AT_ONCE: usize = 3;
/// The pauses between tries when no member answers.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The same before the first answer of any member.
const LONGEST_FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What a failed try means for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// etcd has decided; another try would end the same way.
    Final,
    /// It certainly has no effect.
    NotDone,
    /// It may have had its effect.
    Unclear,
}

/// An answer, and whether an earlier try of the same request may have had its effect too.
pub(super) struct Answer<V> {
    pub(super) value: V,
    pub(super) repeated: bool,
}

/// What is known of the tries of one request.
struct Course {
    /// The member that was in use when the request began.
    began_with: usize,
    began: Instant,
    /// Whether that member has failed.
    refused: bool,
    next: usize,
    tries: usize,
    pause: Duration,
    longest_pause: Duration,
    unclear: bool,
    failure: StorageError,
}

impl Etcd {
    /// Runs a request until it has an answer or the request timeout is over.
    ///
    /// After `patience` without an answer, and after every failure, the next member is tried. The request must be a
    /// read or be guarded, so that of all tries at most one has an effect.
    pub(super) async fn call<V, R>(
        &self,
        patience: Duration,
        request: impl Fn(&Member) -> R,
    ) -> Result<Answer<V>, StorageError>
    where
        R: Future<Output = Result<V, etcd_client::Error>>,
    {
        let members = &self.inner.members;
        let began_with = members.current();
        let began = Instant::now();
        let deadline = began + self.inner.timeout;
        let patience = patience.max((self.inner.usual.get() * USUALS).min(LONGEST_PATIENCE));
        let mut course = Course {
            began_with,
            began,
            refused: false,
            next: began_with,
            tries: 0,
            pause: FIRST_PAUSE,
            longest_pause: longest_pause(self.inner.answered.load(Ordering::Relaxed)),
            unclear: false,
            failure: StorageError::Timeout,
        };
        let mut running = FuturesUnordered::new();
        let mut next_try = Instant::now();
        loop {
            if next_try <= Instant::now() && running.len() < AT_ONCE {
                let index = course.next;
                let answer = request(&members.all()[index]);
                running.push(async move { (index, answer.await) });
                course.next = (index + 1) % members.all().len();
                course.tries += 1;
                next_try = if members.has_several() { Instant::now() + patience } else { deadline };
            }
            tokio::select! {
                biased;
                Some((index, answer)) = running.next() => match answer {
                    Ok(value) => {
                        members.all()[index].answered();
                        members.replace((course.began_with, index), course.refused, course.began);
                        self.inner.usual.take(course.began.elapsed());
                        self.inner.answered.store(true, Ordering::Relaxed);
                        return Ok(Answer { value, repeated: course.unclear || !running.is_empty() });
                    }
                    Err(error) => next_try = course.after((index, error), running.is_empty())?,
                },
                () = sleep_until(next_try.min(deadline)) => {
                    if Instant::now() >= deadline {
                        return Err(if running.is_empty() { course.failure } else { StorageError::Timeout });
                    }
                    if running.len() == AT_ONCE {
                        next_try = deadline;
                    }
                }
            }
        }
    }

    /// [`Etcd::call`] for requests that may be repeated without a thought.
    pub(super) async fn ask<V, R>(&self, patience: Duration, request: impl Fn(&Member) -> R) -> Result<V, StorageError>
    where
        R: Future<Output = Result<V, etcd_client::Error>>,
    {
        self.call(patience, request).await.map(|answer| answer.value)
    }
}

impl Course {
    /// When to try again after a failure.
    ///
    /// # Errors
    /// The failure itself if it is final.
    fn after(&mut self, (index, error): (usize, etcd_client::Error), idle: bool) -> Result<Instant, StorageError> {
        self.refused |= index == self.began_with;
        match fate(&error) {
            Fate::Final => return Err(error.into()),
            Fate::NotDone => {}
            Fate::Unclear => self.unclear = true,
        }
        tracing::debug!(%error, tries = self.tries, "etcd member failed, trying the next");
        self.failure = error.into();
        // Every member once without a rest, then at a pace.
        if self.next != self.began_with || !idle {
            return Ok(Instant::now());
        }
        let rest = self.pause;
        self.pause = (rest * 2).min(self.longest_pause);
        Ok(Instant::now() + rest)
    }
}

/// The time that answers usually take, where the last few count most.
#[derive(Debug, Default)]
pub(super) struct Usual(AtomicU64);

impl Usual {
    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// Concurrent answers may lose one another: it is an estimate.
    fn take(&self, took: Duration) {
        let (old, new) = (self.0.load(Ordering::Relaxed), u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.0.store(old - old / 8 + new / 8, Ordering::Relaxed);
    }
}

fn longest_pause(answered: bool) -> Duration {
    if answered { LONGEST_PAUSE } else { LONGEST_FIRST_PAUSE }
}

fn fate(error: &etcd_client::Error) -> Fate {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return match error {
            etcd_client::Error::TransportError(error) if never_sent(error) => Fate::NotDone,
            etcd_client::Error::TransportError(_)
            | etcd_client::Error::IoError(_)
            | etcd_client::Error::WatchError(_) => Fate::Unclear,
            _ => Fate::Final,
        };
    };
    // What etcd says when a request did not get as far as the log.
    let refused = ["no leader", "leader changed", "raft proposal dropped", "too many requests"];
    if never_sent(status) || refused.iter().any(|words| status.message().contains(words)) {
        return Fate::NotDone;
    }
    match status.code() {
        tonic::Code::ResourceExhausted => Fate::Final,
        tonic::Code::Unavailable
        | tonic::Code::Cancelled
        | tonic::Code::Unknown
        | tonic::Code::Aborted
        | tonic::Code::DeadlineExceeded
        | tonic::Code::Internal => Fate::Unclear,
        _ => Fate::Final,
    }
}

/// Whether there was not even a connection.
fn never_sent(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<tonic::ConnectError>)
}

#[cfg(test)]
mod tests;
