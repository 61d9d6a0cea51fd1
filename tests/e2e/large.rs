//! Five control planes and pools that differ, after the example `large`: pods find the pool they ask for, two control planes at
//! once may lose their power, and five become three.

use std::collections::BTreeMap;
use std::path::Path;

use harness::{Lab, busybox_archive, skip_reason_of_long_tests};

use crate::failover::{machines, virsh, virtual_address, wait_until_whole};
use crate::probe::Probe;
use crate::shapes::{PATIENCE, every_node_is_ready, make, nothing_is_left_to_do};
use crate::traces::{destroy_leaves_nothing, nobody_is_forbidden, only_what_belongs_to_machines_is_kept};

const NAME: &str = "large";
/// Goes nowhere but to the pool whose label it selects and whose taint it tolerates.
const PICKY: &str = "apiVersion: v1
kind: Pod
metadata: {name: picky}
spec:
  nodeSelector: {workload: memory}
  tolerations: [{key: workload, operator: Equal, value: memory, effect: NoSchedule}]
  terminationGracePeriodSeconds: 1
  containers:
  - {name: picky, image: 'busybox:test', imagePullPolicy: IfNotPresent, command: [sleep, '86400']}
---
apiVersion: v1
kind: Pod
metadata: {name: refused}
spec:
  nodeSelector: {workload: memory}
  containers:
  - {name: refused, image: 'busybox:test', imagePullPolicy: IfNotPresent, command: [sleep, '86400']}
";

#[test]
fn five_control_planes_and_pools_that_differ() {
    if let Some(reason) = skip_reason_of_long_tests() {
        return println!("skipped: {reason}");
    }
    let lab = Lab::new(NAME);
    let text = small(5);
    let topology = lab.write("topology.yaml", text.as_bytes()).display().to_string();
    make(&lab, &topology);
    every_node_is_ready(&lab, &text);
    pools_have_their_labels_and_taints(&lab);
    pods_find_their_pool(&lab);
    two_control_planes_may_fail_at_once(&lab, &topology);
    five_become_three(&lab);
    nobody_is_forbidden(&lab);
    only_what_belongs_to_machines_is_kept(&lab);
    destroy_leaves_nothing(&lab, NAME);
}

/// The example with one machine in each pool, all of them small enough for one host.
fn small(control_planes: u32) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies/large.yaml");
    let mut lines = Vec::new();
    for line in std::fs::read_to_string(source).unwrap().lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        lines.push(match line.trim().split(' ').collect::<Vec<_>>()[..] {
            ["replicas:", "5"] => format!("{indent}replicas: {control_planes}"),
            ["replicas:", "20" | "6" | "4"] => format!("{indent}replicas: 1"),
            ["cpus:", _] => format!("{indent}cpus: 1"),
            ["memory:", _] => format!("{indent}memory: 1536Mi"),
            ["disk:", _] => continue,
            _ => line.to_owned(),
        });
    }
    lines.join("\n")
}

fn pools_have_their_labels_and_taints(lab: &Lab) {
    let each = "{.metadata.labels.provision\\.dev/pool}|{.metadata.labels.workload}|{.metadata.labels.zone}|\
                {range .spec.taints[*]}{.key}={.value}:{.effect}{end}";
    let pools = lab.kubectl(&[
        "get",
        "nodes",
        "-l",
        "provision.dev/pool",
        "-o",
        &format!("jsonpath={{range .items[*]}}{each}{{'\\n'}}{{end}}"),
    ]);
    let mut pools: Vec<_> = pools.lines().collect();
    pools.sort_unstable();
    let wanted = ["edge||edge|edge=:PreferNoSchedule", "general|||", "memory|memory||workload=memory:NoSchedule"];
    assert_eq!(pools, wanted);
}

fn pods_find_their_pool(lab: &Lab) {
    let archive = lab.write("busybox.tar", &busybox_archive().unwrap()).display().to_string();
    let node = format!("{NAME}-memory-1");
    assert_eq!(lab.provision(&["image", "load", NAME, &archive, "--node", &node]).code, 0);
    let pods = lab.write("pods.yaml", PICKY.as_bytes()).display().to_string();
    lab.kubectl(&["apply", "-f", &pods]);
    lab.kubectl(&["wait", "--for=condition=Ready", "pod/picky", "--timeout=240s"]);
    lab.kubectl(&["wait", "--for=condition=PodScheduled=false", "pod/refused", "--timeout=60s"]);
    let placed =
        lab.kubectl(&["get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name}={.spec.nodeName} {end}"]);
    assert_eq!(placed.trim(), format!("picky={node} refused="));
    lab.kubectl(&["delete", "-f", &pods]);
}

/// Three of five members are still more than half: the two that go are the leader of etcd and its neighbour.
fn two_control_planes_may_fail_at_once(lab: &Lab, topology: &str) {
    let probe = Probe::start(crate::network::namespace(lab), lab, &virtual_address(lab));
    let leader = crate::failover::etcd_leader(lab, NAME).expect("somebody leads etcd");
    let other = machines(lab, NAME).into_iter().find(|name| name.contains("control-plane") && *name != leader).unwrap();
    probe.forget();
    for machine in [&leader, &other] {
        virsh(lab, &["destroy", machine]);
    }
    probe.wait_until_steady(&leader);
    println!("{leader} and {other} lost their power: {}", probe.told());
    for machine in [&leader, &other] {
        virsh(lab, &["start", machine]);
    }
    wait_until_whole(lab, topology);
    probe.nothing_acknowledged_is_lost();
}

fn five_become_three(lab: &Lab) {
    let ran = lab.provision(&["scale", NAME, "--control-planes", "3", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    nothing_is_left_to_do(lab, &lab.write("three.yaml", small(3).as_bytes()).display().to_string());
    let etcd = ["get", "pods", "-n", "kube-system", "-l", "component=etcd", "-o", "name"];
    lab.eventually(PATIENCE, &etcd, |ran| ran.code == 0 && ran.stdout.lines().count() == 3);
    let mut roles = BTreeMap::<_, u32>::new();
    for machine in machines(lab, NAME) {
        let role = machine.trim_start_matches("large-").trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
        *roles.entry(role.to_owned()).or_default() += 1;
    }
    let wanted = [("control-plane", 3), ("edge", 1), ("general", 1), ("load-balancer", 2), ("memory", 1)];
    assert_eq!(roles, wanted.map(|(role, count)| (role.to_owned(), count)).into());
}
