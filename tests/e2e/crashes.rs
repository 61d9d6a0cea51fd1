//! Runs that are killed at steps of every kind of plan; the next run converges, and nothing is left of either.

use harness::{Lab, skip_reason_of_long_tests};
use nix::sys::signal::Signal;

use crate::shapes::{PATIENCE, nothing_is_left_to_do};
use crate::traces::{destroy_leaves_nothing, end_run_at, nobody_is_forbidden, only_what_belongs_to_machines_is_kept};

const NAME: &str = "e2e-crash";

/// One control plane that may become three, and one worker that may become two.
fn topology(control_planes: u32, workers: u32) -> String {
    format!(
        "apiVersion: provision.dev/v1alpha1
kind: Cluster
metadata: {{name: {NAME}}}
spec:
  infrastructure: {{libvirt: {{uri: embedded}}}}
  controlPlane: {{replicas: {control_planes}, machine: {{cpus: 1, memory: 1536Mi}}}}
  loadBalancer: {{replicas: 1, machine: {{cpus: 1, memory: 768Mi}}}}
  workers:
  - {{name: worker, replicas: {workers}, machine: {{cpus: 1, memory: 1536Mi}}}}
"
    )
}

/// What is asked for, and the steps at which a run for it is killed, one after the other.
const PLANS: [(u32, u32, &[&str]); 4] = [
    (1, 1, &["create-machine/", "start-control-plane/", "install-addons"]),
    (1, 2, &["create-machine/e2e-crash-worker-2", "wait-node/e2e-crash-worker-2"]),
    (3, 2, &["join-etcd/", "promote-etcd/"]),
    (1, 1, &["drain-node/", "leave-etcd/", "retire-machine/"]),
];

#[test]
fn runs_killed_in_every_kind_of_plan_are_finished_by_the_next() {
    if let Some(reason) = skip_reason_of_long_tests() {
        return println!("skipped: {reason}");
    }
    let lab = Lab::new(NAME);
    for (control_planes, workers, steps) in PLANS {
        let text = topology(control_planes, workers);
        let file = lab.write("topology.yaml", text.as_bytes()).display().to_string();
        for step in steps {
            assert_eq!(end_run_at(&lab, &["apply", &file, "--yes"], step, Signal::SIGKILL), None, "{step}");
            println!("killed at {step}");
        }
        let ran = lab.provision(&["apply", &file, "--yes"]);
        assert_eq!(ran.code, 0, "{control_planes} and {workers}: {ran:?}");
        nothing_is_left_to_do(&lab, &file);
        the_world_is(&lab, control_planes, workers);
        only_what_belongs_to_machines_is_kept(&lab);
        nobody_is_forbidden(&lab);
    }
    assert_eq!(end_run_at(&lab, &["destroy", NAME, "--yes"], "remove-machine/", Signal::SIGKILL), None);
    destroy_leaves_nothing(&lab, NAME);
}

/// As many machines, nodes, members of etcd and leases of nodes as were asked for: nothing is orphaned.
fn the_world_is(lab: &Lab, control_planes: u32, workers: u32) {
    // Leases and pods of nodes that are gone are collected, and not all at once.
    let come_to = |count: usize, args: &[&str]| {
        lab.eventually(PATIENCE, args, |ran| ran.code == 0 && ran.stdout.lines().count() == count);
    };
    let nodes = (control_planes + workers) as usize;
    assert_eq!(lab.kubectl(&["get", "nodes", "-o", "name"]).lines().count(), nodes);
    come_to(nodes, &["get", "leases", "-n", "kube-node-lease", "-o", "name"]);
    let etcd = ["get", "pods", "-n", "kube-system", "-l", "component=etcd", "-o", "name"];
    come_to(control_planes as usize, &etcd);
    let members = "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
                   --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt \
                   --key=/etc/kubernetes/pki/etcd/healthcheck-client.key --command-timeout=20s member list";
    let said = lab.provision(&["ssh", NAME, &format!("{NAME}-control-plane-1"), "--", members]).stdout;
    assert_eq!(said.lines().count(), control_planes as usize, "{said}");
    let machines = crate::failover::machines(lab, NAME);
    assert_eq!(machines.len(), nodes + 1, "the nodes and the balancer: {machines:?}");
}
