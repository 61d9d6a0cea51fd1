//! Topologies that are right, and everything that can be wrong with one.

use super::*;

const HEAD: &str = "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata:\n  name: demo\n";

fn parse(spec: &str) -> Result<Topology, InvalidTopology> {
    Topology::parse("demo.yaml", &format!("{HEAD}{spec}"))
}

/// The text must be refused with exactly these problems, in this order.
fn check<S: AsRef<str>>(spec: &str, expected: &[S]) {
    let error = parse(spec).expect_err(spec).to_string();
    let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
    assert_eq!(error.lines().collect::<Vec<_>>(), expected, "{spec}");
}

#[test]
fn a_name_alone_is_a_single_node() {
    let topology = parse("").unwrap();
    let machines = topology.machines();
    assert_eq!(machines.len(), 1);
    assert_eq!(machines[0].name, "demo-control-plane-1");
    assert_eq!((machines[0].cpus, machines[0].memory), (defaults::CPUS, defaults::MEMORY));
    assert!(machines[0].taints.is_empty(), "workloads must find a node");
    assert!(topology.control_plane_schedulable());
    assert_eq!(topology.dns_replicas(), 1);
}

#[test]
fn defaults_are_written_down_and_read_back() {
    let topology = parse("").unwrap();
    let yaml = topology.to_yaml();
    assert!(yaml.contains("pods: 10.244.0.0/16"), "{yaml}");
    assert_eq!(Topology::parse("again", &yaml).unwrap(), topology);
}

#[test]
fn workers_take_the_work_from_the_control_plane() {
    let topology = parse("spec:\n  workers:\n  - name: small\n    replicas: 2\n    labels: {tier: web}\n").unwrap();
    let names: Vec<String> = topology.machines().into_iter().map(|machine| machine.name).collect();
    assert_eq!(names, ["demo-control-plane-1", "demo-small-1", "demo-small-2"]);
    let machines = topology.machines();
    assert_eq!(machines[0].taints[0].key, "node-role.kubernetes.io/control-plane");
    assert_eq!(machines[1].labels["tier"], "web");
    assert_eq!(topology.dns_replicas(), 2);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    check(
        "spec:\n  workes: []\n  controlPlane:\n    replicas: many\n    machine: {cpus: 0, memory: 2GB}\n",
        &[
            "demo.yaml:6:3: spec.workes: unknown field; did you mean workers?",
            "demo.yaml:8:15: spec.controlPlane.replicas: must be an integer, not a string",
            "demo.yaml:9:21: spec.controlPlane.machine.cpus: must be between 1 and 512, not 0",
            "demo.yaml:9:32: spec.controlPlane.machine.memory: \"2GB\" is not a size; write it as 512Mi, 2Gi or 20G",
        ],
    );
}

#[test]
fn networks_must_be_apart_and_large_enough() {
    check(
        "spec:\n  network:\n    pods: 10.96.0.0/16\n",
        &[
            "demo.yaml:7:5: spec.network.services: 10.96.0.0/12 overlaps spec.network.pods (10.96.0.0/16); choose one apart",
        ],
    );
    check(
        "spec:\n  network:\n    services: 10.0.0.0/30\n    pods: 10.244.0.0/23\n  workers: [{name: w, replicas: 5}]\n",
        &[
            "demo.yaml:7:15: spec.network.services: 10.0.0.0/30 must have a prefix between /12 and /28",
            "demo.yaml:8:11: spec.network.pods: 10.244.0.0/23 has room for 2 nodes at /24 each, and the topology asks for 6",
        ],
    );
}

#[test]
fn voters_are_odd_and_several_control_planes_need_a_balancer() {
    check(
        "spec:\n  controlPlane: {replicas: 2}\n",
        &[
            "demo.yaml:6:3: spec.loadBalancer: is required with more than one control plane: clients need one address",
            "demo.yaml:6:28: spec.controlPlane.replicas: 2 etcd voters tolerate no more failures than 1; choose 1 or 3",
        ],
    );
}

#[test]
fn a_pool_has_a_name_of_its_own() {
    check(
        "spec:\n  workers:\n  - name: a\n  - name: a\n  - name: etcd\n  - name: Upper\n",
        &[
            "demo.yaml:8:11: spec.workers[1].name: \"a\" is the name of an earlier pool too; names must differ",
            "demo.yaml:9:11: spec.workers[2].name: \"etcd\" is the name of a role; choose another for the pool",
            "demo.yaml:10:11: spec.workers[3].name: \"Upper\" must be a DNS label: lower-case letters, digits and '-', at most 17, beginning and ending with a letter or digit",
        ],
    );
}

#[test]
fn wrong_documents_are_named_as_what_they_are() {
    let refuse = |text: &str| Topology::parse("t", text).unwrap_err().to_string();
    assert_eq!(refuse(""), "t: is empty; start from one of the files in topologies/");
    assert!(refuse("- a\n").contains("is a list; a topology is a map"));
    assert!(
        refuse("kind: Cluster\nkind: Cluster\n").contains("duplicate"),
        "{}",
        refuse("kind: Cluster\nkind: Cluster\n")
    );
    assert!(refuse("a: [1, 2\n").starts_with("t:"));
    assert!(refuse("kind: Pod\napiVersion: v1\nmetadata: {name: x}").contains("\"Pod\" is not one of: Cluster"));
    assert!(refuse(&"a".repeat(2 << 20)).contains("larger than"));
}

#[test]
fn deep_nesting_is_refused_without_a_crash() {
    let text = format!("a: {}{}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(Topology::parse("t", &text).is_err());
}

#[test]
fn the_schema_documents_every_field() {
    let schema = json_schema();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        for (field, property) in definition["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name}.{field} has no description");
        }
    }
}

#[test]
fn a_file_that_is_nested_without_end_is_refused_before_it_is_parsed() {
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), format!("{}x", " ".repeat(4000))] {
        let error = Topology::parse("deep.yaml", &text).unwrap_err().to_string();
        assert!(error.contains("nested more than 32 deep"), "{error}");
    }
}

#[test]
fn machines_that_exist_keep_their_names_in_the_order_of_their_roles() {
    let hosts = |workers: u16| {
        format!(
            "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: demo}}\nspec:\n  workers: [{{name: w, replicas: {workers}}}]\n  infrastructure: {{hosts: {{identityFile: /k, machines: [
{{name: b, address: 10.0.0.2, hostKey: k, role: w}}, {{name: a, address: 10.0.0.1, hostKey: k, role: control-plane}},
{{name: c, address: 10.0.0.3, hostKey: k, role: w}}]}}}}\n"
        )
    };
    let names: Vec<String> =
        Topology::parse("t", &hosts(2)).unwrap().machines().into_iter().map(|machine| machine.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let refused = Topology::parse("t", &hosts(3)).unwrap_err().to_string();
    assert!(
        refused.contains("spec.workers[0].replicas: is 3, and spec.infrastructure.hosts has 2 machines of the role w"),
        "{refused}"
    );
}
