//! Many watchers of the same objects: what one delivered event costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::task::JoinSet;

use super::single::{self, Spent, per};
use super::{Samples, number};
use crate::client::{Line, Question};
use crate::config::Config;
use crate::objects::{Counter, Encoding};
use crate::subject::Subject;

/// How long the slowest server may take to deliver everything.
const PATIENCE: Duration = Duration::from_mins(3);

/// Watchers that share connections, then watchers with connections of their own.
pub(super) async fn measure(
    subject: &Subject,
    line: &Line,
    config: &Config,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    super::fill(line, config, config.events.min(config.objects)).await?;
    let shared = config.connections;
    for (connections, encoding, pace) in [
        (shared, Encoding::Json, Pace::OneByOne),
        (shared, Encoding::Protobuf, Pace::OneByOne),
        (config.watchers, Encoding::Json, Pace::OneByOne),
        (shared, Encoding::Json, Pace::Burst),
        (shared, Encoding::Protobuf, Pace::Burst),
        (config.watchers, Encoding::Json, Pace::Burst),
    ] {
        let crowd = Crowd::gather(subject, line, config, (connections, encoding)).await?;
        let spent = Spent::on(subject, crowd.see_updates(line, config, (encoding, pace))).await?;
        let delivered = crowd.seen.events.load(Ordering::SeqCst);
        let missed = crowd.seen.missed.load(Ordering::SeqCst);
        let (pace, watchers) = (pace.name(), config.watchers);
        let name = format!("watch, {}, {pace}, {watchers} on {connections} connections", encoding.name());
        samples.less(format!("{name}: CPU of the server per event"), "µs", per(spent.server, delivered));
        samples.more(format!("{name}: rate"), "/s", number(delivered) / spent.time.as_secs_f64());
        if missed > 0 {
            samples.told(format!("{name}: events missed by watchers that were closed"), "", number(missed));
        }
        crowd.leave().await;
    }
    Ok(())
}

/// How fast things change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// The next write comes when everybody has seen the last one.
    OneByOne,
    /// As fast as writes are taken, so that events may travel together.
    Burst,
}

impl Pace {
    fn name(self) -> &'static str {
        match self {
            Self::OneByOne => "one by one",
            Self::Burst => "in a burst",
        }
    }
}

/// Everybody who watches.
struct Crowd {
    seen: Arc<Seen>,
    watchers: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    events: AtomicUsize,
    /// Events that watchers will not see because the server closed them, as servers do with slow ones.
    missed: AtomicUsize,
    /// Told when `events` has reached what was waited for.
    wanted: AtomicUsize,
    reached: Notify,
}

impl Seen {
    /// Completes when so many events have been seen since the beginning.
    fn expect(&self, wanted: usize) -> Notified<'_> {
        self.wanted.store(wanted, Ordering::SeqCst);
        self.reached.notified()
    }

    async fn wait(&self, reached: Notified<'_>) -> anyhow::Result<()> {
        if self.is_reached() {
            return Ok(());
        }
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        let seen = self.events.load(Ordering::SeqCst);
        waited.map_err(|_| anyhow::anyhow!("after {PATIENCE:?} only {seen} events were delivered"))
    }

    fn is_reached(&self) -> bool {
        let over = self.events.load(Ordering::SeqCst) + self.missed.load(Ordering::SeqCst);
        over >= self.wanted.load(Ordering::SeqCst)
    }

    fn count(&self, counter: &AtomicUsize, events: usize) {
        counter.fetch_add(events, Ordering::SeqCst);
        if self.is_reached() {
            self.reached.notify_waiters();
        }
    }
}

impl Crowd {
    async fn gather(
        subject: &Subject,
        line: &Line,
        config: &Config,
        (connections, encoding): (usize, Encoding),
    ) -> anyhow::Result<Self> {
        let list = line.whole(&Question::get(single::path("") + "?limit=1", Encoding::Json)).await?;
        let list: serde_json::Value = serde_json::from_slice(&list)?;
        let version = list["metadata"]["resourceVersion"].as_str().context("a list without a version")?;
        let query = format!("?watch=1&resourceVersion={version}&timeoutSeconds=600");
        let question = Question::get(single::path("") + &query, encoding);
        let seen = Arc::new(Seen::default());
        seen.wanted.store(usize::MAX, Ordering::SeqCst);
        let mut watchers = JoinSet::new();
        let mut lines = Vec::new();
        for _ in 0..connections.max(1) {
            lines.push(subject.connect().await?);
        }
        for index in 0..config.watchers {
            let body = lines[index % lines.len()].open(&question).await?.into_body();
            watchers.spawn(follow(body, encoding, config.events, Arc::clone(&seen)));
        }
        Ok(Self { seen, watchers })
    }

    /// Writes and waits until everybody has seen every write.
    async fn see_updates(
        &self,
        line: &Line,
        config: &Config,
        (encoding, pace): (Encoding, Pace),
    ) -> anyhow::Result<()> {
        let (size, objects) = (config.size, config.events.min(config.objects));
        let version = new_version();
        let question = move |number: usize| single::put(number % objects, version + number, size, encoding);
        match pace {
            Pace::Burst => {
                let reached = self.seen.expect(config.watchers * config.events);
                single::in_flight(line, 0..config.events, question).await?;
                self.seen.wait(reached).await
            }
            Pace::OneByOne => {
                for number in 0..config.events {
                    let reached = self.seen.expect(config.watchers * (number + 1));
                    line.size(&question(number)).await?;
                    self.seen.wait(reached).await?;
                }
                Ok(())
            }
        }
    }

    async fn leave(mut self) {
        self.watchers.shutdown().await;
    }
}

/// A number that no earlier crowd has seen, so that every update changes something.
fn new_version() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    100 + NEXT.fetch_add(100_000, Ordering::SeqCst)
}

async fn follow(mut body: Incoming, encoding: Encoding, expected: usize, seen: Arc<Seen>) {
    let (mut counter, mut got) = (Counter::new(encoding), 0);
    while let Some(Ok(frame)) = body.frame().await {
        let events = frame.data_ref().map_or(0, |piece| counter.count(piece));
        got += events;
        seen.count(&seen.events, events);
    }
    seen.count(&seen.missed, expected.saturating_sub(got));
}
