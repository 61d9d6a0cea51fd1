//! What controllers ask about a pod.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// The phase, empty if none is known.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether all containers have ended for good.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether a pod counts as one that runs or will run.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !has_ended(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// The node a pod is bound to, or empty.
pub(crate) fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether a pod serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some()
}

/// Since when a pod serves.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    ready_condition(pod)?.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether a pod has served for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It does not serve.
    NotReady,
    /// It serves, and will have served long enough after this time.
    Soon(Duration),
    /// It has served long enough.
    Available,
}

/// Whether a pod has been ready for `min_ready_seconds`.
pub(crate) fn availability(pod: &Pod, min_ready_seconds: Option<i32>, now: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::NotReady;
    }
    let wanted = u64::try_from(min_ready_seconds.unwrap_or(0)).unwrap_or(0);
    if wanted == 0 {
        return Availability::Available;
    }
    let Some(since) = ready_since(pod) else { return Availability::Soon(Duration::from_secs(wanted)) };
    let ready_for = now.duration_since(since).try_into().unwrap_or(Duration::ZERO);
    match Duration::from_secs(wanted).checked_sub(ready_for) {
        Some(left) if !left.is_zero() => Availability::Soon(left),
        _ => Availability::Available,
    }
}

/// The most restarts of a container.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).max().unwrap_or(0)
}
