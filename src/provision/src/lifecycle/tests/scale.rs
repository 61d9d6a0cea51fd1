//! Clusters of every shape grow and shrink, whatever happens on the way.

use std::collections::BTreeSet;

use super::{clean, heal, ids};
use crate::exit::hint;
use crate::plan::Action;
use crate::world::simulated::{Chance, Ended, Fault, Faults, Lab};

const TAG: &str = "v0.1.0-one";
const ONE: &str = "{workers: [{name: w, replicas: 1}]}";
const HA: &str = "{controlPlane: {replicas: 3}, loadBalancer: {replicas: 1}, workers: [{name: w, replicas: 1}]}";
const FIVE: &str = "{controlPlane: {replicas: 5}, loadBalancer: {replicas: 0}, workers: [{name: w, replicas: 1}]}";
const BALANCED: &str = "{loadBalancer: {replicas: 1}, workers: [{name: w, replicas: 1}]}";
const EXTERNAL_ONE: &str = "{etcd: {mode: external, replicas: 1}, loadBalancer: {replicas: 2}}";
const EXTERNAL: &str =
    "{controlPlane: {replicas: 2}, etcd: {mode: external, replicas: 3}, loadBalancer: {replicas: 2}}";

/// Nothing is there that nobody asks for: machines, Nodes, members, addresses, secrets.
fn nothing_is_orphaned(lab: &Lab, what: &str) {
    let desired = lab.desired();
    let names = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
    let all = names(desired.names(|_| true));
    assert_eq!(lab.world.machine_names(), all, "{what}: machines");
    assert_eq!(names(lab.machines_with_secrets()), all, "{what}: secrets");
    let allocated = lab.state.allocations().unwrap().unwrap().machines;
    assert_eq!(allocated.into_keys().collect::<BTreeSet<_>>(), all, "{what}: addresses");
    assert_eq!(lab.world.node_names(), names(desired.names(topology::Role::is_node)), "{what}: Nodes");
    assert_eq!(lab.world.voter_names(), names(desired.etcd()), "{what}: voters of etcd");
}

async fn arrive(lab: &mut Lab, what: &str) {
    match lab.up(Faults::None, 0).await {
        Ended::Well(Ok(_)) => {}
        Ended::Well(Err(error)) => panic!("{what}: {error:#}"),
        Ended::Killed => unreachable!("nobody kills it"),
    }
    assert_eq!(lab.world.stale_services(), [""; 0], "{what}");
    let changes = lab.world.changes();
    let again = lab.up(Faults::None, 0).await.plan();
    assert!(again.is_empty() && lab.world.changes() == changes, "{what}: something is left to do: {again}");
    nothing_is_orphaned(lab, what);
}

/// From one shape to another, killed or failed after every point.
async fn any_fault_on_the_way_is_healed(from: &str, to: &str) {
    let mut lab = Lab::new(from);
    arrive(&mut lab, from).await;
    lab.ask_for(to, TAG);
    lab.up(Faults::None, 1).await.plan();
    let points = lab.world.points();
    arrive(&mut lab, to).await;
    for (at, point) in points.iter().enumerate() {
        for fault in [Fault::KillAfter, Fault::FailBefore, Fault::FailAfter] {
            lab.start_over();
            lab.ask_for(from, TAG);
            lab.up(Faults::None, 1).await.plan();
            lab.ask_for(to, TAG);
            lab.up(Faults::At(at, fault), 1).await;
            arrive(&mut lab, &format!("{from} to {to}: {fault:?} at {at} ({point})")).await;
        }
    }
}

#[tokio::test]
async fn every_shape_comes_to_be() {
    for spec in [ONE, HA, FIVE, BALANCED, EXTERNAL_ONE, EXTERNAL] {
        arrive(&mut Lab::new(spec), spec).await;
    }
}

#[tokio::test]
async fn control_planes_one_to_three() {
    any_fault_on_the_way_is_healed(ONE, HA).await;
}

#[tokio::test]
async fn control_planes_three_to_one() {
    any_fault_on_the_way_is_healed(HA, BALANCED).await;
}

#[tokio::test]
async fn control_planes_three_to_five_and_the_balancer_moves_in() {
    any_fault_on_the_way_is_healed(HA, FIVE).await;
}

#[tokio::test]
async fn external_members_one_to_three() {
    any_fault_on_the_way_is_healed(EXTERNAL_ONE, EXTERNAL).await;
}

#[tokio::test]
async fn external_members_three_to_one() {
    any_fault_on_the_way_is_healed(EXTERNAL, EXTERNAL_ONE).await;
}

#[tokio::test]
async fn members_join_an_etcd_that_is_not_sure_of_its_voters_yet() {
    let mut lab = Lab::new(ONE);
    arrive(&mut lab, ONE).await;
    lab.ask_for(HA, TAG);
    lab.up(Faults::None, 1).await.plan();
    let asked = lab.world.points().iter().filter(|point| point.ends_with("add a learner to etcd")).count();
    assert!(asked > 2, "two members joined, and after the first of them etcd was not sure of its new voter");
    arrive(&mut lab, HA).await;
}

#[tokio::test]
async fn workers_two_to_three_to_one() {
    let workers = |n: u32| format!("{{workers: [{{name: w, replicas: {n}}}]}}");
    any_fault_on_the_way_is_healed(&workers(2), &workers(3)).await;
    any_fault_on_the_way_is_healed(&workers(3), &workers(1)).await;
}

async fn unlucky_lives(seeds: std::ops::Range<u64>) {
    let shapes = [ONE, HA, FIVE, BALANCED, HA];
    let mut lab = Lab::new(ONE);
    for seed in seeds {
        lab.start_over();
        let mut chance = Chance::new(seed);
        let mut last = ONE;
        for life in 0..2 + chance.below(5) {
            last = shapes[usize::try_from(chance.below(5)).unwrap()];
            lab.ask_for(last, TAG);
            let faults = Faults::Random { rarity: 30 + chance.below(300) };
            lab.up(faults, seed ^ (life << 32)).await;
            // Elections have their own mind, and so have people.
            lab.world.elect(chance.below(7));
            if chance.below(3) == 0 {
                lab.world.cordon_any(chance.below(9));
            }
        }
        lab.ask_for(last, TAG);
        // What was begun and never ended stands in the way of something else.
        if let Ended::Well(Err(error)) = lab.up(Faults::None, 0).await {
            assert!(error.to_string().starts_with("etcd was to begin with"), "seed {seed}: {error:#}");
            lab.down(Faults::None, 0).await.plan();
        }
        arrive(&mut lab, &format!("seed {seed}: {last}")).await;
    }
}

#[tokio::test]
async fn five_hundred_unlucky_clusters_that_change_their_minds_end_as_asked() {
    unlucky_lives(0..500).await;
}

/// Made and taken down again, broken at every point of both.
async fn any_fault_from_nothing_to_nothing_is_healed(spec: &str) {
    let mut lab = Lab::new(spec);
    lab.up(Faults::None, 1).await.plan();
    let making = lab.world.points();
    lab.down(Faults::None, 1).await.plan();
    let removing = lab.world.points();
    for (at, point) in making.iter().enumerate() {
        for fault in [Fault::KillAfter, Fault::FailAfter] {
            lab.start_over();
            lab.up(Faults::At(at, fault), 1).await;
            arrive(&mut lab, &format!("{spec}: {fault:?} at {at} ({point})")).await;
        }
        lab.start_over();
        lab.up(Faults::At(at, Fault::KillBefore), 1).await;
        lab.down(Faults::None, 1).await.plan();
        assert!(lab.world.is_bare() && !lab.state.root().exists(), "{spec}: removed after it was killed at {point}");
    }
    for (at, point) in removing.iter().enumerate() {
        for fault in Fault::ALL {
            lab.start_over();
            lab.up(Faults::None, 1).await.plan();
            lab.down(Faults::At(at, fault), 1).await;
            lab.down(Faults::None, 1).await.plan();
            assert!(lab.world.is_bare() && !lab.state.root().exists(), "{spec}: {fault:?} at {at} ({point})");
        }
    }
}

#[tokio::test]
async fn a_cluster_with_high_availability_from_nothing_to_nothing() {
    any_fault_from_nothing_to_nothing_is_healed(HA).await;
}

#[tokio::test]
async fn a_cluster_with_external_etcd_from_nothing_to_nothing() {
    any_fault_from_nothing_to_nothing_is_healed(EXTERNAL).await;
}

#[tokio::test]
async fn workers_come_and_go_without_a_word_to_the_control_plane() {
    let spec = |n: u32| {
        format!("{{controlPlane: {{replicas: 3}}, loadBalancer: {{}}, workers: [{{name: w, replicas: {n}}}]}}")
    };
    let mut lab = Lab::new(&spec(2));
    lab.up(Faults::None, 0).await.plan();
    for n in [4, 1] {
        lab.ask_for(&spec(n), TAG);
        let plan = lab.up(Faults::None, 0).await.plan();
        let touched = plan.steps.iter().find(|step| step.subject != "demo" && !step.subject.starts_with("demo-w-"));
        assert!(touched.is_none(), "{touched:?}");
    }
}

#[tokio::test]
async fn a_control_plane_that_lost_its_disk_joins_under_a_new_identity() {
    let (mut lab, clean, _) = clean(HA).await;
    lab.up(Faults::None, 0).await.plan();
    lab.world.lose_machine("demo-control-plane-2");
    let plan = lab.up(Faults::None, 0).await.plan();
    let replaced = plan.steps.iter().filter(|step| step.action == Action::Replace).map(|step| step.id.as_str());
    let lost = ["create-machine/demo-control-plane-2", "join-etcd/demo-control-plane-2"];
    assert_eq!(replaced.collect::<Vec<_>>(), lost, "{plan}");
    let steps = ids(&plan);
    for step in ["join-etcd", "configure-host", "promote-etcd", "start-control-plane"] {
        assert!(steps.contains(&format!("{step}/demo-control-plane-2")), "{plan}");
    }
    heal(&mut lab, &clean, "a lost control plane").await;
    nothing_is_orphaned(&lab, "a lost control plane");
}

#[tokio::test]
async fn a_member_joins_wherever_the_run_that_replaces_it_breaks() {
    let (mut lab, _, _) = clean(HA).await;
    lab.up(Faults::None, 0).await.plan();
    lab.world.lose_machine("demo-control-plane-1");
    lab.up(Faults::None, 1).await.plan();
    let points = lab.world.points();
    for (at, point) in points.iter().enumerate() {
        for fault in Fault::ALL {
            lab.start_over();
            lab.up(Faults::None, 0).await.plan();
            lab.world.lose_machine("demo-control-plane-1");
            lab.up(Faults::At(at, fault), 1).await;
            arrive(&mut lab, &format!("{fault:?} at {at} ({point})")).await;
        }
    }
}

#[tokio::test]
async fn two_members_that_lost_their_disks_at_once_come_back() {
    let mut lab = Lab::new(FIVE);
    arrive(&mut lab, FIVE).await;
    for name in ["demo-control-plane-2", "demo-control-plane-4"] {
        lab.world.lose_machine(name);
    }
    arrive(&mut lab, "two lost members").await;
}

#[tokio::test]
async fn a_member_that_was_switched_off_comes_back_before_others_join() {
    let mut lab = Lab::new(HA);
    arrive(&mut lab, HA).await;
    lab.world.switch_off("demo-control-plane-3");
    lab.ask_for(FIVE, TAG);
    arrive(&mut lab, "a member that was off").await;
}

#[tokio::test]
async fn a_cluster_whose_only_member_lost_its_disk_is_not_passed_off_as_whole() {
    let mut lab = Lab::new(ONE);
    lab.up(Faults::None, 0).await.plan();
    lab.world.lose_machine("demo-control-plane-1");
    let changes = lab.world.changes();
    let error = lab.up(Faults::None, 0).await.error();
    assert!(error.to_string().contains("every member of etcd has lost its disk"), "{error:#}");
    assert!(hint(&error).unwrap().contains("restore a backup"));
    assert_eq!(lab.world.changes(), changes, "nothing was begun");
}

#[tokio::test]
async fn a_machine_that_is_silent_goes_without_being_emptied() {
    let mut lab = Lab::new("{workers: [{name: w, replicas: 2}]}");
    lab.up(Faults::None, 0).await.plan();
    lab.world.switch_off("demo-w-2");
    lab.ask_for("{workers: [{name: w, replicas: 1}]}", TAG);
    let plan = lab.up(Faults::None, 0).await.plan();
    assert_eq!(ids(&plan), ["retire-machine/demo-w-2", "forget-machine/demo-w-2"], "{plan}");
    nothing_is_orphaned(&lab, "a silent machine");
}
