use cri::api::{
    ContainerMetadata, ContainerState, ContainerStatus, PodSandboxMetadata, PodSandboxState, PodSandboxStatus,
};
use serde_json::json;

use super::*;
use crate::pod::sandbox::tests::pod;

fn sandbox(ready: bool, attempt: u32) -> PodSandboxStatus {
    let state = if ready { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready };
    PodSandboxStatus {
        id: format!("s{attempt}"),
        state: state as i32,
        metadata: Some(PodSandboxMetadata { attempt, ..Default::default() }),
        ..Default::default()
    }
}

fn seen(name: &str, state: ContainerState, exit_code: i32) -> Seen {
    let status = ContainerStatus {
        id: format!("id-{name}"),
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        state: state as i32,
        exit_code,
        ..Default::default()
    };
    Seen { sandbox: "s0".to_owned(), status }
}

fn running(name: &str) -> Seen {
    seen(name, ContainerState::ContainerRunning, 0)
}

fn exited(name: &str, code: i32) -> Seen {
    seen(name, ContainerState::ContainerExited, code)
}

fn observed(containers: Vec<Seen>) -> Observed {
    Observed { sandboxes: vec![sandbox(true, 0)], containers, ..Observed::default() }
}

#[expect(clippy::needless_pass_by_value, reason = "tests write the spec in place")]
fn check(spec: serde_json::Value, observed: &Observed, expected: &Plan) {
    assert_eq!(&plan(&pod(spec.clone()), observed, &Verdicts::default()), expected, "{spec}");
}

#[test]
fn a_new_pod_gets_a_sandbox_then_its_containers() {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    check(spec.clone(), &Observed::default(), &Plan { sandbox: Some(0), ..Plan::default() });
    check(spec.clone(), &observed(vec![]), &Plan { start: vec![0, 1], ..Plan::default() });
    check(spec.clone(), &observed(vec![running("a"), running("b")]), &Plan::default());
    check(spec, &observed(vec![running("a"), exited("b", 0)]), &Plan { start: vec![1], ..Plan::default() });
}

#[test]
fn the_restart_policy_decides_what_comes_back() {
    let spec = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a"}]});
    let finished = Plan { finished: true, ..Plan::default() };
    let again = Plan { start: vec![0], ..Plan::default() };
    check(spec("Never"), &observed(vec![exited("a", 1)]), &finished);
    check(spec("OnFailure"), &observed(vec![exited("a", 1)]), &again);
    check(spec("OnFailure"), &observed(vec![exited("a", 0)]), &finished);
    check(spec("Always"), &observed(vec![exited("a", 0)]), &again);
}

#[test]
fn a_dead_sandbox_is_replaced_only_where_work_remains() {
    let mut lost = observed(vec![exited("a", 137)]);
    lost.sandboxes = vec![sandbox(false, 4)];
    let spec = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a"}]});
    check(spec("Always"), &lost, &Plan { sandbox: Some(5), ..Plan::default() });
    check(spec("Never"), &lost, &Plan { finished: true, ..Plan::default() });
    lost.containers = vec![exited("a", 0)];
    check(spec("OnFailure"), &lost, &Plan { finished: true, ..Plan::default() });
}

#[test]
fn init_containers_run_one_after_another() {
    let spec = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
    check(spec.clone(), &observed(vec![]), &Plan { init: vec![0], ..Plan::default() });
    check(spec.clone(), &observed(vec![running("i")]), &Plan::default());
    check(spec.clone(), &observed(vec![exited("i", 1)]), &Plan { init: vec![0], ..Plan::default() });
    check(spec.clone(), &observed(vec![exited("i", 0)]), &Plan { init: vec![1], ..Plan::default() });
    check(spec, &observed(vec![exited("i", 0), exited("j", 0)]), &Plan { start: vec![0], ..Plan::default() });
    let never = json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    check(never, &observed(vec![exited("i", 1)]), &Plan { finished: true, ..Plan::default() });
}

#[test]
fn init_containers_run_again_in_a_new_sandbox_only() {
    let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    let mut other = observed(vec![exited("i", 0), exited("a", 0)]);
    check(spec.clone(), &other, &Plan { start: vec![0], ..Plan::default() });
    other.sandboxes[0].id = "new".to_owned();
    check(spec, &other, &Plan { init: vec![0], ..Plan::default() });
}

#[test]
fn sidecars_start_first_and_keep_running() {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "side", "restartPolicy": "Always"}, {"name": "i"}],
        "containers": [{"name": "a"}],
    });
    check(spec.clone(), &observed(vec![]), &Plan { init: vec![0], ..Plan::default() });
    check(spec.clone(), &observed(vec![running("side")]), &Plan { init: vec![1], ..Plan::default() });
    let rest = vec![exited("side", 1), exited("i", 0), running("a")];
    check(spec.clone(), &observed(rest), &Plan { init: vec![0], ..Plan::default() });
    let over = vec![running("side"), exited("i", 0), exited("a", 0)];
    check(spec, &observed(over), &Plan { finished: true, ..Plan::default() });
}

#[test]
fn a_failed_probe_or_a_new_image_ends_the_container() {
    let pod = pod(json!({"containers": [{"name": "a", "image": "new"}]}));
    let mut old = running("a");
    old.status.annotations.insert(identity::CONTAINER_HASH.to_owned(), "other".to_owned());
    let plan_of = |seen: Seen, verdicts: &Verdicts| plan(&pod, &observed(vec![seen]), verdicts).kill;
    assert_eq!(plan_of(old, &Verdicts::default())[0].message, "Container a definition changed, will be restarted");
    let mut verdicts = Verdicts::default();
    verdicts.set_alive("id-a", false);
    assert_eq!(plan_of(running("a"), &verdicts)[0].message, "Container a failed liveness probe, will be restarted");
}
