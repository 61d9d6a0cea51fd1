//! `SchedulingGates`: pods with gates do not even wait in line.

use crate::pod::PodInfo;

/// Whether a pod is held back.
pub fn is_gated(pod: &PodInfo) -> bool {
    pod.spec().and_then(|s| s.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty())
}
