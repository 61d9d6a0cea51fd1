//! When what happened: the timeline that `--timings` writes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

/// Seconds since the run began at which each milestone was reached.
#[derive(Debug)]
pub struct Timeline {
    began: Instant,
    /// The same moment as clocks on walls show it, for what hosts write down themselves.
    date: Timestamp,
    milestones: Mutex<BTreeMap<&'static str, f64>>,
}

/// What `--timings` writes.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Milestones by name, in seconds since the run began.
    pub milestones: BTreeMap<&'static str, f64>,
    /// From the first machine reachable by SSH to the last milestone, in seconds.
    #[serde(rename = "sshToReadySeconds", skip_serializing_if = "Option::is_none")]
    pub ssh_to_ready: Option<f64>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { began: Instant::now(), date: Timestamp::now(), milestones: Mutex::default() }
    }
}

impl Timeline {
    /// Writes down that a milestone has been reached; of several machines the last one counts.
    pub fn mark(&self, milestone: &'static str) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.milestones.lock().unwrap_or_else(PoisonError::into_inner).insert(milestone, seconds);
    }

    /// Writes down a milestone that was reached at `date`, by our clock.
    pub fn mark_at(&self, milestone: &'static str, date: Timestamp) {
        let seconds = date.duration_since(self.date).as_secs_f64();
        self.milestones.lock().unwrap_or_else(PoisonError::into_inner).insert(milestone, seconds);
    }

    /// Everything so far.
    pub fn report(&self) -> Report {
        let milestones = self.milestones.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ready = ["dnsAnswers", "nodeReady"].iter().find_map(|name| milestones.get(name));
        let ssh_to_ready = milestones.get("ssh").zip(ready).map(|(ssh, ready)| ready - ssh);
        Report { milestones, ssh_to_ready }
    }
}

#[cfg(test)]
mod tests;
