//! The statuses of containers.

use cri::api::ContainerState as RuntimeState;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Picture, Waiting};
use crate::pod::identity;
use crate::pod::observed::Seen;

pub(super) fn statuses(picture: &Picture<'_>, containers: &[Container], init: bool) -> Vec<ContainerStatus> {
    containers.iter().map(|container| status(picture, container, init)).collect()
}

fn status(picture: &Picture<'_>, container: &Container, init: bool) -> ContainerStatus {
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let before = told_before(picture, &container.name, init);
    let Some(seen) = picture.observed.latest(&container.name) else {
        if let Some(before) = before.filter(|before| before.container_id.is_some()) {
            return vanished(picture, before);
        }
        status.state = Some(waiting(picture, container, init));
        status.last_state = Some(ContainerState::default());
        return status;
    };
    status.container_id = Some(format!("{}://{}", picture.runtime, seen.status.id));
    status.image_id.clone_from(&seen.status.image_ref);
    status.restart_count = i32::try_from(seen.attempt()).unwrap_or(i32::MAX);
    let previous = picture.observed.previous(&container.name).filter(|previous| previous.exited());
    status.last_state = Some(match previous {
        Some(previous) => ended(picture, previous),
        None => before.and_then(|before| before.last_state.clone()).unwrap_or_default(),
    });
    if seen.running() {
        let id = &seen.status.id;
        status.state = Some(running(seen));
        status.started = Some(picture.verdicts.started(id, container));
        status.ready = (!init || identity::is_sidecar(container)) && picture.verdicts.ready(id, container);
    } else if seen.exited() {
        status.ready = init && seen.succeeded() && !identity::is_sidecar(container);
        match picture.waiting.get(&container.name).filter(|_| !picture.ended) {
            // Between two runs: the wait is the state, the end of the last run the one before.
            Some(reason) => {
                status.last_state = Some(ended(picture, seen));
                status.state = Some(as_waiting(reason));
            }
            None => status.state = Some(ended(picture, seen)),
        }
    } else {
        status.state = Some(waiting(picture, container, init));
    }
    status
}

fn told_before<'a>(picture: &'a Picture<'_>, name: &str, init: bool) -> Option<&'a ContainerStatus> {
    let list = if init { &picture.before.init_container_statuses } else { &picture.before.container_statuses };
    list.iter().flatten().find(|status| status.name == name)
}

/// A container that was told of and is nowhere to be found has ended in an unknown way.
fn vanished(picture: &Picture<'_>, before: &ContainerStatus) -> ContainerStatus {
    let mut status = before.clone();
    status.ready = before.ready && picture.ended;
    let ended_before = before.state.as_ref().is_some_and(|state| state.terminated.is_some());
    if !ended_before {
        status.ready = false;
        status.started = Some(false);
        status.state = Some(ContainerState {
            terminated: Some(ContainerStateTerminated {
                container_id: before.container_id.clone(),
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        });
    }
    status
}

fn waiting(picture: &Picture<'_>, container: &Container, init: bool) -> ContainerState {
    if let Some(reason) = picture.waiting.get(&container.name) {
        return as_waiting(reason);
    }
    let initializing = !init && !identity::init_containers(picture.pod).is_empty();
    let reason = if initializing || init { "PodInitializing" } else { "ContainerCreating" };
    as_waiting(&Waiting::new(reason, ""))
}

fn as_waiting(reason: &Waiting) -> ContainerState {
    let message = Some(reason.message.clone()).filter(|message| !message.is_empty());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.reason.clone()), message }),
        ..ContainerState::default()
    }
}

fn running(seen: &Seen) -> ContainerState {
    ContainerState {
        running: Some(ContainerStateRunning { started_at: time(seen.status.started_at) }),
        ..ContainerState::default()
    }
}

fn ended(picture: &Picture<'_>, seen: &Seen) -> ContainerState {
    debug_assert_eq!(seen.status.state, RuntimeState::ContainerExited as i32);
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let message = picture.observed.messages.get(&seen.status.id).cloned().or_else(|| text(&seen.status.message));
    let fallback = if seen.status.exit_code == 0 { "Completed" } else { "Error" };
    let terminated = ContainerStateTerminated {
        container_id: Some(format!("{}://{}", picture.runtime, seen.status.id)),
        exit_code: seen.status.exit_code,
        reason: text(&seen.status.reason).or_else(|| text(fallback)),
        message,
        started_at: time(seen.status.started_at),
        finished_at: time(seen.status.finished_at),
        signal: None,
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// The API tells whole seconds; a fraction would differ after every round trip.
fn time(nanos: i64) -> Option<Time> {
    (nanos > 0).then(|| Timestamp::from_second(nanos / 1_000_000_000).ok())?.map(Time)
}
