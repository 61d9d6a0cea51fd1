//! How long admission takes, as a whole and by plugin.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::histogram::{Buckets, Histogram};
use crate::admission::Operation;

/// Upstream's limits, in seconds.
const SECONDS: Buckets<6> = Buckets([0.005, 0.025, 0.1, 0.5, 1.0, 2.5]);
const OPERATIONS: [&str; 3] = ["CREATE", "UPDATE", "DELETE"];
const PHASES: [&str; 2] = ["admit", "validate"];
const REJECTED: [&str; 2] = ["false", "true"];

/// What a plugin is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// To change an object.
    Admit,
    /// To check it.
    Validate,
}

type Work = (Phase, Operation);

/// Times by phase, operation and outcome: a place for each, so that nothing is looked up for a request.
#[derive(Default)]
struct Times([[[Histogram<6>; 2]; 3]; 2]);

impl Times {
    fn observe(&self, (phase, operation): Work, rejected: bool, took: Duration) {
        let operation = match operation {
            Operation::Create => 0,
            Operation::Update => 1,
            Operation::Delete => 2,
        };
        let times = &self.0[usize::from(phase == Phase::Validate)][operation][usize::from(rejected)];
        times.observe(&SECONDS, took.as_secs_f64());
    }

    fn encode(&self, family: &mut MetricEncoder<'_>, name: Option<&str>) -> fmt::Result {
        for (phase, operations) in PHASES.iter().zip(&self.0) {
            for (operation, outcomes) in OPERATIONS.iter().zip(operations) {
                for (rejected, times) in REJECTED.iter().zip(outcomes) {
                    let labels = [("operation", *operation), ("rejected", *rejected), ("type", *phase)];
                    let labels: Vec<(&str, &str)> = name.map(|name| ("name", name)).into_iter().chain(labels).collect();
                    encode(times, family, &labels)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(times: &Histogram<6>, family: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet) -> fmt::Result {
    times.encode(&SECONDS, family, labels)
}

/// The times of all plugins that are on.
pub struct AdmissionTimes {
    all: Times,
    plugins: Vec<(&'static str, Times)>,
}

impl AdmissionTimes {
    /// Nothing was admitted yet; a plugin is known by its place in the list.
    pub fn new(plugins: impl Iterator<Item = &'static str>) -> Self {
        Self { all: Times::default(), plugins: plugins.map(|name| (name, Times::default())).collect() }
    }

    /// Begins to take the time of one object.
    pub fn clock(&self, phase: Phase, operation: Operation) -> Clock<'_> {
        let now = Instant::now();
        Clock { times: self, work: (phase, operation), began: now, last: now }
    }
}

/// Takes the time of one object on its way through the plugins: the clock is read once for each of them.
pub struct Clock<'a> {
    times: &'a AdmissionTimes,
    work: Work,
    began: Instant,
    last: Instant,
}

impl Clock<'_> {
    /// Counts what one plugin did since the one before it.
    pub fn plugin(&mut self, place: usize, rejected: bool) {
        let now = Instant::now();
        if let Some((_, times)) = self.times.plugins.get(place) {
            times.observe(self.work, rejected, now - self.last);
        }
        self.last = now;
    }

    /// Counts what all of them did.
    pub fn end(self, rejected: bool) {
        self.times.all.observe(self.work, rejected, self.last - self.began);
    }
}

/// Tells of the times.
pub(super) struct Admissions(pub(super) Arc<AdmissionTimes>);

impl fmt::Debug for Admissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admissions")
    }
}

impl Collector for Admissions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let name = "apiserver_admission_step_admission_duration_seconds";
        let about = "How long all plugins took together, in seconds";
        let mut family = encoder.encode_descriptor(name, about, None, MetricType::Histogram)?;
        self.0.all.encode(&mut family, None)?;
        let name = "apiserver_admission_controller_admission_duration_seconds";
        let about = "How long admission plugins took, in seconds";
        let mut family = encoder.encode_descriptor(name, about, None, MetricType::Histogram)?;
        self.0.plugins.iter().try_for_each(|(name, times)| times.encode(&mut family, Some(name)))
    }
}
