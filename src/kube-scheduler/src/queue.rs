//! What waits: pods in line, pods that failed and rest, and pods that wait for an event that helps.
//!
//! Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::plugins::{Event, PLUGINS, scheduling_gates};
use crate::pod::PodInfo;

/// The first and the longest rest after a failure.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// After this long a pod is tried again although nothing seems to have helped it.
const FORGOTTEN: Duration = Duration::from_mins(5);

/// The order of the line: higher priority first, then the longer wait.
type Turn = (std::cmp::Reverse<i32>, Option<Timestamp>, String);

/// A waiting pod.
#[derive(Debug)]
struct Waiting {
    pod: Arc<PodInfo>,
    attempts: u32,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Held back by gates.
    Gated,
    /// In line.
    Active,
    /// Tried again at this time.
    Resting(Instant),
    /// For an event that helps against one of these plugins, at the latest at `until`.
    Parked { rested: Instant, until: Instant, plugins: BTreeSet<&'static str> },
    /// Taken out for a decision or a binding.
    Busy,
}

/// The pods that wait for a node.
#[derive(Debug, Default)]
pub struct Queue {
    pods: HashMap<String, Waiting>,
    active: BTreeSet<Turn>,
    /// Resting and parked pods by the time at which they are looked at again.
    alarms: BTreeMap<Instant, BTreeSet<String>>,
}

impl Queue {
    /// Adds a pod or takes over its newer state.
    pub fn set(&mut self, pod: Arc<PodInfo>) {
        let uid = pod.uid.clone();
        let Some(waiting) = self.pods.get_mut(&uid) else {
            self.pods.insert(uid.clone(), Waiting { pod, attempts: 0, place: Place::Gated });
            self.admit(&uid);
            return;
        };
        let old = std::mem::replace(&mut waiting.pod, pod);
        let is_same = old.pod.spec == waiting.pod.pod.spec && old.labels == waiting.pod.labels;
        match waiting.place {
            Place::Active => {
                self.active.remove(&turn(&old));
                self.active.insert(turn(&self.pods[&uid].pod));
            }
            Place::Gated => self.admit(&uid),
            // A changed pod may fit where the old one did not; a new status alone changes nothing.
            Place::Parked { .. } if !is_same => self.admit(&uid),
            _ => {}
        }
    }

    /// Removes a pod that is gone or has a node.
    pub fn remove(&mut self, uid: &str) {
        self.unplace(uid);
        self.pods.remove(uid);
    }

    /// The next pod in line.
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.ring(now);
        let (_, _, uid) = self.active.pop_first()?;
        let waiting = self.pods.get_mut(&uid)?;
        waiting.place = Place::Busy;
        waiting.attempts += 1;
        Some(Arc::clone(&waiting.pod))
    }

    /// Parks a pod that fits nowhere until an event helps against a plugin that rejected it.
    pub fn park(&mut self, uid: &str, plugins: BTreeSet<&'static str>, now: Instant) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        let until = now + FORGOTTEN;
        waiting.place = Place::Parked { rested: now + rest(waiting.attempts), until, plugins };
        self.alarms.entry(until).or_default().insert(uid.to_owned());
    }

    /// Lets a pod rest whose binding failed.
    pub fn retry(&mut self, uid: &str, now: Instant) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        let until = now + rest(waiting.attempts);
        waiting.place = Place::Resting(until);
        self.alarms.entry(until).or_default().insert(uid.to_owned());
    }

    /// Puts the parked pods that an event may help back in line, or to rest if they failed just now.
    pub fn wake(&mut self, event: &Event<'_>, now: Instant) {
        let helped: Vec<(String, Instant)> = self
            .pods
            .iter()
            .filter_map(|(uid, waiting)| match &waiting.place {
                Place::Parked { rested, plugins, .. } if may_help(plugins, event, &waiting.pod) => {
                    Some((uid.clone(), *rested))
                }
                _ => None,
            })
            .collect();
        for (uid, rested) in helped {
            if rested <= now {
                self.admit(&uid);
            } else {
                self.unplace(&uid);
                if let Some(waiting) = self.pods.get_mut(&uid) {
                    waiting.place = Place::Resting(rested);
                    self.alarms.entry(rested).or_default().insert(uid);
                }
            }
        }
    }

    /// When to look again although no event came.
    pub fn next_alarm(&self) -> Option<Instant> {
        self.alarms.keys().next().copied()
    }

    /// Whether a pod waits here.
    pub fn contains(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    fn ring(&mut self, now: Instant) {
        while let Some(entry) = self.alarms.first_entry().filter(|e| *e.key() <= now) {
            for uid in entry.remove() {
                self.admit(&uid);
            }
        }
    }

    fn admit(&mut self, uid: &str) {
        self.unplace(uid);
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        if scheduling_gates::is_gated(&waiting.pod) {
            waiting.place = Place::Gated;
            return;
        }
        waiting.place = Place::Active;
        self.active.insert(turn(&waiting.pod));
    }

    fn unplace(&mut self, uid: &str) {
        let Some(waiting) = self.pods.get(uid) else { return };
        let alarm = match &waiting.place {
            Place::Active => {
                self.active.remove(&turn(&waiting.pod));
                return;
            }
            Place::Resting(until) | Place::Parked { until, .. } => *until,
            Place::Gated | Place::Busy => return,
        };
        if let Some(uids) = self.alarms.get_mut(&alarm) {
            uids.remove(uid);
            if uids.is_empty() {
                self.alarms.remove(&alarm);
            }
        }
    }
}

fn turn(pod: &PodInfo) -> Turn {
    (std::cmp::Reverse(pod.priority), pod.created, pod.uid.clone())
}

fn may_help(plugins: &BTreeSet<&'static str>, event: &Event<'_>, pod: &PodInfo) -> bool {
    // Nobody rejected it: there was no node at all.
    if plugins.is_empty() {
        return matches!(event, Event::Node { .. });
    }
    PLUGINS.iter().any(|(plugin, _)| plugins.contains(plugin.name()) && plugin.may_help(event, pod))
}

/// A second, doubled with each attempt, up to ten.
fn rest(attempts: u32) -> Duration {
    REST.0.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(REST.1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::NodeInfo;
    use crate::snapshot::tests::{node, pod};

    fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|p| p.name.clone()).collect()
    }

    fn fit() -> BTreeSet<&'static str> {
        ["NodeResourcesFit"].into()
    }

    #[test]
    fn the_line_is_ordered_by_priority_and_age() {
        let mut queue = Queue::default();
        let made = |second: u32| json!({"metadata": {"creationTimestamp": format!("2026-01-01T00:00:0{second}Z")}});
        queue.set(pod("young", made(2)));
        queue.set(pod("old", made(1)));
        queue.set(pod(
            "high",
            json!({"spec": {"priority": 1000}, "metadata": {"creationTimestamp": "2026-01-01T00:00:09Z"}}),
        ));
        assert_eq!(names(&mut queue, Instant::now()), ["high", "old", "young"]);
    }

    #[test]
    fn a_gated_pod_waits_for_its_gates() {
        let mut queue = Queue::default();
        queue.set(pod("p", json!({"spec": {"schedulingGates": [{"name": "x"}]}})));
        assert!(queue.pop(Instant::now()).is_none());
        queue.set(pod("p", json!({})));
        assert!(queue.pop(Instant::now()).is_some());
    }

    #[test]
    fn only_an_event_that_helps_wakes_a_parked_pod() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.set(pod("p", json!({})));
        queue.pop(now).unwrap();
        queue.park("uid-p", fit(), now);
        queue.set(pod("p", json!({"status": {"phase": "Pending"}})));
        let later = now + Duration::from_secs(2);
        let placed = pod("other", json!({}));
        queue.wake(&Event::PodPlaced(&placed), later);
        assert!(queue.pop(later).is_none(), "a pod that came does not free anything");
        queue.wake(&Event::PodGone(&placed), later);
        assert!(queue.pop(later).is_some());
    }

    #[test]
    fn a_node_too_small_for_the_pod_does_not_wake_it() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.set(pod("p", json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "8"}}}]}})));
        queue.pop(now).unwrap();
        queue.park("uid-p", fit(), now);
        let later = now + Duration::from_secs(2);
        let small = NodeInfo::new(node("n1", json!({})));
        queue.wake(&Event::Node { old: None, new: &small }, later);
        assert!(queue.pop(later).is_none());
        let large = NodeInfo::new(node("n1", json!({"status": {"allocatable": {"cpu": "16"}}})));
        queue.wake(&Event::Node { old: Some(&small), new: &large }, later);
        assert!(queue.pop(later).is_some());
    }

    #[test]
    fn a_pod_that_failed_just_now_rests_first() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.set(pod("p", json!({})));
        queue.pop(now).unwrap();
        queue.park("uid-p", fit(), now);
        let gone = pod("other", json!({}));
        queue.wake(&Event::PodGone(&gone), now);
        assert!(queue.pop(now).is_none());
        assert_eq!(queue.next_alarm(), Some(now + Duration::from_secs(1)));
        assert!(queue.pop(now + Duration::from_secs(1)).is_some());
        queue.retry("uid-p", now);
        assert_eq!(queue.next_alarm(), Some(now + Duration::from_secs(2)), "each rest is longer");
    }

    #[test]
    fn a_removed_pod_leaves_nothing_behind() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b"] {
            queue.set(pod(name, json!({})));
        }
        let first = queue.pop(now).unwrap();
        queue.park(&first.uid, fit(), now);
        queue.remove("uid-a");
        queue.remove("uid-b");
        assert!(queue.pods.is_empty() && queue.active.is_empty() && queue.alarms.is_empty());
    }
}
