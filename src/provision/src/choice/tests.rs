use std::collections::BTreeSet;

use super::*;
use crate::allocate::{Site, extend, fresh};
use crate::inventory::SeenHost;
use crate::state::Seat;

const THREE: &str = "{controlPlane: {replicas: 3}, loadBalancer: {replicas: 0}, workers: [{name: w, replicas: 3}]}";
const FEWER: &str = "{loadBalancer: {replicas: 0}, workers: [{name: w, replicas: 2}]}";

fn topology(spec: &str) -> Topology {
    let text = format!("apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: demo}}\nspec: {spec}\n");
    Topology::parse("demo.yaml", &text).unwrap()
}

fn allocations(spec: &str) -> Allocations {
    let topology = topology(spec);
    let site = Site {
        id: uuid::Uuid::from_u128(7),
        libvirt: "embedded".to_owned(),
        subnet: "10.80.0.0/24".parse().unwrap(),
        api_port: None,
        emulated: false,
    };
    let mut allocations = fresh(&topology, &site);
    extend(&mut allocations, &topology).unwrap();
    allocations
}

/// Everything works, and the first control plane leads.
fn healthy(allocations: &Allocations) -> (Inventory, Facts) {
    let mut seen = Inventory::default();
    for (name, machine) in &allocations.machines {
        seen.survey.machines.insert(name.clone(), Power::On);
        let member = machine.role == "control-plane";
        seen.hosts.insert(name.clone(), SeenHost { member, ..SeenHost::default() });
        seen.cluster.ready_nodes.insert(name.clone());
    }
    (seen, Facts { leader: Some("demo-control-plane-1".to_owned()), burdens: BTreeMap::new() })
}

struct Case {
    allocations: Allocations,
    seen: Inventory,
    facts: Facts,
}

/// Who goes of three control planes of which one is asked for, and of three workers of which two are.
fn chosen(change: impl FnOnce(&mut Case)) -> (Vec<String>, BTreeMap<String, String>) {
    let allocations = allocations(THREE);
    let (seen, facts) = healthy(&allocations);
    let mut case = Case { allocations, seen, facts };
    change(&mut case);
    let topology = topology(FEWER);
    let mut all = BTreeMap::new();
    for surplus in surpluses(&topology, &case.allocations) {
        all.extend(choose(&surplus, (&topology, &case.allocations), (&case.seen, &case.facts)));
    }
    let short = all.keys().map(|name| name.trim_start_matches("demo-").to_owned()).collect();
    (short, all)
}

fn check(expected: &[&str], (name, why): (&str, &str), change: impl FnOnce(&mut Case)) {
    let (short, all) = chosen(change);
    assert_eq!(short, expected);
    assert_eq!(all[&format!("demo-{name}")], format!("fewer are asked for, and {why}"));
}

#[test]
fn of_machines_that_are_alike_the_newest_go() {
    let newest = ["control-plane-2", "control-plane-3", "w-3"];
    check(&newest, ("w-3", "it is the newest"), |_| {});
}

#[test]
fn what_does_not_work_goes_first() {
    let expected = ["control-plane-2", "control-plane-3", "w-1"];
    check(&expected, ("w-1", "it does not work"), |case| {
        case.seen.survey.machines.insert("demo-w-1".to_owned(), Power::Off);
    });
    check(&expected, ("w-1", "it does not work"), |case| {
        case.seen.survey.machines.remove("demo-w-1");
    });
    // Only that we cannot log in is no reason as long as the cluster can use it.
    let newest = ["control-plane-2", "control-plane-3", "w-3"];
    check(&newest, ("w-3", "it is the newest"), |case| {
        case.seen.hosts.remove("demo-w-1");
    });
    check(&["control-plane-1", "control-plane-3", "w-3"], ("control-plane-1", "it does not work"), |case| {
        case.seen.hosts.get_mut("demo-control-plane-1").unwrap().member = false;
        case.facts.leader = Some("demo-control-plane-2".to_owned());
    });
}

#[test]
fn the_leader_of_etcd_stays_where_another_can_go() {
    let others = ["control-plane-1", "control-plane-2", "w-3"];
    check(&others, ("control-plane-1", "it does not lead etcd"), |case| {
        case.facts.leader = Some("demo-control-plane-3".to_owned());
    });
    // Not even a Node that is not Ready makes it go.
    check(&others, ("control-plane-2", "it does not lead etcd"), |case| {
        case.facts.leader = Some("demo-control-plane-3".to_owned());
        case.seen.cluster.ready_nodes.remove("demo-control-plane-3");
    });
    let (short, _) = chosen(|case| {
        case.facts.leader = Some("demo-control-plane-3".to_owned());
        for other in ["demo-control-plane-1", "demo-control-plane-2"] {
            case.allocations.machines.get_mut(other).unwrap().leaving = true;
        }
    });
    assert_eq!(short, ["w-3"], "the choice was made before");
}

#[test]
fn a_member_without_a_vote_goes_before_those_that_have_one() {
    let expected = ["control-plane-1", "control-plane-3", "w-3"];
    check(&expected, ("control-plane-1", "it has no vote in etcd yet"), |case| {
        case.facts.leader = Some("demo-control-plane-2".to_owned());
        let seat = Seat { initial_cluster: String::new(), voter: false };
        case.allocations.machines.get_mut("demo-control-plane-1").unwrap().etcd = Some(seat);
    });
}

#[test]
fn a_node_that_is_not_ready_goes_then_a_cordoned_one_then_one_with_fewer_pods_that_cannot_move() {
    let burden = |cordoned, stuck| Burden { cordoned, stuck };
    let burdens = |case: &mut Case| {
        case.facts.burdens.insert("demo-w-1".to_owned(), burden(false, 1));
        case.facts.burdens.insert("demo-w-2".to_owned(), burden(true, 3));
        case.facts.burdens.insert("demo-w-3".to_owned(), burden(false, 2));
    };
    let going = |worker: &'static str| ["control-plane-2", "control-plane-3", worker];
    check(&going("w-3"), ("w-3", "its Node is not Ready"), |case| {
        burdens(case);
        case.seen.cluster.ready_nodes.remove("demo-w-3");
    });
    check(&going("w-2"), ("w-2", "its Node takes no new pods"), burdens);
    check(&going("w-1"), ("w-1", "fewer pods on it cannot move"), |case| {
        burdens(case);
        case.facts.burdens.insert("demo-w-2".to_owned(), burden(false, 3));
    });
}

#[test]
fn the_choice_is_the_same_whenever_the_same_is_seen() {
    let first = chosen(|_| {});
    for _ in 0..10 {
        assert_eq!(chosen(|_| {}), first);
    }
}

#[test]
fn there_is_no_choice_where_nothing_is_too_many_or_all_of_a_kind_go() {
    let allocations = allocations(THREE);
    assert_eq!(surpluses(&topology(THREE), &allocations), []);
    let none = topology("{controlPlane: {replicas: 3}, loadBalancer: {replicas: 0}}");
    assert_eq!(surpluses(&none, &allocations), []);
    let kinds = surpluses(&topology(FEWER), &allocations);
    let counts: BTreeSet<(String, usize)> = kinds.iter().map(|it| (it.role.slug().to_owned(), it.count)).collect();
    assert_eq!(counts, BTreeSet::from([("control-plane".to_owned(), 2), ("w".to_owned(), 1)]));
}
