//! How many pods, which go first, and what the status says.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::ownership::labels;
use crate::pods::{self, Availability};

/// The most pods made or removed in one go.
const BURST: usize = 500;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(super) struct Observed<'a> {
    pub(super) set: &'a ReplicaSet,
    /// Its pods that run or will run.
    pub(super) active: &'a [Arc<Pod>],
    /// Pods of all sets of the same owner.
    pub(super) neighbours: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

#[derive(Debug)]
pub(super) enum Action {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

pub(super) struct Plan {
    pub(super) action: Action,
    pub(super) status: ReplicaSetStatus,
    /// When a pod that is ready will have been ready for long enough.
    pub(super) recheck: Option<Duration>,
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let wanted = observed.set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let have = observed.active.len();
    let action = match have.cmp(&wanted) {
        Ordering::Less => Action::Create((wanted - have).min(BURST)),
        Ordering::Greater => Action::Delete(victims(observed, (have - wanted).min(BURST))),
        Ordering::Equal => Action::Nothing,
    };
    let (status, recheck) = status(observed);
    Plan { action, status, recheck }
}

/// The pods whose end costs least, in upstream's order.
fn victims(observed: &Observed<'_>, count: usize) -> Vec<Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in observed.neighbours.iter().filter(|pod| !pods::node(pod).is_empty()) {
        *on_node.entry(pods::node(pod)).or_default() += 1;
    }
    let mut ranked = observed.active.to_vec();
    ranked.sort_by_cached_key(|pod| {
        let node = pods::node(pod);
        let phase = match pods::phase(pod) {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        };
        let age = |time: Option<Timestamp>| time.map_or(0, |time| age_class(observed.now, time));
        (
            (!node.is_empty(), phase, pods::is_ready(pod), deletion_cost(pod)),
            Reverse(on_node.get(node).copied().unwrap_or(0)),
            age(pods::ready_since(pod)),
            Reverse(pods::restarts(pod)),
            age(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)),
            pod.metadata.uid.clone(),
        )
    });
    ranked.truncate(count);
    ranked
}

/// Ages are compared by order of magnitude, so that among pods of one batch chance decides and not the millisecond.
fn age_class(now: Timestamp, since: Timestamp) -> u32 {
    let seconds = now.duration_since(since).as_secs().max(0);
    u64::try_from(seconds).unwrap_or(0).checked_ilog2().map_or(0, |log| log + 1)
}

fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    cost.and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn status(observed: &Observed<'_>) -> (ReplicaSetStatus, Option<Duration>) {
    let spec = observed.set.spec.as_ref();
    let template = spec.and_then(|spec| spec.template.as_ref()).and_then(|template| template.metadata.as_ref());
    let template = template.and_then(|meta| meta.labels.clone()).unwrap_or_default();
    let labelled = |pod: &&Arc<Pod>| template.iter().all(|(key, value)| labels(pod.as_ref()).get(key) == Some(value));
    let min_ready = spec.and_then(|spec| spec.min_ready_seconds);
    let seen: Vec<Availability> =
        observed.active.iter().map(|pod| pods::availability(pod, min_ready, observed.now)).collect();
    let soonest =
        seen.iter().filter_map(|state| if let Availability::Soon(left) = state { Some(*left) } else { None }).min();
    let count = |number: usize| Some(i32::try_from(number).unwrap_or(i32::MAX)).filter(|number| *number > 0);
    let status = ReplicaSetStatus {
        replicas: i32::try_from(observed.active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: count(observed.active.iter().filter(labelled).count()),
        ready_replicas: count(seen.iter().filter(|state| **state != Availability::NotReady).count()),
        available_replicas: count(seen.iter().filter(|state| **state == Availability::Available).count()),
        observed_generation: observed.set.metadata.generation,
        conditions: observed.set.status.as_ref().and_then(|status| status.conditions.clone()),
        terminating_replicas: None,
    };
    (status, soonest)
}

/// Says in the status whether the last act failed.
pub(super) fn set_failure(status: &mut ReplicaSetStatus, failure: Option<String>, now: Timestamp) {
    let mut others: Vec<_> = status.conditions.take().unwrap_or_default();
    let before = others.iter().position(|condition| condition.type_ == "ReplicaFailure").map(|at| others.remove(at));
    if let Some(message) = failure {
        let since = before.and_then(|before| before.last_transition_time).or(Some(Time(now)));
        others.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some("FailedCreate".to_owned()),
            message: Some(message),
            last_transition_time: since,
        });
    }
    status.conditions = Some(others).filter(|conditions| !conditions.is_empty());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, ready: bool) -> Arc<Pod> {
        let condition = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "a"}},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": if node.is_empty() { "Pending" } else { "Running" }, "conditions": [
                    {"type": "Ready", "status": condition, "lastTransitionTime": "2026-01-01T00:00:10Z"}]},
            }))
            .unwrap(),
        )
    }

    fn set(replicas: i32, min_ready: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "generation": 3},
            "spec": {"replicas": replicas, "minReadySeconds": min_ready, "selector": {"matchLabels": {"app": "a"}},
                     "template": {"metadata": {"labels": {"app": "a"}}}},
        }))
        .unwrap()
    }

    fn planned(replicas: i32, min_ready: i32, pods: &[Arc<Pod>]) -> Plan {
        let now = "2026-01-01T00:00:20Z".parse().unwrap();
        plan(&Observed { set: &set(replicas, min_ready), active: pods, neighbours: pods, now })
    }

    fn deleted(plan: &Plan) -> Vec<&str> {
        match &plan.action {
            Action::Delete(pods) => pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect(),
            other => panic!("expected deletions, not {other:?}"),
        }
    }

    #[test]
    fn missing_pods_are_created() {
        assert!(matches!(planned(3, 0, &[pod("a", "n", true)]).action, Action::Create(2)));
        assert!(matches!(planned(10_000, 0, &[]).action, Action::Create(BURST)));
        assert!(matches!(planned(1, 0, &[pod("a", "n", true)]).action, Action::Nothing));
    }

    #[test]
    fn unbound_pods_go_before_unready_ones_and_these_before_ready_ones() {
        let pods = [pod("ready", "n1", true), pod("unready", "n2", false), pod("unbound", "", false)];
        assert_eq!(deleted(&planned(0, 0, &pods)), ["unbound", "unready", "ready"]);
    }

    #[test]
    fn of_two_pods_on_one_node_one_goes_first() {
        let pods = [pod("alone", "n1", true), pod("first", "n2", true), pod("second", "n2", true)];
        assert_eq!(deleted(&planned(2, 0, &pods)), ["first"]);
    }

    #[test]
    fn a_cheaper_pod_goes_first() {
        let mut cheap = Pod::clone(&pod("cheap", "n1", true));
        cheap.metadata.annotations = Some([(DELETION_COST.to_owned(), "-5".to_owned())].into());
        assert_eq!(deleted(&planned(1, 0, &[pod("a", "n2", true), Arc::new(cheap)])), ["cheap"]);
    }

    #[test]
    fn a_pod_is_available_once_it_was_ready_long_enough() {
        let soon = planned(1, 15, &[pod("a", "n", true)]);
        assert_eq!((soon.status.ready_replicas, soon.status.available_replicas), (Some(1), None));
        assert_eq!(soon.recheck, Some(Duration::from_secs(5)));
        assert_eq!(planned(1, 5, &[pod("a", "n", true)]).status.available_replicas, Some(1));
    }

    #[test]
    fn a_failure_is_said_and_taken_back() {
        let mut status = ReplicaSetStatus::default();
        set_failure(&mut status, Some("quota".to_owned()), Timestamp::UNIX_EPOCH);
        assert_eq!(status.conditions.as_ref().unwrap()[0].message.as_deref(), Some("quota"));
        set_failure(&mut status, None, Timestamp::UNIX_EPOCH);
        assert_eq!(status.conditions, None);
    }
}
