//! Single operations, many at once over one connection, as a controller works.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;

use super::{Samples, number};
use crate::client::{Line, Question};
use crate::config::Config;
use crate::objects::{self, Encoding, NAMESPACE};
use crate::subject::Subject;

/// Operations in flight.
const IN_FLIGHT: usize = 16;

/// Creates, reads and updates.
pub(super) async fn measure(
    subject: &Subject,
    line: &Line,
    config: &Config,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let count = config.operations;
    for (index, encoding) in Encoding::ALL.into_iter().enumerate() {
        let name = encoding.name();
        let range = index * count..(index + 1) * count;
        let spent = Spent::on(subject, create(line, config, encoding, range.clone())).await?;
        spent.tell(samples, &format!("create, {name}"), count);
        samples.told(format!("create, {name}: CPU of etcd"), "µs", per(spent.etcd, count));
        let spent = Spent::on(subject, get(line, range.clone(), encoding, "")).await?;
        spent.tell(samples, &format!("get, {name}"), count);
        let spent = Spent::on(subject, get(line, range.clone(), encoding, "?resourceVersion=0")).await?;
        spent.tell(samples, &format!("get from cache, {name}"), count);
        let spent = Spent::on(subject, update(line, config, encoding, range)).await?;
        spent.tell(samples, &format!("update, {name}"), count);
    }
    Ok(())
}

/// What some work cost.
pub(super) struct Spent {
    pub(super) time: Duration,
    pub(super) server: Duration,
    etcd: Duration,
}

impl Spent {
    /// Does the work and looks at the clocks around it.
    pub(super) async fn on(subject: &Subject, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Self> {
        let (server, etcd) = (subject.server.cpu()?, subject.etcd.cpu()?);
        let begun = Instant::now();
        work.await?;
        let time = begun.elapsed();
        Ok(Self {
            time,
            server: subject.server.cpu()?.saturating_sub(server),
            etcd: subject.etcd.cpu()?.saturating_sub(etcd),
        })
    }

    fn tell(&self, samples: &mut Samples, name: &str, count: usize) {
        samples.less(format!("{name}: CPU of the server"), "µs", per(self.server, count));
        samples.more(format!("{name}: rate, {IN_FLIGHT} in flight"), "/s", number(count) / self.time.as_secs_f64());
    }
}

/// The share of one of `count`, in microseconds.
pub(super) fn per(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / number(count.max(1))
}

/// The names of all objects.
pub(super) fn list_of_names() -> Question {
    Question::get(path(""), Encoding::Json)
}

/// The path of an object, or of all.
pub(super) fn path(name: &str) -> String {
    let slash = if name.is_empty() { "" } else { "/" };
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps{slash}{name}")
}

pub(super) fn name_of(number: usize) -> String {
    format!("settings-{number:06}")
}

/// Creates objects by their numbers.
pub(super) async fn create(
    line: &Line,
    config: &Config,
    encoding: Encoding,
    range: Range<usize>,
) -> anyhow::Result<()> {
    let size = config.size;
    in_flight(line, range, move |number| Question {
        method: Method::POST,
        path: path(""),
        body: objects::config_map(&name_of(number), 1, size, encoding),
        encoding,
    })
    .await
}

async fn get(line: &Line, range: Range<usize>, encoding: Encoding, query: &'static str) -> anyhow::Result<()> {
    in_flight(line, range, move |number| Question::get(path(&name_of(number)) + query, encoding)).await
}

async fn update(line: &Line, config: &Config, encoding: Encoding, range: Range<usize>) -> anyhow::Result<()> {
    let size = config.size;
    in_flight(line, range, move |number| put(number, 2, size, encoding)).await
}

/// Replaces an object.
pub(super) fn put(number: usize, version: usize, size: usize, encoding: Encoding) -> Question {
    let name = name_of(number);
    let body = objects::config_map(&name, version, size, encoding);
    Question { method: Method::PUT, path: path(&name), body, encoding }
}

/// Asks a question for each number, [`IN_FLIGHT`] at once.
pub(super) async fn in_flight(
    line: &Line,
    range: Range<usize>,
    question: impl Fn(usize) -> Question + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let (next, question) = (Arc::new(AtomicUsize::new(range.start)), Arc::new(question));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (line, next, question) = (line.clone(), Arc::clone(&next), Arc::clone(&question));
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= range.end {
                    return anyhow::Ok(());
                }
                line.size(&question(number)).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
