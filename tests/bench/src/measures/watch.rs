//! Many watchers of the same objects: what one delivered event costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Notify;
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
    for (connections, encoding) in [
        (config.connections, Encoding::Json),
        (config.connections, Encoding::Protobuf),
        (config.watchers, Encoding::Json),
    ] {
        let crowd = Crowd::gather(subject, line, config, (connections, encoding)).await?;
        let spent = Spent::on(subject, crowd.see_updates(line, config, encoding)).await?;
        let delivered = config.watchers * config.events;
        let name = format!("watch, {}, {} watchers on {connections} connections", encoding.name(), config.watchers);
        samples.less(format!("{name}: CPU of the server per event"), "µs", per(spent.server, delivered));
        samples.more(format!("{name}: rate"), "/s", number(delivered) / spent.time.as_secs_f64());
        crowd.leave().await;
    }
    Ok(())
}

/// Everybody who watches.
struct Crowd {
    seen: Arc<Seen>,
    watchers: JoinSet<anyhow::Result<()>>,
}

#[derive(Default)]
struct Seen {
    events: AtomicUsize,
    /// Told when `events` has reached what was waited for.
    wanted: AtomicUsize,
    reached: Notify,
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
        seen.wanted.store(config.watchers * config.events, Ordering::SeqCst);
        let mut watchers = JoinSet::new();
        let mut lines = Vec::new();
        for _ in 0..connections.max(1) {
            lines.push(subject.connect().await?);
        }
        for index in 0..config.watchers {
            let body = lines[index % lines.len()].open(&question).await?.into_body();
            watchers.spawn(follow(body, encoding, Arc::clone(&seen)));
        }
        Ok(Self { seen, watchers })
    }

    /// Writes and waits until everybody has seen every write.
    async fn see_updates(&self, line: &Line, config: &Config, encoding: Encoding) -> anyhow::Result<()> {
        let reached = self.seen.reached.notified();
        let (size, objects) = (config.size, config.events.min(config.objects));
        let version = 100 + rand_version();
        single::in_flight(line, 0..config.events, move |number| {
            single::put(number % objects, version + number, size, encoding)
        })
        .await?;
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        let seen = self.seen.events.load(Ordering::SeqCst);
        waited.map_err(|_| anyhow::anyhow!("after {PATIENCE:?} only {seen} events were delivered"))
    }

    async fn leave(mut self) {
        self.watchers.shutdown().await;
    }
}

/// A number that no earlier crowd has seen, so that every update changes something.
fn rand_version() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(100_000, Ordering::SeqCst)
}

async fn follow(mut body: Incoming, encoding: Encoding, seen: Arc<Seen>) -> anyhow::Result<()> {
    let mut counter = Counter::new(encoding);
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the watch broke")?;
        let events = frame.data_ref().map_or(0, |piece| counter.count(piece));
        let total = seen.events.fetch_add(events, Ordering::SeqCst) + events;
        if total >= seen.wanted.load(Ordering::SeqCst) {
            seen.reached.notify_waiters();
        }
    }
    Ok(())
}
