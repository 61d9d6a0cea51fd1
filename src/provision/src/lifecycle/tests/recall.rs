//! Members of etcd that go and are off come back where etcd has no majority without them, and only there; and etcd is given time
//! to find a leader.

use std::collections::BTreeSet;

use super::ids;
use super::scale::{arrive, nothing_is_orphaned};
use crate::exit::hint;
use crate::plan::{Action, Plan};
use crate::world::simulated::{Fault, Faults, Lab};

const TAG: &str = "v0.1.0-one";

/// Control planes with a member each.
fn stacked(n: u32) -> String {
    format!("{{controlPlane: {{replicas: {n}}}, loadBalancer: {{}}}}")
}

/// Members on machines of their own.
fn external(n: u32) -> String {
    format!("{{etcd: {{mode: external, replicas: {n}}}}}")
}

/// A cluster that was about to become smaller when its run was killed.
async fn about_to_shrink(from: &str, to: &str) -> Lab {
    let mut lab = Lab::new(from);
    lab.up(Faults::None, 0).await.plan();
    lab.ask_for(to, TAG);
    lab.up(Faults::Named("list the members of etcd", Fault::KillBefore), 0).await;
    lab
}

/// The machines that are switched on although they go.
fn recalled(plan: &Plan) -> Vec<&str> {
    let steps = plan.steps.iter().filter(|step| step.reason.contains("it goes, and etcd has no majority without it"));
    steps
        .map(|step| {
            assert_eq!((step.phase, step.action), ("create-machine", Action::Start), "{plan}");
            step.subject.trim_start_matches("demo-")
        })
        .collect()
}

#[tokio::test]
async fn members_that_go_and_lost_their_power_come_back_to_let_each_other_go() {
    for (spec, role) in [(stacked as fn(u32) -> String, "control-plane"), (external, "etcd")] {
        let mut lab = about_to_shrink(&spec(3), &spec(1)).await;
        // Nobody but the one that stays can be asked who leads, so the newest two go.
        let leavers = [format!("{role}-2"), format!("{role}-3")];
        lab.world.let_lead(&format!("demo-{role}-1"));
        for name in &leavers {
            lab.world.switch_off(&format!("demo-{name}"));
        }
        let plan = lab.up(Faults::None, 0).await.plan();
        assert_eq!(recalled(&plan), leavers, "{plan}");
        let decided = plan.steps.iter().any(|step| step.phase == "leave-etcd");
        assert!(!decided, "who leaves is decided when they can be asked: {plan}");
        for phase in ["leave-etcd", "retire-machine", "forget-machine"] {
            let told: BTreeSet<&str> = plan.irrevocable().map(|step| step.id.as_str()).collect();
            let goes = leavers.iter().all(|name| told.contains(format!("{phase}/demo-{name}").as_str()));
            assert!(goes, "whoever agrees to it knows that they go: {told:?}");
        }
        assert!(lab.up(Faults::None, 0).await.plan().is_empty());
        nothing_is_orphaned(&lab, role);
    }
}

#[tokio::test]
async fn a_cluster_that_was_stopped_while_it_shrank_is_started_with_those_that_go() {
    for (from, to) in [(stacked(3), stacked(1)), (external(5), external(1))] {
        let mut lab = about_to_shrink(&from, &to).await;
        lab.stop(Faults::None, 0).await.plan();
        let plan = lab.start(Faults::None, 0).await.plan();
        let goes = |subject: &str| lab.desired().machine(subject).is_err();
        assert!(plan.steps.iter().any(|step| step.phase == "start-machine" && goes(&step.subject)), "{plan}");
        assert!(lab.look().await.cluster.ready, "etcd has a majority");
        arrive(&mut lab, &format!("{from} to {to}, started in between")).await;
    }
}

/// Whatever is left when all of it loses its power while it shrinks, one run ends it.
#[tokio::test]
async fn a_cluster_that_loses_its_power_anywhere_while_it_shrinks_ends_as_asked() {
    for (from, to) in [(stacked(3), stacked(1)), (external(3), external(1))] {
        let mut lab = Lab::new(&from);
        lab.up(Faults::None, 1).await.plan();
        lab.ask_for(&to, TAG);
        lab.up(Faults::None, 1).await.plan();
        let points = lab.world.points();
        for (at, point) in points.iter().enumerate() {
            lab.start_over();
            lab.ask_for(&from, TAG);
            lab.up(Faults::None, 1).await.plan();
            lab.ask_for(&to, TAG);
            lab.up(Faults::At(at, Fault::KillAfter), 1).await;
            for name in lab.world.running() {
                lab.world.switch_off(&name);
            }
            arrive(&mut lab, &format!("{from} to {to}: no power after {at} ({point})")).await;
        }
    }
}

#[tokio::test]
async fn members_that_go_and_that_etcd_can_do_without_stay_off() {
    for spec in [stacked as fn(u32) -> String, external] {
        let mut lab = about_to_shrink(&spec(5), &spec(3)).await;
        lab.stop(Faults::None, 0).await.plan();
        let goes: Vec<String> = lab.look().await.survey.machines.into_keys().collect();
        let goes: Vec<String> = goes.into_iter().filter(|name| lab.desired().machine(name).is_err()).collect();
        assert_eq!(goes.len(), 2);
        // One of them could not even start.
        lab.world.lose_disk(&goes[0]);
        let since = lab.world.changes();
        arrive(&mut lab, "five to three").await;
        let changes = &lab.world.snapshot_of_changes()[since..];
        let started = |name: &String| changes.contains(&format!("{name}: switch on"));
        assert!(!goes.iter().any(started), "{changes:?}");
    }
}

#[tokio::test]
async fn a_member_that_cannot_come_back_is_named_and_the_next_run_goes_on_without_it() {
    for spec in [stacked as fn(u32) -> String, external] {
        let mut lab = about_to_shrink(&spec(5), &spec(1)).await;
        let goes: Vec<String> = lab.world.machine_names().into_iter().collect();
        let goes: Vec<String> = goes.into_iter().filter(|name| lab.desired().machine(name).is_err()).collect();
        assert_eq!(goes.len(), 4);
        for name in &goes {
            lab.world.switch_off(name);
        }
        lab.world.lose_disk(&goes[0]);
        let error = lab.up(Faults::None, 0).await.error();
        let words = format!("{error:#}");
        assert!(words.starts_with(&format!("{}: create-machine failed", goes[0])), "{words}");
        let plan = lab.up(Faults::None, 0).await.plan();
        assert_eq!(recalled(&plan), [""; 0], "the others are a majority: {plan}");
        assert!(ids(&plan).contains(&format!("leave-etcd/{}", goes[0])), "{plan}");
        arrive(&mut lab, "five to one").await;
    }
}

#[tokio::test]
async fn members_join_and_leave_an_etcd_that_elects_late() {
    for spec in [stacked as fn(u32) -> String, external] {
        for (from, to) in [(1, 3), (3, 1)] {
            let mut lab = Lab::new(&spec(from));
            lab.up(Faults::None, 0).await.plan();
            lab.ask_for(&spec(to), TAG);
            lab.world.elect_late(50);
            arrive(&mut lab, &format!("{} to {}, elected late", spec(from), spec(to))).await;
        }
    }
}

#[tokio::test]
async fn an_etcd_that_elects_nobody_is_not_asked_for_ever() {
    let mut lab = Lab::new(&stacked(3));
    lab.up(Faults::None, 0).await.plan();
    lab.ask_for(&stacked(1), TAG);
    lab.world.elect_late(usize::MAX);
    let error = lab.up(Faults::None, 0).await.error();
    let words = format!("{error:#}");
    assert!(words.contains("no member of etcd can be asked: etcd on demo-control-plane-"), "{words}");
    assert!(words.ends_with("sees no leader"), "{words}");
    assert!(hint(&error).unwrap().contains("bring back a majority"));
    let asked = lab.world.points().iter().filter(|point| point.ends_with("list the members of etcd")).count();
    assert!(asked < 1_000, "asked {asked} times");
    lab.world.elect_late(0);
    arrive(&mut lab, "elected at last").await;
}
