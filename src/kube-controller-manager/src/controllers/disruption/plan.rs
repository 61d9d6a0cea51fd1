//! The status of a budget, from its pods and from how many there should be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt};

use crate::ownership::{is_deleting, labels};
use crate::pods;

/// How long an eviction that was allowed may take to become a deletion.
const DELETION_TIMEOUT: Duration = Duration::from_mins(2);
const CONDITION: &str = "DisruptionAllowed";

pub(super) struct Observed<'a> {
    pub(super) budget: &'a PodDisruptionBudget,
    /// The pods it selects.
    pub(super) pods: &'a [Arc<Pod>],
    /// How many pods their controllers want, or why that cannot be told.
    pub(super) scale: Result<i32, String>,
    pub(super) now: Timestamp,
}

pub(super) struct Plan {
    pub(super) status: PodDisruptionBudgetStatus,
    /// When to look again although nothing happened.
    pub(super) recheck: Option<Duration>,
    /// Pods whose eviction was allowed and that are still there.
    pub(super) undeleted: Vec<Arc<Pod>>,
}

/// Whether a budget is about a pod. An empty selector is about all, none about nothing.
pub(super) fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    selector.and_then(|selector| Selector::try_from(selector).ok()).is_some_and(|s| s.matches(labels(pod)))
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let Disrupted { pods: disrupted, recheck, undeleted } = disrupted(observed);
    let healthy = observed
        .pods
        .iter()
        .filter(|pod| !is_deleting(pod.as_ref()) && pods::is_ready(pod))
        .filter(|pod| !pod.metadata.name.as_ref().is_some_and(|name| disrupted.contains_key(name)));
    let current = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let old = observed.budget.status.clone().unwrap_or_default();
    let generation = observed.budget.metadata.generation;
    let (expected, desired, allowed, failure) = match expectation(observed) {
        Ok((expected, desired)) => {
            let spare = if expected > 0 { (current - desired).max(0) } else { 0 };
            (expected, desired, spare, None)
        }
        // Nothing is allowed as long as it is not known what is safe.
        Err(reason) => (old.expected_pods, old.desired_healthy, 0, Some(reason)),
    };
    let mut conditions = old.conditions.clone().unwrap_or_default();
    set_condition(&mut conditions, condition(allowed, failure, generation, observed.now));
    let status = PodDisruptionBudgetStatus {
        conditions: Some(conditions),
        current_healthy: current,
        desired_healthy: desired,
        disrupted_pods: Some(disrupted).filter(|pods| !pods.is_empty()),
        disruptions_allowed: allowed,
        expected_pods: expected,
        observed_generation: generation,
    };
    Plan { status, recheck, undeleted }
}

/// How many pods there should be and how many of them must be healthy.
fn expectation(observed: &Observed<'_>) -> Result<(i32, i32), String> {
    let Some(spec) = &observed.budget.spec else { return Ok((0, 0)) };
    let present = i32::try_from(observed.pods.len()).unwrap_or(i32::MAX);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => {
            let expected = observed.scale.clone()?;
            Ok((expected, (expected - part_of(unavailable, expected)?).max(0)))
        }
        (None, Some(IntOrString::Int(available))) => Ok((present, *available)),
        (None, Some(available)) => {
            let expected = observed.scale.clone()?;
            Ok((expected, part_of(available, expected)?))
        }
        (None, None) => Ok((present, 0)),
    }
}

/// A number, or a percentage rounded up.
fn part_of(value: &IntOrString, whole: i32) -> Result<i32, String> {
    match value {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(text) => {
            let percent: i32 = text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok())
                .ok_or_else(|| format!("{text:?} is no percentage"))?;
            Ok(whole.saturating_mul(percent).saturating_add(99).div_euclid(100))
        }
    }
}

struct Disrupted {
    pods: BTreeMap<String, Time>,
    recheck: Option<Duration>,
    undeleted: Vec<Arc<Pod>>,
}

/// Pods whose eviction was allowed and that are about to be deleted: they are not healthy any more, although they look so.
fn disrupted(observed: &Observed<'_>) -> Disrupted {
    let mut found = Disrupted { pods: BTreeMap::new(), recheck: None, undeleted: Vec::new() };
    let allowed = observed.budget.status.as_ref().and_then(|status| status.disrupted_pods.clone()).unwrap_or_default();
    for pod in observed.pods.iter().filter(|pod| !is_deleting(pod.as_ref())) {
        let Some((name, since)) = pod.metadata.name.as_ref().and_then(|name| allowed.get_key_value(name)) else {
            continue;
        };
        let waited: Duration = observed.now.duration_since(since.0).try_into().unwrap_or(Duration::ZERO);
        match DELETION_TIMEOUT.checked_sub(waited).filter(|left| !left.is_zero()) {
            None => found.undeleted.push(Arc::clone(pod)),
            Some(left) => {
                found.pods.insert(name.clone(), since.clone());
                found.recheck = Some(found.recheck.map_or(left, |other| other.min(left)));
            }
        }
    }
    found
}

fn condition(allowed: i32, failure: Option<String>, generation: Option<i64>, now: Timestamp) -> Condition {
    let (status, reason) = match (&failure, allowed) {
        (Some(_), _) => ("False", "SyncFailed"),
        (None, 0) => ("False", "InsufficientPods"),
        (None, _) => ("True", "SufficientPods"),
    };
    Condition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: failure.unwrap_or_default(),
        observed_generation: generation,
        last_transition_time: Time(now),
    }
}

/// Puts a condition in its place; its time moves only with its status.
fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals read best at the call")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T00:10:00Z";

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        let mut budget =
            json!({"metadata": {"name": "b", "namespace": "d", "generation": 3}, "spec": spec, "status": status});
        budget["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
        serde_json::from_value(budget).unwrap()
    }

    fn pods(ready: usize, failing: usize) -> Vec<Arc<Pod>> {
        let pod = |index: usize| {
            let status = if index < ready { "True" } else { "False" };
            Arc::new(
                serde_json::from_value(json!({"metadata": {"name": format!("p{index}"), "labels": {"app": "web"}},
                    "status": {"conditions": [{"type": "Ready", "status": status}]}}))
                .unwrap(),
            )
        };
        (0..ready + failing).map(pod).collect()
    }

    fn planned(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], scale: i32) -> Plan {
        plan(&Observed { budget, pods, scale: Ok(scale), now: NOW.parse().unwrap() })
    }

    /// Spec, ready and failing pods, scale → expected, desired, current, allowed.
    fn check(spec: Value, (ready, failing, scale): (usize, usize, i32), wanted: [i32; 4]) {
        let text = spec.to_string();
        let status = planned(&budget(spec, json!({})), &pods(ready, failing), scale).status;
        let found = [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed];
        assert_eq!(found, wanted, "{text}");
    }

    #[test]
    fn numbers_count_pods_and_percentages_what_their_controllers_want() {
        check(json!({"minAvailable": 2}), (3, 0, 9), [3, 2, 3, 1]);
        check(json!({"minAvailable": 2}), (2, 1, 9), [3, 2, 2, 0]);
        check(json!({"minAvailable": "50%"}), (3, 0, 3), [3, 2, 3, 1]);
        check(json!({"maxUnavailable": 1}), (3, 0, 3), [3, 2, 3, 1]);
        check(json!({"maxUnavailable": 1}), (2, 0, 3), [3, 2, 2, 0]);
        check(json!({"maxUnavailable": "30%"}), (3, 0, 3), [3, 2, 3, 1]);
        check(json!({"maxUnavailable": 5}), (3, 0, 3), [3, 0, 3, 3]);
        check(json!({"minAvailable": 0}), (0, 0, 0), [0, 0, 0, 0]);
    }

    #[test]
    fn a_pod_whose_eviction_was_allowed_does_not_count_until_it_should_be_gone() {
        let recent = json!({"disruptedPods": {"p0": "2026-01-01T00:09:00Z", "gone": "2026-01-01T00:09:00Z"},
            "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3, "disruptionsAllowed": 0});
        let plan = planned(&budget(json!({"minAvailable": 2}), recent), &pods(3, 0), 3);
        assert_eq!((plan.status.current_healthy, plan.status.disruptions_allowed), (2, 0));
        assert_eq!(plan.status.disrupted_pods.unwrap().keys().collect::<Vec<_>>(), ["p0"]);
        assert_eq!(plan.recheck, Some(Duration::from_mins(1)));
        let long_ago = json!({"disruptedPods": {"p0": "2026-01-01T00:00:00Z"},
            "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3, "disruptionsAllowed": 0});
        let plan = planned(&budget(json!({"minAvailable": 2}), long_ago), &pods(3, 0), 3);
        assert_eq!((plan.status.disruptions_allowed, plan.undeleted.len()), (1, 1));
    }

    #[test]
    fn nothing_is_allowed_while_the_scale_is_unknown() {
        let (budget, pods) = (budget(json!({"maxUnavailable": 1}), json!({})), pods(3, 0));
        let scale = Err("DaemonSet x of a selected pod has no scale".to_owned());
        let status = plan(&Observed { budget: &budget, pods: &pods, scale, now: NOW.parse().unwrap() }).status;
        assert_eq!(status.disruptions_allowed, 0);
        assert_eq!(status.conditions.unwrap()[0].reason, "SyncFailed");
    }

    #[test]
    fn a_status_that_is_right_stays_as_it_is() {
        let mut budget = budget(json!({"minAvailable": 2}), json!({}));
        let first = planned(&budget, &pods(3, 0), 3).status;
        budget.status = Some(first.clone());
        let later =
            Observed { budget: &budget, pods: &pods(3, 0), scale: Ok(3), now: "2026-01-01T01:00:00Z".parse().unwrap() };
        assert_eq!(plan(&later).status, first);
        assert_eq!(first.observed_generation, Some(3));
    }

    #[test]
    fn an_empty_selector_is_about_all_pods_and_none_about_nothing() {
        let pod = pods(1, 0).remove(0);
        let with = |selector: Value| -> PodDisruptionBudget {
            serde_json::from_value(json!({"metadata": {}, "spec": {"selector": selector}})).unwrap()
        };
        assert!(selects(&with(json!({})), &pod));
        assert!(!selects(&with(Value::Null), &pod));
        assert!(!selects(&with(json!({"matchLabels": {"app": "db"}})), &pod));
    }
}
