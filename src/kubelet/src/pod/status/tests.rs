use cri::api::{
    ContainerMetadata, ContainerState as RuntimeState, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus,
};
use serde_json::json;

use super::*;
use crate::pod::observed::Seen;
use crate::pod::sandbox::tests::pod;

fn seen(name: &str, state: RuntimeState, exit_code: i32, attempt: u32) -> Seen {
    let status = cri::api::ContainerStatus {
        id: format!("id-{name}-{attempt}"),
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt }),
        state: state as i32,
        exit_code,
        started_at: 1_000_000_000,
        finished_at: 2_000_000_000,
        ..Default::default()
    };
    Seen { sandbox: "s".to_owned(), status }
}

fn observed(containers: Vec<Seen>) -> Observed {
    let network = PodSandboxNetworkStatus { ip: "10.244.0.5".to_owned(), additional_ips: Vec::new() };
    let sandbox = PodSandboxStatus {
        id: "s".to_owned(),
        state: PodSandboxState::SandboxReady as i32,
        network: Some(network),
        ..Default::default()
    };
    Observed { sandboxes: vec![sandbox], containers, ..Observed::default() }
}

fn compute(pod: &Pod, observed: &Observed, waiting: &[(&str, Waiting)], before: &PodStatus) -> PodStatus {
    let waiting = waiting.iter().map(|(name, waiting)| ((*name).to_owned(), waiting.clone())).collect();
    status(&Picture {
        pod,
        observed,
        verdicts: &Verdicts::default(),
        waiting: &waiting,
        before,
        host_ips: &["192.0.2.10".to_owned()],
        runtime: "containerd",
        now: Timestamp::from_second(100).unwrap(),
        failed: None,
        ended: false,
    })
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a str {
    &status.conditions.as_ref().unwrap().iter().find(|condition| condition.type_ == kind).unwrap().status
}

#[test]
fn a_running_pod_is_ready_and_has_its_addresses() {
    let pod = pod(json!({"containers": [{"name": "a", "image": "i"}]}));
    let status =
        compute(&pod, &observed(vec![seen("a", RuntimeState::ContainerRunning, 0, 2)]), &[], &PodStatus::default());
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!((status.pod_ip.as_deref(), status.host_ip.as_deref()), (Some("10.244.0.5"), Some("192.0.2.10")));
    for kind in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(condition(&status, kind), "True", "{kind}");
    }
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!((container.restart_count, container.container_id.as_deref()), (2, Some("containerd://id-a-2")));
}

#[test]
fn a_readiness_probe_that_has_not_spoken_keeps_the_pod_unready() {
    let pod = pod(json!({"containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"port": 1}}}]}));
    let status =
        compute(&pod, &observed(vec![seen("a", RuntimeState::ContainerRunning, 0, 0)]), &[], &PodStatus::default());
    assert_eq!((status.phase.as_deref(), condition(&status, "Ready")), (Some("Running"), "False"));
}

#[test]
fn a_crash_loop_waits_and_remembers_the_crash() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let waiting = Waiting::new("CrashLoopBackOff", "back-off 10s");
    let status = compute(
        &pod,
        &observed(vec![seen("a", RuntimeState::ContainerExited, 3, 1)]),
        &[("a", waiting)],
        &PodStatus::default(),
    );
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.state.as_ref().unwrap().waiting.as_ref().unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(container.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 3);
}

#[test]
fn phases_follow_policy_and_exit_codes() {
    let phase = |policy: &str, containers: Vec<Seen>| {
        let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]}));
        compute(&pod, &observed(containers), &[], &PodStatus::default()).phase.unwrap()
    };
    let exited = |name: &str, code: i32| seen(name, RuntimeState::ContainerExited, code, 0);
    let running = |name: &str| seen(name, RuntimeState::ContainerRunning, 0, 0);
    assert_eq!(phase("Never", vec![exited("a", 0), exited("b", 0)]), "Succeeded");
    assert_eq!(phase("Never", vec![exited("a", 0), exited("b", 1)]), "Failed");
    assert_eq!(phase("Never", vec![running("a"), exited("b", 1)]), "Running");
    assert_eq!(phase("OnFailure", vec![exited("a", 0), exited("b", 1)]), "Running");
    assert_eq!(phase("Always", vec![running("a")]), "Pending");
    assert_eq!(phase("Always", vec![]), "Pending");
}

#[test]
fn initialisation_shows_in_phase_and_condition() {
    let spec = |policy: &str| {
        pod(json!({"restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}))
    };
    let failed = observed(vec![seen("i", RuntimeState::ContainerExited, 1, 0)]);
    assert_eq!(compute(&spec("Never"), &failed, &[], &PodStatus::default()).phase.as_deref(), Some("Failed"));
    let status = compute(&spec("Always"), &failed, &[], &PodStatus::default());
    assert_eq!((status.phase.as_deref(), condition(&status, "Initialized")), (Some("Pending"), "False"));
    let waiting = status.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
}

#[test]
fn an_unchanged_condition_keeps_its_time() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let seen = observed(vec![seen("a", RuntimeState::ContainerRunning, 0, 0)]);
    let mut before = compute(&pod, &seen, &[], &PodStatus::default());
    for condition in before.conditions.as_mut().unwrap() {
        condition.last_transition_time = Some(Time(Timestamp::from_second(7).unwrap()));
    }
    let after = compute(&pod, &seen, &[], &before);
    assert_eq!(after, before);
}
