//! Probes: whether a container has started, lives, and is ready.
//!
//! Each probe of each running container is a task with a timer of its own. What it finds goes into the pod's
//! [`Verdicts`]; the pod loop is woken only when a verdict changes.

pub mod ask;
pub mod grpc;
pub mod task;

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Container;

/// The three kinds of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Holds the other two back until it succeeds.
    Startup,
    /// Ends the container when it fails.
    Liveness,
    /// Decides whether the container gets traffic.
    Readiness,
}

impl Kind {
    /// The word in events.
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What the probes of one container say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The startup probe succeeded.
    pub started: bool,
    /// The startup probe gave up.
    pub startup_failed: bool,
    /// What the liveness probe says.
    pub alive: Option<bool>,
    /// What the readiness probe says.
    pub ready: Option<bool>,
}

/// The verdicts of a pod by container id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts(HashMap<String, Verdict>);

impl Verdicts {
    /// The verdict on a container.
    pub fn of(&self, id: &str) -> Verdict {
        self.0.get(id).copied().unwrap_or_default()
    }

    /// Whether a running container counts as started.
    pub fn started(&self, id: &str, container: &Container) -> bool {
        container.startup_probe.is_none() || self.of(id).started
    }

    /// Whether a running container is ready.
    pub fn ready(&self, id: &str, container: &Container) -> bool {
        self.started(id, container) && (container.readiness_probe.is_none() || self.of(id).ready == Some(true))
    }

    /// Notes what the liveness probe says; answers whether that is new.
    pub fn set_alive(&mut self, id: &str, alive: bool) -> bool {
        self.change(id, |verdict| verdict.alive = Some(alive))
    }

    /// Notes what the readiness probe says; answers whether that is new.
    pub fn set_ready(&mut self, id: &str, ready: bool) -> bool {
        self.change(id, |verdict| verdict.ready = Some(ready))
    }

    /// Notes what the startup probe says; answers whether that is new.
    pub fn set_started(&mut self, id: &str, started: bool) -> bool {
        self.change(id, |verdict| {
            verdict.started = started;
            verdict.startup_failed = !started;
        })
    }

    /// Forgets containers that are gone.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| keep(id));
    }

    fn change(&mut self, id: &str, change: impl Fn(&mut Verdict)) -> bool {
        let verdict = self.0.entry(id.to_owned()).or_default();
        let before = *verdict;
        change(verdict);
        *verdict != before
    }
}
