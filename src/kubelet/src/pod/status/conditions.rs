//! The conditions of a pod.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Picture, is_terminal};
use crate::pod::identity;

/// A condition before it is compared with what was told before.
struct Found {
    kind: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Found {
    fn holds(kind: &'static str) -> Self {
        Self { kind, holds: true, reason: None, message: None }
    }

    fn fails(kind: &'static str, reason: &'static str, message: Option<String>) -> Self {
        Self { kind, holds: false, reason: Some(reason), message }
    }
}

pub(super) fn conditions(
    picture: &Picture<'_>,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers = containers_ready(picture, phase, init, main);
    let ready = pod_ready(picture, &containers);
    let found = [network(picture), initialized(picture, phase, init), ready, containers, Found::holds("PodScheduled")];
    found.into_iter().chain(disrupted(picture)).map(|found| stamp(picture, found)).collect()
}

/// Whoever counts the failures of a pod must be able to tell those that are not its own.
fn disrupted(picture: &Picture<'_>) -> Option<Found> {
    // One that was refused at the door never ran.
    let ran = !picture.observed.containers.is_empty();
    let evicted = picture.failed.filter(|why| ran && why.reason == "Evicted")?;
    Some(Found {
        kind: "DisruptionTarget",
        holds: true,
        reason: Some("TerminationByKubelet"),
        message: Some(evicted.message.clone()),
    })
}

fn network(picture: &Picture<'_>) -> Found {
    let up = picture.observed.sandbox().is_some()
        && (identity::host_network(picture.pod) || !picture.observed.pod_ips().is_empty());
    Found { kind: "PodReadyToStartContainers", holds: up, reason: None, message: None }
}

fn initialized(picture: &Picture<'_>, phase: &str, init: &[ContainerStatus]) -> Found {
    let main_seen =
        identity::containers(picture.pod).iter().any(|container| picture.observed.latest(&container.name).is_some());
    let incomplete = |(status, container): &(&ContainerStatus, &k8s_openapi::api::core::v1::Container)| {
        if identity::is_sidecar(container) { status.started != Some(true) } else { !status.ready }
    };
    let open: Vec<&str> = init
        .iter()
        .zip(identity::init_containers(picture.pod))
        .filter(incomplete)
        .map(|(status, _)| status.name.as_str())
        .collect();
    if open.is_empty() || main_seen {
        let reason = (phase == "Succeeded").then_some("PodCompleted");
        return Found { kind: "Initialized", holds: true, reason, message: None };
    }
    Found::fails(
        "Initialized",
        "ContainersNotInitialized",
        Some(format!("containers with incomplete status: [{}]", open.join(" "))),
    )
}

fn containers_ready(picture: &Picture<'_>, phase: &str, init: &[ContainerStatus], main: &[ContainerStatus]) -> Found {
    const KIND: &str = "ContainersReady";
    if is_terminal(Some(phase)) {
        return Found::fails(KIND, if phase == "Succeeded" { "PodCompleted" } else { "PodFailed" }, None);
    }
    let sidecars = init
        .iter()
        .zip(identity::init_containers(picture.pod))
        .filter(|(_, container)| identity::is_sidecar(container));
    let all = sidecars.map(|(status, _)| status).chain(main);
    let unready: Vec<&str> = all.filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() && !picture.ended {
        return Found::holds(KIND);
    }
    Found::fails(KIND, "ContainersNotReady", Some(format!("containers with unready status: [{}]", unready.join(" "))))
}

fn pod_ready(picture: &Picture<'_>, containers: &Found) -> Found {
    const KIND: &str = "Ready";
    if !containers.holds {
        return Found { kind: KIND, holds: false, reason: containers.reason, message: containers.message.clone() };
    }
    let conditions = picture.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let held: Vec<&str> =
        conditions.filter(|condition| condition.status == "True").map(|condition| condition.type_.as_str()).collect();
    let gates = picture.pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let open: Vec<&str> = gates.map(|gate| gate.condition_type.as_str()).filter(|gate| !held.contains(gate)).collect();
    if open.is_empty() {
        return Found::holds(KIND);
    }
    let message = format!("corresponding condition of pod readiness gate {:?} does not exist.", open.join("\", \""));
    Found::fails(KIND, "ReadinessGatesNotReady", Some(message))
}

/// A condition keeps the time of its last change.
fn stamp(picture: &Picture<'_>, found: Found) -> PodCondition {
    let status = if found.holds { "True" } else { "False" };
    let before = picture.before.conditions.iter().flatten().find(|condition| condition.type_ == found.kind);
    let since = before.filter(|before| before.status == status).and_then(|before| before.last_transition_time.clone());
    PodCondition {
        type_: found.kind.to_owned(),
        status: status.to_owned(),
        reason: found.reason.map(str::to_owned),
        message: found.message,
        last_transition_time: since.or_else(|| Timestamp::from_second(picture.now.as_second()).ok().map(Time)),
        observed_generation: picture.pod.metadata.generation,
        ..PodCondition::default()
    }
}
