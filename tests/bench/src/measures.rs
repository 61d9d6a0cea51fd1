//! The list of what is measured, in the order it happens.

mod informers;
mod list;
mod single;
mod watch;

use crate::client::Line;
use crate::config::Config;
use crate::subject::Subject;

/// Whether less or more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less is better.
    Less,
    /// More is better.
    More,
    /// Told for understanding, compared with nothing.
    Told,
}

/// One measured number.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was measured.
    pub name: String,
    /// The unit of the value.
    pub unit: &'static str,
    /// Whether less or more is better.
    pub better: Better,
    /// The number.
    pub value: f64,
}

/// Measures one running server.
///
/// # Errors
/// If the server fails at something.
pub async fn all(subject: &mut Subject, config: &Config) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Samples::default();
    samples.less("ready, from its start", "ms", subject.ready.as_secs_f64() * 1000.0);
    let size = std::fs::metadata(&subject.program)?.len();
    samples.less("binary size", "MiB", mebibytes(size));
    let line = subject.connect().await?;
    if config.wants("idle") {
        idle(subject, config, &mut samples).await?;
    }
    if config.wants("single") {
        single::measure(subject, &line, config, &mut samples).await?;
    }
    if config.wants("watch") {
        watch::measure(subject, &line, config, &mut samples).await?;
    }
    if config.wants("list") {
        list::measure(subject, &line, config, &mut samples).await?;
    }
    if config.wants("informers") {
        informers::measure(subject, &line, config, &mut samples).await?;
    }
    Ok(samples.0)
}

/// Memory and work of a server nobody asks for anything.
async fn idle(subject: &Subject, config: &Config, samples: &mut Samples) -> anyhow::Result<()> {
    // What a server does right after it said that it is ready belongs to its start.
    tokio::time::sleep(config.idle() / 4).await;
    let before = subject.server.cpu()?;
    let begun = std::time::Instant::now();
    tokio::time::sleep(config.idle()).await;
    let used = subject.server.cpu()?.saturating_sub(before);
    let share = used.as_secs_f64() / begun.elapsed().as_secs_f64().max(f64::EPSILON);
    samples.less("idle CPU, of one core", "%", share * 100.0);
    samples.less("idle memory, resident", "MiB", subject.server.resident()?);
    Ok(())
}

/// What was measured so far.
#[derive(Debug, Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn add(&mut self, better: Better, name: impl Into<String>, unit: &'static str, value: f64) {
        self.0.push(Sample { name: name.into(), unit, better, value });
    }

    fn less(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.add(Better::Less, name, unit, value);
    }

    fn more(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.add(Better::More, name, unit, value);
    }

    fn told(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.add(Better::Told, name, unit, value);
    }
}

/// Sees to it that at least this many objects are there, named by their number.
async fn fill(line: &Line, config: &Config, count: usize) -> anyhow::Result<()> {
    let have = line.whole(&single::list_of_names()).await?;
    let have = serde_json::from_slice::<serde_json::Value>(&have)?["items"].as_array().map_or(0, Vec::len);
    single::create(line, config, crate::objects::Encoding::Protobuf, have..count.max(have)).await
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
fn number(count: usize) -> f64 {
    count as f64
}
