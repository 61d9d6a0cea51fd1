//! How far the server has come since its start, told under the names that upstream's health checks have.
//!
//! A name is told only where this server does what upstream does under it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A part of the start that is over, in the order in which they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Nothing but the configuration has been read.
    Configured,
    /// Every cache has been filled.
    Cached,
    /// Namespaces, priority classes and the `kubernetes` Service are there.
    Founded,
    /// So are the roles, and the authorizers follow them.
    Guarded,
    /// Addresses and ports of Services are known, and what others must know of this server is told.
    Plumbed,
    /// Flow schemas are obeyed: all is done.
    Complete,
}

/// Upstream's names of what ends with each stage.
pub const HOOKS: &[(&str, Stage)] = &[
    ("poststarthook/start-apiserver-admission-initializer", Stage::Configured),
    ("poststarthook/generic-apiserver-start-informers", Stage::Cached),
    ("poststarthook/priority-and-fairness-config-consumer", Stage::Complete),
    ("poststarthook/priority-and-fairness-filter", Stage::Complete),
    ("poststarthook/storage-object-count-tracker-hook", Stage::Cached),
    ("poststarthook/start-system-namespaces-controller", Stage::Founded),
    ("poststarthook/start-cluster-authentication-info-controller", Stage::Plumbed),
    ("poststarthook/start-service-ip-repair-controllers", Stage::Plumbed),
    ("poststarthook/rbac/bootstrap-roles", Stage::Guarded),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", Stage::Founded),
    ("poststarthook/priority-and-fairness-config-producer", Stage::Complete),
    ("poststarthook/bootstrap-controller", Stage::Founded),
    ("poststarthook/start-kubernetes-service-cidr-controller", Stage::Founded),
];

/// The stage that was reached.
#[derive(Debug)]
pub struct Progress {
    reached: AtomicU8,
    more: Notify,
    since: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self { reached: AtomicU8::new(Stage::Configured as u8), more: Notify::new(), since: Instant::now() }
    }
}

impl Progress {
    /// Notes that a stage is over.
    pub fn reach(&self, stage: Stage) {
        self.reached.fetch_max(stage as u8, Ordering::AcqRel);
        self.more.notify_waiters();
    }

    /// Waits for the end of a stage, but not for ever.
    pub async fn wait_for(&self, stage: Stage, limit: Duration) {
        let over = async {
            loop {
                let more = self.more.notified();
                if self.has(stage) {
                    return;
                }
                more.await;
            }
        };
        let _ = tokio::time::timeout(limit, over).await;
    }

    /// Whether a stage is over.
    pub fn has(&self, stage: Stage) -> bool {
        self.reached.load(Ordering::Acquire) >= stage as u8
    }

    /// Whether the server counts as alive although a stage is not over: a restart does not bring etcd back, so that it
    /// does for ever unless somebody set an end to that.
    pub fn may_take_its_time(&self, grace: Duration) -> bool {
        grace.is_zero() || self.since.elapsed() < grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_contains_those_before_it() {
        let progress = Progress::default();
        assert!(progress.has(Stage::Configured) && !progress.has(Stage::Cached));
        progress.reach(Stage::Guarded);
        progress.reach(Stage::Cached);
        assert!(progress.has(Stage::Founded) && progress.has(Stage::Guarded) && !progress.has(Stage::Complete));
    }

    #[tokio::test]
    async fn who_waits_for_a_stage_goes_on_with_it_or_when_the_time_is_over() {
        let progress = std::sync::Arc::new(Progress::default());
        progress.wait_for(Stage::Guarded, Duration::from_millis(1)).await;
        assert!(!progress.has(Stage::Guarded));
        let waiting = tokio::spawn({
            let progress = std::sync::Arc::clone(&progress);
            async move { progress.wait_for(Stage::Guarded, Duration::from_hours(1)).await }
        });
        tokio::task::yield_now().await;
        progress.reach(Stage::Cached);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        progress.reach(Stage::Complete);
        waiting.await.unwrap();
    }

    #[test]
    fn only_a_grace_period_that_was_set_ends() {
        let progress = Progress::default();
        assert!(progress.may_take_its_time(Duration::ZERO) && progress.may_take_its_time(Duration::from_hours(1)));
        assert!(!progress.may_take_its_time(Duration::from_nanos(1)));
    }
}
