use super::*;

const HEAD: &str = "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {name: demo}\n";

fn topology(spec: &str) -> Topology {
    Topology::parse("demo.yaml", &format!("{HEAD}{spec}")).unwrap()
}

#[test]
fn what_cannot_change_is_refused_by_name_and_place() {
    let before = topology("");
    let text = format!("{HEAD}spec:\n  network:\n    pods: 10.200.0.0/16\n    domain: other.local\n");
    let error = Topology::parse_successor("demo.yaml", &text, &before).unwrap_err().to_string();
    assert!(
        error.contains(
            "demo.yaml:6:11: spec.network.pods: cannot change from 10.244.0.0/16 to 10.200.0.0/16 in a cluster that exists"
        ),
        "{error}"
    );
    assert!(error.contains("demo.yaml:7:13: spec.network.domain: cannot change from cluster.local"), "{error}");
    assert!(error.contains("write cluster.local again, or destroy the cluster"), "{error}");
}

#[test]
fn every_fixed_field_is_told_apart() {
    let check = |before: &str, after: &str, path: &str| {
        let error = Topology::parse_successor("f", &format!("{HEAD}{after}"), &topology(before)).unwrap_err();
        let paths: Vec<&str> = error.problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, [path]);
    };
    check("", "spec: {network: {services: 10.97.0.0/16}}", "spec.network.services");
    check("", "spec: {network: {nodePrefix: 25}}", "spec.network.nodePrefix");
    check("", "spec: {etcd: {mode: external}}", "spec.etcd.mode");
    check("", "spec: {infrastructure: {libvirt: {uri: embedded}}}", "spec.infrastructure.libvirt.uri");
    check(
        "spec: {infrastructure: {libvirt: {network: 10.80.0.0/24}}}",
        "spec: {infrastructure: {libvirt: {network: 10.81.0.0/24}}}",
        "spec.infrastructure.libvirt.network",
    );
    let cloud = format!("spec: {{image: {{cloud: {{url: 'https://example.org/i', sha256: {}}}}}}}", "a".repeat(64));
    check("", &cloud, "spec.image");
}

#[test]
fn what_may_change_is_let_through_and_a_default_that_is_written_down_is_no_change() {
    let before = topology("spec: {workers: [{name: w}]}");
    let after = "spec: {network: {pods: 10.244.0.0/16}, infrastructure: {libvirt: {uri: auto}}, workers: [{name: w, replicas: 3}]}";
    let after = Topology::parse_successor("f", &format!("{HEAD}{after}"), &before).unwrap();
    assert_eq!(after.cluster().spec.workers[0].replicas, 3);
    assert_eq!(Topology::parse_successor("f", &after.to_yaml(), &before).unwrap(), after);
}

#[test]
fn a_change_is_checked_like_a_file() {
    let before = topology("spec: {workers: [{name: w}]}");
    let more = before.with("demo with 4 workers", |cluster| cluster.spec.workers[0].replicas = 4).unwrap();
    assert_eq!(more.machines().len(), 5);
    let error = before.with("demo with 2 control planes", |cluster| cluster.spec.control_plane.replicas = 2);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("demo with 2 control planes: spec.controlPlane.replicas: "), "{error}");
}

#[test]
fn machines_keep_their_size_and_the_refusal_names_the_field_and_the_cure() {
    let before =
        topology("spec: {workers: [{name: old}, {name: w, machine: {memory: 4Gi}}, {name: none, replicas: 0}]}");
    let text = format!(
        "{HEAD}spec:\n  controlPlane: {{machine: {{cpus: 4}}}}\n  workers:\n  - name: w\n    machine: {{memory: 8Gi, disk: 5Gi}}\n  - name: none\n    machine: {{cpus: 8}}\n  - {{name: new, machine: {{cpus: 8}}}}\n"
    );
    let error = Topology::parse_successor("demo.yaml", &text, &before).unwrap_err();
    let paths: Vec<&str> = error.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        ["spec.controlPlane.machine.cpus", "spec.workers[0].machine.memory", "spec.workers[0].machine.disk"]
    );
    let text = error.to_string();
    assert!(
        text.contains(
            "demo.yaml:8:23: spec.workers[0].machine.memory: cannot change from 4Gi to 8Gi: machines keep the size"
        ),
        "{text}"
    );
    assert!(text.contains("write 4Gi again, or add a pool of the new size"), "{text}");
    assert!(text.contains("spec.workers[0].machine.disk: cannot change from 10Gi to 5Gi"), "{text}");
    // A default that is written down is no change, nor is the size of machines that are none of the cluster's.
    let same = "spec: {etcd: {machine: {cpus: 8}}, workers: [{name: w, machine: {memory: 4096Mi, cpus: 2}}]}";
    Topology::parse_successor("f", &format!("{HEAD}{same}"), &before).unwrap();
}
