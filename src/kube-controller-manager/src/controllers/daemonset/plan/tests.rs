//! Daemon sets over a few nodes.

use serde_json::json;

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "a JSON literal reads best at the call")]
fn set(spec: serde_json::Value, unavailable: i32) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": "agent", "namespace": "kube-system", "uid": "d", "generation": 2},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable}},
                 "template": {"metadata": {"labels": {"app": "agent"}}, "spec": spec}},
    }))
    .unwrap()
}

fn plain() -> DaemonSet {
    set(json!({"containers": []}), 1)
}

#[expect(clippy::needless_pass_by_value, reason = "a JSON literal reads best at the call")]
fn node(name: &str, taints: serde_json::Value) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(
            json!({"metadata": {"name": name, "labels": {"disk": name}}, "spec": {"taints": taints}}),
        )
        .unwrap(),
    )
}

fn pod(name: &str, node: &str, hash: &str, phase: &str) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name, "labels": {"app": "agent", HASH: hash}}, "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if phase == "Running" { "True" } else { "False" }}]},
        }))
        .unwrap(),
    )
}

fn planned(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> Plan {
    plan(&Observed { set, nodes, pods, hash: "new", now: Timestamp::UNIX_EPOCH })
}

fn deleted(plan: &Plan) -> Vec<&str> {
    plan.delete.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
}

#[test]
fn every_node_gets_one_pod() {
    let nodes = [node("a", json!([])), node("b", json!([]))];
    let plan = planned(&plain(), &nodes, &[pod("one", "a", "new", "Running")]);
    assert_eq!(plan.create_on, ["b"]);
    assert!(plan.delete.is_empty());
    assert_eq!(
        (plan.status.desired_number_scheduled, plan.status.number_ready, plan.status.number_unavailable),
        (2, 1, Some(1))
    );
}

#[test]
fn a_selector_and_taints_say_where() {
    let nodes = [node("a", json!([])), node("b", json!([])), node("c", json!([{"key": "x", "effect": "NoSchedule"}]))];
    assert_eq!(planned(&plain(), &nodes, &[]).create_on, ["a", "b"]);
    assert_eq!(
        planned(&set(json!({"containers": [], "nodeSelector": {"disk": "b"}}), 1), &nodes, &[]).create_on,
        ["b"]
    );
    let tolerant = set(json!({"containers": [], "tolerations": [{"operator": "Exists"}]}), 1);
    assert_eq!(planned(&tolerant, &nodes, &[]).create_on, ["a", "b", "c"]);
}

#[test]
fn a_node_that_is_not_ready_keeps_and_gets_its_daemon() {
    let taints = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
    assert_eq!(planned(&plain(), &[node("a", taints)], &[]).create_on, ["a"]);
}

#[test]
fn a_taint_against_new_pods_lets_the_old_one_stay() {
    let nodes = [node("a", json!([{"key": "x", "effect": "NoSchedule"}]))];
    let plan = planned(&plain(), &nodes, &[pod("one", "a", "new", "Running")]);
    assert!(plan.delete.is_empty());
    assert_eq!(plan.status.number_misscheduled, 1);
    let evicting = [node("a", json!([{"key": "x", "effect": "NoExecute"}]))];
    assert_eq!(deleted(&planned(&plain(), &evicting, &[pod("one", "a", "new", "Running")])), ["one"]);
}

#[test]
fn failed_pods_and_second_ones_go() {
    let pods =
        [pod("one", "a", "new", "Running"), pod("two", "a", "new", "Running"), pod("three", "a", "new", "Failed")];
    assert_eq!(deleted(&planned(&plain(), &[node("a", json!([]))], &pods)), ["three", "two"]);
}

#[test]
fn a_new_template_replaces_one_pod_at_a_time() {
    let nodes = [node("a", json!([])), node("b", json!([]))];
    let pods = [pod("one", "a", "old", "Running"), pod("two", "b", "old", "Running")];
    assert_eq!(deleted(&planned(&plain(), &nodes, &pods)).len(), 1);
    let pods = [pod("one", "a", "new", "Pending"), pod("two", "b", "old", "Running")];
    assert!(planned(&plain(), &nodes, &pods).delete.is_empty(), "the new one does not serve yet");
    let pods = [pod("one", "a", "old", "Pending"), pod("two", "b", "old", "Running")];
    assert_eq!(deleted(&planned(&plain(), &nodes, &pods)), ["one"], "one that does not serve anyway goes first");
}

#[test]
fn a_pod_made_for_a_node_is_known_before_it_is_bound() {
    let mut unbound = Pod::clone(&pod("one", "", "new", "Pending"));
    fit(&mut unbound, &plain(), "a", "new");
    unbound.spec.as_mut().unwrap().node_name = None;
    let plan = planned(&plain(), &[node("a", json!([]))], &[Arc::new(unbound)]);
    assert!(plan.create_on.is_empty() && plan.delete.is_empty());
}
