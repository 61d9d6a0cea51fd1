//! The timers: one task for each probe of each running container.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::ask::{Target, ask};
use super::{Kind, Verdicts};

/// Told of a failed question: the kind and the sentence.
pub type Complain = dyn Fn(Kind, &str) + Send + Sync;

/// What probes tell their pod.
#[derive(Clone)]
pub struct Listener {
    /// Where verdicts are kept.
    pub verdicts: Arc<Mutex<Verdicts>>,
    /// Wakes the pod loop.
    pub wake: Arc<Notify>,
    /// Tells of a failed question: kind and sentence.
    pub unhealthy: Arc<Complain>,
}

/// The running probes of one pod.
#[derive(Default)]
pub struct Probes(HashMap<(String, Kind), Running>);

struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Probes {
    /// Starts a probe unless it runs already.
    pub fn ensure(&mut self, kind: Kind, probe: &Probe, target: &Target, listener: &Listener) {
        let key = (target.id.clone(), kind);
        let start = || Running(tokio::spawn(run(kind, probe.clone(), target.clone(), listener.clone())));
        self.0.entry(key).or_insert_with(start);
    }

    /// Stops the probes of containers that no longer run.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(id, _), _| keep(id));
    }

    /// Stops every probe of one kind.
    pub fn stop(&mut self, kind: Kind) {
        self.0.retain(|(_, running), _| *running != kind);
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default))
}

async fn run(kind: Kind, probe: Probe, target: Target, listener: Listener) {
    let delay = seconds(probe.initial_delay_seconds, 0).saturating_sub(target.age);
    let mut ticks = tokio::time::interval_at(Instant::now() + delay, seconds(probe.period_seconds, 10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut count) = (None, 0);
    loop {
        ticks.tick().await;
        let answer = ask(&probe, &target).await;
        if let Err(message) = &answer {
            (listener.unhealthy)(kind, message);
        }
        let good = answer.is_ok();
        count = if last == Some(good) { count + 1 } else { 1 };
        last = Some(good);
        let threshold = if good { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        if count < threshold {
            continue;
        }
        if tell(kind, &target.id, good, &listener) {
            listener.wake.notify_one();
        }
        // A startup probe has one outcome; a failed liveness probe ends the container, and this task with it.
        if kind == Kind::Startup {
            return;
        }
    }
}

fn tell(kind: Kind, id: &str, good: bool, listener: &Listener) -> bool {
    let mut verdicts = listener.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
    match kind {
        Kind::Startup => verdicts.set_started(id, good),
        Kind::Liveness => verdicts.set_alive(id, good),
        Kind::Readiness => verdicts.set_ready(id, good),
    }
}

#[cfg(test)]
mod tests {
    use cri::api::ExecSyncResponse;
    use cri::fake::FakeRuntime;
    use serde_json::json;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    struct Bench {
        listener: Listener,
        target: Target,
        healthy: Arc<AtomicBool>,
        complaints: Arc<AtomicUsize>,
    }

    fn bench() -> Bench {
        let runtime = FakeRuntime::new();
        let healthy = Arc::new(AtomicBool::new(true));
        let answer = healthy.clone();
        runtime.on_exec(move |_| ExecSyncResponse {
            exit_code: i32::from(!answer.load(Ordering::SeqCst)),
            ..Default::default()
        });
        let complaints = Arc::new(AtomicUsize::new(0));
        let count = complaints.clone();
        let unhealthy = move |_: Kind, _: &str| {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let listener = Listener { verdicts: Arc::default(), wake: Arc::default(), unhealthy: Arc::new(unhealthy) };
        let container = serde_json::from_value(json!({"name": "c"})).unwrap();
        let target = Target {
            runtime: Arc::new(runtime),
            id: "id".to_owned(),
            ip: String::new(),
            age: Duration::ZERO,
            container,
        };
        Bench { listener, target, healthy, complaints }
    }

    fn probe(value: serde_json::Value) -> Probe {
        serde_json::from_value(value).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_changes_after_the_thresholds_and_wakes_the_pod() {
        let bench = bench();
        let mut probes = Probes::default();
        let probe = probe(
            json!({"exec": {"command": ["x"]}, "initialDelaySeconds": 5, "periodSeconds": 2, "failureThreshold": 3}),
        );
        let begin = Instant::now();
        probes.ensure(Kind::Readiness, &probe, &bench.target, &bench.listener);
        bench.listener.wake.notified().await;
        assert_eq!(begin.elapsed().as_secs(), 5);
        assert_eq!(bench.listener.verdicts.lock().unwrap().of("id").ready, Some(true));
        bench.healthy.store(false, Ordering::SeqCst);
        bench.listener.wake.notified().await;
        assert_eq!(begin.elapsed().as_secs(), 11);
        assert_eq!(bench.listener.verdicts.lock().unwrap().of("id").ready, Some(false));
        assert_eq!(bench.complaints.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_startup_probe_speaks_once() {
        let bench = bench();
        bench.healthy.store(false, Ordering::SeqCst);
        let mut probes = Probes::default();
        let probe = probe(json!({"exec": {"command": ["x"]}, "periodSeconds": 1, "failureThreshold": 2}));
        probes.ensure(Kind::Startup, &probe, &bench.target, &bench.listener);
        bench.listener.wake.notified().await;
        assert!(bench.listener.verdicts.lock().unwrap().of("id").startup_failed);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(bench.complaints.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_end_with_their_container() {
        let bench = bench();
        let mut probes = Probes::default();
        let probe = probe(json!({"exec": {"command": ["x"]}, "periodSeconds": 1}));
        probes.ensure(Kind::Liveness, &probe, &bench.target, &bench.listener);
        bench.listener.wake.notified().await;
        probes.retain(|_| false);
        bench.healthy.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(bench.complaints.load(Ordering::SeqCst), 0);
    }
}
