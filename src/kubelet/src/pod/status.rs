//! The status of a pod, from what is wanted and what is seen. Pure.

mod conditions;
mod containers;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::identity;
use super::observed::Observed;
use super::qos::Qos;
use crate::probe::Verdicts;

/// Why a container waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl Waiting {
    /// A reason with its sentence.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
}

/// What a status is made from.
pub struct Picture<'a> {
    /// The pod as wanted.
    pub pod: &'a Pod,
    /// The pod as seen.
    pub observed: &'a Observed,
    /// What its probes say.
    pub verdicts: &'a Verdicts,
    /// Why containers wait, by name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// The status told before.
    pub before: &'a PodStatus,
    /// Addresses of the node.
    pub host_ips: &'a [String],
    /// The kind of runtime, for container ids.
    pub runtime: &'a str,
    /// The moment.
    pub now: Timestamp,
    /// Whether the pod is being ended by this kubelet's own decision, with reason and message.
    pub failed: Option<&'a Waiting>,
    /// Whether everything of the pod has ended for good.
    pub ended: bool,
}

/// The status that the API should show.
pub fn status(picture: &Picture<'_>) -> PodStatus {
    let init = containers::statuses(picture, identity::init_containers(picture.pod), true);
    let main = containers::statuses(picture, identity::containers(picture.pod), false);
    let phase = phase(picture, &init, &main);
    let mut status = PodStatus {
        phase: Some(phase.to_owned()),
        qos_class: Some(Qos::of(picture.pod).as_str().to_owned()),
        start_time: picture.before.start_time.clone().or(Some(Time(picture.now))),
        observed_generation: picture.pod.metadata.generation,
        ..PodStatus::default()
    };
    addresses(picture, &mut status);
    if let Some(failed) = picture.failed {
        status.reason = Some(failed.reason.clone());
        status.message = Some(failed.message.clone());
    }
    status.conditions = Some(conditions::conditions(picture, phase, &init, &main));
    status.init_container_statuses = (!init.is_empty()).then_some(init);
    status.container_statuses = (!main.is_empty()).then_some(main);
    status
}

fn addresses(picture: &Picture<'_>, status: &mut PodStatus) {
    status.host_ip = picture.host_ips.first().cloned();
    status.host_ips = Some(picture.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect())
        .filter(|ips: &Vec<HostIP>| !ips.is_empty());
    let mut ips =
        if identity::host_network(picture.pod) { picture.host_ips.to_vec() } else { picture.observed.pod_ips() };
    if ips.is_empty() {
        // A pod keeps its last address until it is deleted.
        ips = picture.before.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    }
    status.pod_ip = ips.first().cloned();
    status.pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect()).filter(|ips: &Vec<PodIP>| !ips.is_empty());
}

/// Whether a phase is for ever.
pub fn is_terminal(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn phase(picture: &Picture<'_>, init: &[ContainerStatus], main: &[ContainerStatus]) -> &'static str {
    match picture.before.phase.as_deref() {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ if picture.failed.is_some() => {
            return if picture.ended { "Failed" } else { running_or_pending(picture) };
        }
        _ => {}
    }
    let policy = identity::restart_policy(picture.pod);
    let main_seen =
        identity::containers(picture.pod).iter().any(|container| picture.observed.latest(&container.name).is_some());
    if !main_seen && let Some(phase) = phase_of_init(picture, init, policy) {
        return phase;
    }
    let count = Count::of(main);
    if picture.ended && picture.pod.metadata.deletion_timestamp.is_some() && count.waiting == 0 && count.running == 0 {
        // A deleted pod whose processes have all ended will never run again, whatever its policy.
        return if count.succeeded == main.len() { "Succeeded" } else { "Failed" };
    }
    if count.waiting > 0 {
        return "Pending";
    }
    if count.running > 0 || policy == "Always" {
        return "Running";
    }
    match policy {
        _ if count.succeeded == main.len() => "Succeeded",
        "Never" => "Failed",
        _ => "Running",
    }
}

fn running_or_pending(picture: &Picture<'_>) -> &'static str {
    if picture.observed.containers.is_empty() { "Pending" } else { "Running" }
}

fn phase_of_init(picture: &Picture<'_>, init: &[ContainerStatus], policy: &str) -> Option<&'static str> {
    for (status, container) in init.iter().zip(identity::init_containers(picture.pod)) {
        let terminated = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        if identity::is_sidecar(container) {
            if status.started != Some(true) {
                return Some("Pending");
            }
        } else if let Some(terminated) = terminated {
            if terminated.exit_code != 0 {
                return Some(if policy == "Never" { "Failed" } else { "Pending" });
            }
        } else {
            return Some("Pending");
        }
    }
    None
}

#[derive(Default)]
struct Count {
    waiting: usize,
    running: usize,
    succeeded: usize,
}

impl Count {
    fn of(statuses: &[ContainerStatus]) -> Self {
        let mut count = Self::default();
        for status in statuses {
            let ended = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
                state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code)
            };
            let running = status.state.as_ref().is_some_and(|state| state.running.is_some());
            match (ended(&status.state), ended(&status.last_state)) {
                _ if running => count.running += 1,
                (Some(0), _) => count.succeeded += 1,
                (Some(_), _) => {}
                // Between two runs a container counts as stopped, not as never started.
                (None, Some(_)) => {}
                (None, None) => count.waiting += 1,
            }
        }
        count
    }
}

#[cfg(test)]
mod tests;
