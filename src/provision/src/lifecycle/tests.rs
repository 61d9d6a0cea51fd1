//! A cluster comes to be, is kept and goes, whatever happens on the way.

mod baked;
mod bench;
mod departures;
mod hosts;
mod pace;
mod recall;
mod scale;
mod silence;

use super::*;
use crate::exit::classify;
use crate::inventory::Inventory;
use crate::plan::Action;
use crate::world::simulated::{Chance, Ended, Fault, Faults, Lab};

const SINGLE: &str = "{}";
const WORKERS: &str = "{workers: [{name: small, replicas: 3, labels: {tier: web}}]}";
/// More lives than that are not needed to see what a fault leaves behind.
const MOST_LIVES: u64 = 6;

/// Runs until the plan is empty, without faults, and holds the world against `clean`.
async fn heal(lab: &mut Lab, clean: &crate::world::simulated::State, what: &str) {
    // What a removal has left half there is not patched up.
    if lab.state.allocations().unwrap().is_some_and(|allocations| allocations.destroying) {
        let error = lab.up(Faults::None, 0).await.error();
        assert!(format!("{error:#}").contains("removal"), "{what}: {error:#}");
        lab.down(Faults::None, 0).await.plan();
    }
    match lab.up(Faults::None, 0).await {
        Ended::Well(Ok(_)) => {}
        Ended::Well(Err(error)) => panic!("{what}: the next run fails: {error:#}"),
        Ended::Killed => unreachable!("nobody kills it"),
    }
    assert_eq!(lab.world.stale_services(), [""; 0], "{what}: a kubelet runs with files that are not those on disk");
    let healed = lab.world.snapshot();
    assert!(healed == *clean, "{what}: the world is another one than after a clean run:\n{}", healed.differs(clean));
    let changes = lab.world.changes();
    assert!(lab.up(Faults::None, 0).await.plan().is_empty(), "{what}: something is left to do");
    assert_eq!(lab.world.changes(), changes, "{what}: a run without a plan changes something");
}

/// A lab, the world that a clean run in it makes, and the points of that run.
async fn clean(spec: &str) -> (Lab, crate::world::simulated::State, Vec<String>) {
    let mut lab = Lab::new(spec);
    lab.up(Faults::None, 1).await.plan();
    let (world, points) = (lab.world.snapshot(), lab.world.points());
    lab.start_over();
    (lab, world, points)
}

async fn any_fault_at_any_point_is_healed(spec: &str) {
    let (mut lab, clean, points) = clean(spec).await;
    assert!(points.len() > 60, "the lives of this world are cut finely: {points:?}");
    for (at, point) in points.iter().enumerate() {
        for fault in Fault::ALL {
            lab.start_over();
            let what = format!("{fault:?} at point {at} ({point})");
            match (fault, lab.up(Faults::At(at, fault), 1).await) {
                (Fault::KillBefore | Fault::KillAfter, Ended::Killed) => {}
                (Fault::FailBefore | Fault::FailAfter | Fault::Interrupt, Ended::Well(_)) => {}
                (_, Ended::Killed) => panic!("{what}: nobody killed it"),
                (_, Ended::Well(_)) => panic!("{what}: it was killed and lives on"),
            }
            heal(&mut lab, &clean, &what).await;
        }
    }
}

#[tokio::test]
async fn a_cluster_is_made_and_then_there_is_nothing_to_do() {
    for spec in [SINGLE, WORKERS] {
        let mut lab = Lab::new(spec);
        let plan = lab.up(Faults::None, 0).await.plan();
        let machines = lab.desired().machines.len();
        assert_eq!(plan.steps.len(), 6 + 6 * machines, "{plan}");
        assert_eq!(lab.world.stale_services(), [""; 0]);
        let seen = lab.look().await;
        assert_eq!(seen.hosts.len(), machines);
        assert!(seen.hosts.values().all(|host| host.services.contains("kubelet") && host.components == "v0.1.0-one"));
        assert_eq!(seen.cluster.ready_nodes.len(), machines);
    }
}

#[tokio::test]
async fn a_second_run_writes_nothing_here_or_there() {
    let mut lab = Lab::new(WORKERS);
    lab.up(Faults::None, 0).await.plan();
    let files = || {
        ["journal.jsonl", "cluster.json"].map(|name| {
            let path = lab.state.path(name);
            (std::fs::metadata(&path).unwrap().modified().unwrap(), std::fs::read(path).unwrap())
        })
    };
    let (changes, before) = (lab.world.changes(), files());
    let state = lab.state.clone();
    assert!(lab.up(Faults::None, 0).await.plan().is_empty());
    assert_eq!(lab.world.changes(), changes);
    let after = ["journal.jsonl", "cluster.json"].map(|name| {
        (std::fs::metadata(state.path(name)).unwrap().modified().unwrap(), std::fs::read(state.path(name)).unwrap())
    });
    assert!(before == after, "the state directory was written to");
}

#[tokio::test]
async fn any_fault_at_any_point_of_a_single_node_is_healed_by_the_next_run() {
    any_fault_at_any_point_is_healed(SINGLE).await;
}

#[tokio::test]
async fn any_fault_at_any_point_of_a_cluster_with_workers_is_healed_by_the_next_run() {
    any_fault_at_any_point_is_healed(WORKERS).await;
}

async fn faults_one_after_another_are_healed(spec: &str, seeds: std::ops::Range<u64>) {
    let (mut lab, clean, _) = clean(spec).await;
    for seed in seeds {
        lab.start_over();
        let mut chance = Chance::new(seed);
        for life in 0..chance.below(MOST_LIVES) {
            let faults = Faults::Random { rarity: 20 + chance.below(150) };
            if chance.below(5) == 0 {
                lab.down(faults, seed ^ (life << 32)).await;
            } else {
                lab.up(faults, seed ^ (life << 32)).await;
            }
        }
        heal(&mut lab, &clean, &format!("seed {seed}")).await;
        if seed % 3 == 0 {
            lab.down(Faults::Random { rarity: 10 }, seed).await;
            assert!(matches!(lab.down(Faults::None, 0).await, Ended::Well(Ok(_))), "seed {seed}: it cannot be removed");
            assert!(lab.world.is_bare() && !lab.state.root().exists(), "seed {seed}: something is left");
        }
    }
}

#[tokio::test]
async fn a_thousand_unlucky_single_nodes_end_well() {
    faults_one_after_another_are_healed(SINGLE, 0..1000).await;
}

#[tokio::test]
async fn a_thousand_more_unlucky_single_nodes_end_well() {
    faults_one_after_another_are_healed(SINGLE, 1000..2000).await;
}

#[tokio::test]
async fn a_thousand_unlucky_clusters_with_workers_end_well() {
    faults_one_after_another_are_healed(WORKERS, 1_000_000..1_001_000).await;
}

#[tokio::test]
async fn destroy_leaves_nothing_wherever_the_run_before_it_was_killed() {
    let (mut lab, _, points) = clean(WORKERS).await;
    for (at, point) in points.iter().enumerate() {
        lab.start_over();
        lab.up(Faults::At(at, Fault::KillAfter), 1).await;
        lab.down(Faults::None, 0).await.plan();
        assert!(lab.world.is_bare(), "killed after point {at} ({point}): {:?}", lab.world.snapshot());
        assert!(!lab.state.root().exists(), "killed after point {at} ({point}): the state directory is left");
    }
}

#[tokio::test]
async fn a_destroy_that_was_killed_is_finished_by_the_next_and_a_third_is_harmless() {
    let mut lab = Lab::new(WORKERS);
    lab.up(Faults::None, 1).await.plan();
    lab.down(Faults::None, 1).await.plan();
    let points = lab.world.points();
    for (at, point) in points.iter().enumerate() {
        for fault in Fault::ALL {
            lab.start_over();
            lab.up(Faults::None, 1).await.plan();
            lab.down(Faults::At(at, fault), 1).await;
            for _ in 0..2 {
                lab.down(Faults::None, 1).await.plan();
                assert!(lab.world.is_bare() && !lab.state.root().exists(), "{fault:?} at {at} ({point})");
            }
        }
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_run_with_its_own_exit_code_and_the_next_run_finishes() {
    let (mut lab, clean, points) = clean(SINGLE).await;
    let at = points.iter().position(|point| point.ends_with("define")).unwrap();
    let error = lab.up(Faults::At(at, Fault::Interrupt), 1).await.error();
    assert_eq!(classify(&error), Exit::Interrupted);
    assert!(crate::exit::hint(&error).unwrap().contains("run the same command again"));
    assert!(lab.world.points().len() < points.len(), "it stops, rather than go on to the end");
    heal(&mut lab, &clean, "interrupted").await;
}

#[tokio::test]
async fn a_token_that_was_cancelled_before_begins_nothing() {
    let mut lab = Lab::new(SINGLE);
    let context = lab.context();
    let token = CancellationToken::new();
    token.cancel();
    let error = converge(UP, &context, &token).await.unwrap_err();
    assert_eq!((classify(&error), lab.world.changes()), (Exit::Interrupted, 0));
}

#[tokio::test]
async fn the_other_machines_go_on_when_one_fails() {
    let mut lab = Lab::new(WORKERS);
    let error = lab.up(Faults::Named("small-2: make the disk", Fault::FailBefore), 3).await.error();
    assert!(format!("{error:#}").starts_with("demo-small-2: create-machine failed: "), "{error:#}");
    let seen = lab.look().await;
    let nodes: Vec<&str> = seen
        .hosts
        .iter()
        .filter(|(_, host)| host.services.contains("kubelet"))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(nodes, ["demo-control-plane-1", "demo-small-1", "demo-small-3"]);
    assert!(seen.cluster.addons.is_some(), "what does not need the machine is done");
    let plan = lab.up(Faults::None, 0).await.plan();
    assert!(plan.steps.iter().all(|step| step.subject == "demo-small-2" || step.subject == "demo"), "{plan}");
}

#[tokio::test]
async fn add_ons_wait_for_the_first_api_server_and_the_end_for_all() {
    let mut lab = Lab::new("{controlPlane: {replicas: 3}, loadBalancer: {}}");
    let servers = [1, 2, 3].map(|number| format!("start-control-plane/demo-control-plane-{number}"));
    let context = lab.context();
    let plan = plan(UP, &context, &Inventory::default());
    let step = |id: &str| plan.steps.iter().find(|step| step.id == id).unwrap();
    assert_eq!((step("install-addons/demo").after.len(), &*step("install-addons/demo").after_any), (0, &servers[..]));
    assert!(servers.iter().all(|server| step("verify-cluster/demo").after.contains(server)), "{plan}");
    // One that does not come up keeps nobody but the end waiting.
    let silent = Faults::Named("demo-control-plane-1: wait for the API server", Fault::FailBefore);
    let error = lab.up(silent, 0).await.error();
    assert!(format!("{error:#}").starts_with("demo-control-plane-1: start-control-plane failed"), "{error:#}");
    let seen = lab.look().await.cluster;
    assert!(seen.addons.is_some() && seen.verified.is_none(), "{seen:?}");
    assert_eq!(seen.marked_nodes.len(), 3, "{seen:?}");
    lab.up(Faults::None, 0).await.plan();
}

#[tokio::test]
async fn a_run_that_was_killed_before_the_cluster_was_seen_at_work_looks_again() {
    let (mut lab, clean, points) = clean(SINGLE).await;
    let at = points.iter().rposition(|point| point == "look up a Service").unwrap();
    lab.up(Faults::At(at, Fault::KillBefore), 1).await;
    let plan = lab.up(Faults::None, 0).await.plan();
    assert_eq!(ids(&plan), ["verify-cluster/demo"]);
    heal(&mut lab, &clean, "not verified").await;
}

#[tokio::test]
async fn a_machine_that_was_lost_is_made_anew_and_its_new_key_is_learnt() {
    let (mut lab, clean, _) = clean(WORKERS).await;
    lab.up(Faults::None, 0).await.plan();
    lab.world.lose_machine("demo-small-1");
    let plan = lab.up(Faults::None, 0).await.plan();
    assert_eq!(plan.steps[0].action, Action::Replace, "nobody loses a disk without being told");
    assert_eq!(
        ids(&plan),
        ["create-machine", "connect-host", "install-components", "configure-host", "wait-node"]
            .map(|phase| format!("{phase}/demo-small-1"))
            .into_iter()
            .chain(["verify-cluster/demo".to_owned()])
            .collect::<Vec<_>>()
    );
    heal(&mut lab, &clean, "a lost machine").await;
}

#[tokio::test]
async fn a_machine_that_was_switched_off_is_switched_on_and_keeps_what_it_has() {
    let (mut lab, clean, _) = clean(SINGLE).await;
    lab.up(Faults::None, 0).await.plan();
    lab.world.switch_off("demo-control-plane-1");
    let seen = lab.look().await;
    let context = lab.context();
    let plan = plan(UP, &context, &seen);
    assert_eq!((plan.steps[0].phase, plan.steps[0].action), ("create-machine", Action::Start), "{plan}");
    heal(&mut lab, &clean, "switched off").await;
}

/// A change of what is asked for reaches every kubelet, wherever the run that brings it is killed.
async fn a_change_arrives(from: (&str, &str), to: (&str, &str)) {
    let mut lab = Lab::new(from.0);
    lab.ask_for(from.0, from.1);
    lab.up(Faults::None, 1).await.plan();
    lab.ask_for(to.0, to.1);
    lab.up(Faults::None, 1).await.plan();
    let (after, points) = (lab.world.snapshot(), lab.world.points());
    for (at, point) in points.iter().enumerate() {
        lab.start_over();
        lab.ask_for(from.0, from.1);
        lab.up(Faults::None, 1).await.plan();
        lab.ask_for(to.0, to.1);
        lab.up(Faults::At(at, Fault::KillAfter), 1).await;
        let what = format!("killed after point {at} ({point})");
        lab.up(Faults::None, 1).await.plan();
        assert_eq!(lab.world.stale_services(), [""; 0], "{what}");
        assert!(lab.world.snapshot().differs(&after).is_empty(), "{what}: {}", lab.world.snapshot().differs(&after));
    }
}

#[tokio::test]
async fn new_node_programs_reach_every_kubelet_wherever_the_run_is_killed() {
    a_change_arrives((WORKERS, "v0.1.0-one"), (WORKERS, "v0.1.0-two")).await;
}

#[tokio::test]
async fn new_configuration_reaches_every_kubelet_wherever_the_run_is_killed() {
    a_change_arrives(
        (WORKERS, "v1"),
        ("{workers: [{name: small, replicas: 3, labels: {tier: web, disk: fast}}]}", "v1"),
    )
    .await;
}

#[tokio::test]
async fn more_workers_touch_no_machine_that_is_there() {
    let mut lab = Lab::new(WORKERS);
    lab.up(Faults::None, 0).await.plan();
    lab.ask_for("{workers: [{name: small, replicas: 4, labels: {tier: web}}]}", "v0.1.0-one");
    let plan = lab.up(Faults::None, 0).await.plan();
    assert!(plan.steps.iter().all(|step| step.subject == "demo-small-4" || step.subject == "demo"), "{plan}");
}

#[tokio::test]
async fn the_plan_of_a_new_cluster_names_every_step_once_and_every_step_before_it() {
    let mut lab = Lab::new(WORKERS);
    let context = lab.context();
    let plan = plan(UP, &context, &Inventory::default());
    let mut seen = std::collections::BTreeSet::new();
    for step in &plan.steps {
        let before = step.after.iter().chain(&step.after_any);
        assert!(before.clone().all(|id| seen.contains(id)), "{} comes before what it waits for", step.id);
        assert!(seen.insert(step.id.clone()), "{} is there twice", step.id);
    }
    assert!(super::plan(DOWN, &context, &Inventory::default()).is_empty());
}

fn ids(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| step.id.clone()).collect()
}

#[tokio::test]
async fn a_run_that_goes_on_where_another_ended_finds_its_milestones() {
    let mut lab = Lab::new(SINGLE);
    lab.up(Faults::None, 0).await.plan();
    let milestones = async |lab: &mut Lab| {
        let context = lab.context();
        converge(UP, &context, &CancellationToken::new()).await.unwrap();
        context.timeline.report().milestones.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(milestones(&mut lab).await, [""; 0], "nothing is reached by a run that has nothing to do");
    lab.world.change_behind_our_back("demo-control-plane-1");
    let reached = milestones(&mut lab).await;
    assert!(["boot", "image", "ssh"].iter().all(|name| reached.contains(name)), "{reached:?}");
}
