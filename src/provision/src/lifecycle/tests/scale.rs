//! Clusters of every shape grow and shrink, whatever happens on the way.

use std::collections::BTreeSet;
use std::fmt::Write as _;

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

const EXTERNAL_FIVE: &str =
    "{controlPlane: {replicas: 2}, etcd: {mode: external, replicas: 5}, loadBalancer: {replicas: 2}}";
const POOLS: &str = "{workers: [{name: w, replicas: 1}, {name: big, replicas: 2}]}";
const OTHER_POOLS: &str = "{controlPlane: {replicas: 3}, loadBalancer: {replicas: 1}, workers: [{name: w, replicas: 3}, {name: new, replicas: 1}]}";
const STACKED: [&str; 6] = [ONE, HA, FIVE, BALANCED, POOLS, OTHER_POOLS];
const EXTERNALS: [&str; 4] = [
    EXTERNAL_ONE,
    EXTERNAL,
    EXTERNAL_FIVE,
    "{etcd: {mode: external, replicas: 3}, loadBalancer: {replicas: 1}, workers: [{name: a, replicas: 2}, {name: b, replicas: 1}]}",
];

/// Whether there is time for everything: `make test-all` has it.
fn all_is_asked_for() -> bool {
    std::env::var_os("PROVISION_TEST_ALL").is_some()
}

/// The faults that strike at a point. A process may die anywhere; with little time, calls fail at every third point.
fn faults_at(at: usize, faults: &[Fault]) -> Vec<Fault> {
    let strikes = |(number, fault): &(usize, &Fault)| {
        all_is_asked_for() || **fault == Fault::KillAfter || (at + number).is_multiple_of(3)
    };
    faults.iter().enumerate().filter(strikes).map(|(_, fault)| *fault).collect()
}

/// Nothing is there that nobody asks for: machines with their disks, what the network knows of them, Nodes, members, addresses,
/// secrets.
pub(super) fn nothing_is_orphaned(lab: &Lab, what: &str) {
    let desired = lab.desired();
    let names = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
    let all = names(desired.names(|_| true));
    assert_eq!(lab.world.machine_names(), all, "{what}: machines");
    let volumes = all.iter().flat_map(|name| ["log", "qcow2", "seed"].map(|end| format!("{name}.{end}")));
    assert_eq!(lab.world.volume_names(), volumes.collect(), "{what}: volumes");
    assert_eq!(lab.world.promised_names(), all, "{what}: addresses in the network");
    assert_eq!(names(lab.machines_with_secrets()), all, "{what}: secrets");
    let allocated = lab.state.allocations().unwrap().unwrap().machines;
    assert_eq!(allocated.into_keys().collect::<BTreeSet<_>>(), all, "{what}: addresses");
    assert_eq!(lab.world.node_names(), names(desired.names(topology::Role::is_node)), "{what}: Nodes");
    assert_eq!(lab.world.voter_names(), names(desired.etcd()), "{what}: voters of etcd");
    assert_eq!(lab.world.learners(), 0, "{what}: members of etcd without a vote");
    assert_eq!(lab.world.running().into_iter().collect::<BTreeSet<_>>(), all, "{what}: machines that run");
}

pub(super) async fn arrive(lab: &mut Lab, what: &str) {
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
pub(super) async fn any_fault_on_the_way_is_healed(from: &str, to: &str) {
    let mut lab = Lab::new(from);
    arrive(&mut lab, from).await;
    lab.ask_for(to, TAG);
    lab.up(Faults::None, 1).await.plan();
    let points = lab.world.points();
    arrive(&mut lab, to).await;
    for (at, point) in points.iter().enumerate() {
        for fault in faults_at(at, &[Fault::KillAfter, Fault::FailBefore, Fault::FailAfter]) {
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
    for spec in STACKED.into_iter().chain(EXTERNALS) {
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
async fn control_planes_five_to_three_and_the_balancer_moves_out() {
    any_fault_on_the_way_is_healed(FIVE, HA).await;
}

#[tokio::test]
async fn one_pool_grows_while_another_goes_and_a_third_comes() {
    let after = "{workers: [{name: w, replicas: 3}, {name: new, replicas: 1}]}";
    any_fault_on_the_way_is_healed(POOLS, after).await;
}

#[tokio::test]
async fn external_members_three_to_five() {
    any_fault_on_the_way_is_healed(EXTERNAL, EXTERNAL_FIVE).await;
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

/// What may happen to a cluster between two runs, or instead of one.
async fn something_happens(lab: &mut Lab, chance: &mut Chance, seed: u64) {
    let faults = |chance: &mut Chance| Faults::Random { rarity: 30 + chance.below(300) };
    let exists = lab.state.root().exists();
    match chance.below(12) {
        0 | 1 => lab.world.cordon_any(chance.below(9)),
        2 | 3 => lab.world.switch_any_off(chance.below(12)),
        4 | 5 => lab.world.slow_any_down(chance.below(12), 1 + usize::try_from(chance.below(3)).unwrap()),
        6 if exists => drop(lab.stop(faults(chance), seed).await),
        7 if exists => drop(lab.start(faults(chance), seed).await),
        8 => drop(lab.down(faults(chance), seed).await),
        // Elections have their own mind.
        _ => lab.world.elect(chance.below(7)),
    }
}

/// Lets a run go well, or what stands in its way be taken away as its hint says.
async fn settle(lab: &mut Lab, story: &str) {
    let Err(error) = lab.up(Faults::None, 0).await.into_result() else { return };
    let text = format!("{error:#}");
    // What was begun and never ended stands in the way of something else.
    let stands = ["etcd was to begin with", "the removal of cluster demo has begun"];
    assert!(stands.iter().any(|way| text.starts_with(way)), "{story}\n{text}");
    lab.down(Faults::None, 0).await.plan();
}

async fn unlucky_lives(shapes: &[&str], seeds: std::ops::Range<u64>) {
    let mut lab = Lab::new(shapes[0]);
    for seed in seeds {
        lab.start_over();
        let mut chance = Chance::new(seed);
        let (mut last, mut story) = (shapes[0], format!("seed {seed}"));
        for life in 0..2 + chance.below(5) {
            last = shapes[usize::try_from(chance.below(u64::try_from(shapes.len()).unwrap())).unwrap()];
            lab.ask_for(last, TAG);
            let faults = Faults::Random { rarity: 30 + chance.below(300) };
            let ended = lab.up(faults, seed ^ (life << 32)).await;
            let _ = write!(story, "\n{last}: {}", ended.in_words());
            something_happens(&mut lab, &mut chance, seed ^ (life << 40)).await;
        }
        lab.ask_for(last, TAG);
        lab.world.all_are_quick();
        settle(&mut lab, &story).await;
        arrive(&mut lab, &story).await;
    }
}

/// Seeds from `first` on: few of `many`, if there is little time. Each test has a part of them, so that it ends in time on a busy
/// machine.
fn seeds(first: u64, few: u64, many: u64) -> std::ops::Range<u64> {
    first..first + if all_is_asked_for() { many } else { few }
}

#[tokio::test]
async fn unlucky_clusters_that_change_their_minds_end_as_asked() {
    unlucky_lives(&STACKED, seeds(0, 20, 250)).await;
}

#[tokio::test]
async fn more_unlucky_clusters_that_change_their_minds_end_as_asked() {
    unlucky_lives(&STACKED, seeds(250, 20, 250)).await;
}

#[tokio::test]
async fn unlucky_clusters_with_external_etcd_end_as_asked() {
    unlucky_lives(&EXTERNALS, seeds(0, 50, 500)).await;
}

#[tokio::test]
async fn more_unlucky_clusters_with_external_etcd_end_as_asked() {
    unlucky_lives(&EXTERNALS, seeds(500, 50, 500)).await;
}

/// Made and taken down again, broken at every point of both.
async fn any_fault_from_nothing_to_nothing_is_healed(spec: &str) {
    let mut lab = Lab::new(spec);
    lab.up(Faults::None, 1).await.plan();
    let making = lab.world.points();
    lab.down(Faults::None, 1).await.plan();
    let removing = lab.world.points();
    for (at, point) in making.iter().enumerate() {
        for fault in faults_at(at, &[Fault::KillAfter, Fault::FailAfter]) {
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
        for fault in faults_at(at, &Fault::ALL) {
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

/// A member loses its disk, and whatever happens to the run that replaces it, another one ends it.
async fn a_lost_member_is_replaced_wherever_the_run_breaks(spec: &str, lost: &str) {
    let (mut lab, _, _) = clean(spec).await;
    lab.up(Faults::None, 0).await.plan();
    lab.world.lose_machine(lost);
    let plan = lab.up(Faults::None, 1).await.plan();
    let points = lab.world.points();
    for step in ["join-etcd", "promote-etcd"] {
        assert!(ids(&plan).contains(&format!("{step}/{lost}")), "{plan}");
    }
    let at = |what: &str| points.iter().position(|point| point.ends_with(what)).unwrap();
    assert!(at("remove a member of etcd") < at("add a learner to etcd"), "{points:?}");
    nothing_is_orphaned(&lab, lost);
    for (at, point) in points.iter().enumerate() {
        for fault in faults_at(at, &Fault::ALL) {
            lab.start_over();
            lab.up(Faults::None, 0).await.plan();
            lab.world.lose_machine(lost);
            lab.up(Faults::At(at, fault), 1).await;
            arrive(&mut lab, &format!("{fault:?} at {at} ({point})")).await;
        }
    }
}

#[tokio::test]
async fn a_member_joins_wherever_the_run_that_replaces_it_breaks() {
    a_lost_member_is_replaced_wherever_the_run_breaks(HA, "demo-control-plane-1").await;
}

#[tokio::test]
async fn an_external_member_that_is_lost_is_replaced_wherever_the_run_breaks() {
    a_lost_member_is_replaced_wherever_the_run_breaks(EXTERNAL, "demo-etcd-2").await;
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
