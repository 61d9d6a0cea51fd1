//! Who goes when fewer are asked for, and that it stays so; what is interrupted, and in which order.

use super::ids;
use crate::context::Context;
use crate::exit::{Exit, Refusal, classify};
use crate::lifecycle::{UP, converge, converge_through};
use crate::plan::{Action, Plan, Step};
use crate::world::simulated::{Fault, Faults, Lab};
use tokio_util::sync::CancellationToken;

const TAG: &str = "v0.1.0-one";
const HA: &str = "{controlPlane: {replicas: 3}, loadBalancer: {replicas: 0}}";
const ONE: &str = "{loadBalancer: {replicas: 0}}";
const EXTERNAL: &str = "{etcd: {mode: external, replicas: 3}}";

fn workers(n: u32) -> String {
    format!("{{workers: [{{name: w, replicas: {n}}}]}}")
}

async fn up(spec: &str) -> Lab {
    let mut lab = Lab::new(spec);
    lab.up(Faults::None, 0).await.plan();
    lab
}

/// The machines that a plan removes, each with the reason.
fn removed(plan: &Plan) -> Vec<(String, String)> {
    let retired = plan.steps.iter().filter(|step| step.phase == "retire-machine");
    retired.map(|step| (step.subject.trim_start_matches("demo-").to_owned(), step.reason.clone())).collect()
}

fn because(machine: &str, why: &str) -> (String, String) {
    (machine.to_owned(), format!("fewer are asked for, and {why}"))
}

#[tokio::test]
async fn the_worker_goes_whose_end_does_the_least_harm_and_the_plan_says_why() {
    let mut lab = up(&workers(4)).await;
    lab.world.cordon("demo-w-2");
    lab.world.let_stick("demo-w-4", 1);
    lab.world.switch_off("demo-w-1");
    lab.ask_for(&workers(1), TAG);
    let plan = lab.up(Faults::None, 0).await.plan();
    // The last one that stays is the one on which a pod would be lost.
    let expected = [
        because("w-1", "it does not work"),
        because("w-2", "its Node takes no new pods"),
        because("w-3", "fewer pods on it cannot move"),
    ];
    assert_eq!(removed(&plan), expected);
    assert!(!ids(&plan).contains(&"drain-node/demo-w-1".to_owned()), "nobody waits for a machine that is off: {plan}");
    assert_eq!(lab.world.node_names().into_iter().collect::<Vec<_>>(), ["demo-control-plane-1", "demo-w-4"]);
}

#[tokio::test]
async fn a_choice_is_kept_whatever_is_seen_later() {
    let mut lab = up(&workers(3)).await;
    lab.ask_for(&workers(2), TAG);
    lab.up(Faults::Named("API: cordon", Fault::KillBefore), 0).await;
    lab.world.switch_off("demo-w-1");
    let plan = lab.up(Faults::None, 0).await.plan();
    assert_eq!(removed(&plan), [because("w-3", "it is the newest")]);
    assert_eq!(lab.world.machine_names().len(), 3);
}

#[tokio::test]
async fn a_worker_that_lets_nobody_in_is_emptied_and_removed() {
    let mut lab = up(&workers(2)).await;
    lab.world.mute("demo-w-2");
    lab.ask_for(&workers(1), TAG);
    let plan = lab.up(Faults::None, 0).await.plan();
    assert_eq!(ids(&plan), ["drain-node/demo-w-2", "retire-machine/demo-w-2", "forget-machine/demo-w-2"], "{plan}");
    assert_eq!(lab.world.machine_names().len(), 2);
}

#[tokio::test]
async fn a_pool_that_vanishes_while_its_pods_cannot_move_stays_until_they_may_be_lost() {
    let mut lab = up(&workers(2)).await;
    lab.world.let_stick("demo-w-1", 2);
    lab.ask_for("{}", TAG);
    let error = lab.up(Faults::None, 0).await.error();
    assert!(format!("{error:#}").contains("Node demo-w-1 is not empty: 2 pods are kept"), "{error:#}");
    assert!(lab.world.machine_names().contains("demo-w-1") && lab.world.node_names().contains("demo-w-1"));
    let mut context = lab.context();
    context.drain.force = true;
    converge(UP, &context, &CancellationToken::new()).await.unwrap();
    assert_eq!(lab.world.machine_names().into_iter().collect::<Vec<_>>(), ["demo-control-plane-1"]);
}

#[tokio::test]
async fn a_machine_that_shows_another_key_stops_everything_before_anything_is_changed() {
    let mut lab = up(&workers(2)).await;
    lab.world.replace_disk("demo-w-1");
    let (changes, written) = (lab.world.changes(), lab.state.allocations().unwrap());
    for n in [1, 2, 3] {
        lab.ask_for(&workers(n), TAG);
        let error = lab.up(Faults::None, 0).await.error();
        assert_eq!(classify(&error), Exit::Identity, "{error:#}");
        assert_eq!((lab.world.changes(), lab.state.allocations().unwrap()), (changes, written.clone()));
    }
}

#[tokio::test]
async fn a_control_plane_that_is_off_is_removed_before_those_that_work() {
    let mut lab = up(HA).await;
    lab.world.switch_off("demo-control-plane-1");
    lab.ask_for(ONE, TAG);
    let plan = lab.up(Faults::None, 0).await.plan();
    let expected = [because("control-plane-1", "it does not work"), because("control-plane-3", "it is the newest")];
    let mut gone = removed(&plan);
    gone.sort();
    // Which of the other two leads was decided by an election.
    assert_eq!(gone[0], expected[0]);
    assert_eq!(lab.world.voter_names().len(), 1);
    let left = plan.steps.iter().filter(|step| step.phase == "leave-etcd").map(|step| step.subject.as_str());
    assert_eq!(left.collect::<Vec<_>>()[0], "demo-control-plane-1", "{plan}");
}

#[tokio::test]
async fn the_leader_of_etcd_stays_where_another_can_go() {
    let mut lab = up(HA).await;
    lab.world.let_lead("demo-control-plane-3");
    lab.ask_for(ONE, TAG);
    lab.up(Faults::None, 0).await.plan();
    assert_eq!(lab.world.voter_names().into_iter().collect::<Vec<_>>(), ["demo-control-plane-3"]);
    let changes = lab.world.snapshot_of_changes();
    assert!(!changes.iter().any(|change| change.ends_with("move etcd's leader")), "{changes:?}");
}

#[tokio::test]
async fn a_leader_that_was_chosen_to_go_passes_its_office_on_first() {
    let mut lab = up(HA).await;
    lab.ask_for(ONE, TAG);
    lab.up(Faults::Named("API: cordon", Fault::KillBefore), 0).await;
    lab.world.let_lead("demo-control-plane-3");
    lab.up(Faults::None, 0).await.plan();
    let changes = lab.world.snapshot_of_changes();
    let moved = changes.iter().position(|change| change == "demo-control-plane-3: move etcd's leader");
    let off = changes.iter().position(|change| change == "demo-control-plane-3: undefine");
    assert!(moved.unwrap() < off.unwrap(), "{changes:?}");
}

#[tokio::test]
async fn leadership_goes_to_a_member_that_stays() {
    let mut lab = up(HA).await;
    // An earlier run chose those two, and the first of them leads.
    let mut allocations = lab.state.allocations().unwrap().unwrap();
    for name in ["demo-control-plane-1", "demo-control-plane-2"] {
        allocations.machines.get_mut(name).unwrap().leaving = true;
    }
    lab.state.save_allocations(&allocations).unwrap();
    lab.world.let_lead("demo-control-plane-1");
    lab.ask_for(ONE, TAG);
    lab.up(Faults::None, 0).await.plan();
    assert_eq!(lab.world.voter_names().into_iter().collect::<Vec<_>>(), ["demo-control-plane-3"]);
    let changes = lab.world.snapshot_of_changes();
    assert_eq!(changes.iter().filter(|change| change.ends_with("move etcd's leader")).count(), 1, "{changes:?}");
}

/// What a run does that nobody agrees to.
async fn refused(context: &Context) {
    let gate = |_: usize, _: &Plan| Err(Refusal::new(Exit::Unconfirmed, "no").into());
    let error = converge_through(UP, context, &CancellationToken::new(), &gate).await.unwrap_err();
    assert_eq!(classify(&error), Exit::Unconfirmed);
}

#[tokio::test]
async fn nothing_is_written_before_it_was_agreed_to() {
    let mut lab = up(&workers(2)).await;
    // The run that made it was killed before it could write down that etcd has begun.
    let mut allocations = lab.state.allocations().unwrap().unwrap();
    allocations.founded = false;
    lab.state.save_allocations(&allocations).unwrap();
    for n in [1, 4] {
        lab.ask_for(&workers(n), TAG);
        let context = lab.context();
        let context = lab.settled(context).await.unwrap();
        refused(&context).await;
        assert_eq!(lab.state.allocations().unwrap().unwrap(), allocations, "{n} workers");
    }
    lab.ask_for(&workers(2), TAG);
    assert!(lab.up(Faults::None, 0).await.plan().is_empty());
    assert!(lab.state.allocations().unwrap().unwrap().founded, "it is written down once nothing is left to agree to");
    let mut new = Lab::new(&workers(1));
    let context = new.context();
    refused(&context).await;
    assert!(!new.state.root().exists());
}

#[tokio::test]
async fn control_planes_take_up_what_is_new_one_after_the_other() {
    let mut lab = Lab::new(HA);
    for seed in 0..5 {
        lab.start_over();
        lab.ask_for(HA, TAG);
        lab.up(Faults::None, 0).await.plan();
        lab.ask_for(HA, "v0.1.0-two");
        let plan = lab.up(Faults::None, seed).await.plan();
        assert!(configured(&plan, "-control-plane-").iter().all(|step| step.action == Action::Roll), "{plan}");
        let points = lab.world.points();
        let at = |wanted: String| points.iter().position(|point| *point == wanted).expect("it comes to this");
        for n in 1..3 {
            let ready = at(format!("demo-control-plane-{n}: wait for the API server"));
            let runs = at(format!("demo-control-plane-{n}: wait for the static pods"));
            let manifest = "put /etc/kubernetes/manifests/kube-apiserver.yaml in place";
            let next = at(format!("demo-control-plane-{}: {manifest}", n + 1));
            assert!(runs < ready && ready < next, "seed {seed}: {points:?}");
        }
    }
}

fn configured<'a>(plan: &'a Plan, role: &str) -> Vec<&'a Step> {
    plan.steps.iter().filter(|step| step.phase == "configure-host" && step.subject.contains(role)).collect()
}

#[tokio::test]
async fn external_members_take_up_what_is_new_one_after_the_other() {
    let mut lab = up(EXTERNAL).await;
    for name in lab.world.machine_names() {
        lab.world.change_behind_our_back(&name);
    }
    let plan = lab.up(Faults::None, 0).await.plan();
    let steps = configured(&plan, "-etcd-");
    assert!(steps.iter().all(|step| step.action == Action::Roll), "{plan}");
    assert!(steps[1].after.contains(&steps[0].id) && steps[2].after.contains(&steps[1].id), "{plan}");
    let points = lab.world.points();
    let at = |wanted: &str| points.iter().position(|point| *point == wanted).unwrap();
    assert!(at("demo-etcd-1: wait for etcd") < at("demo-etcd-2: start etcd"), "{points:?}");
    // Those who ask them come after them.
    assert!(at("demo-etcd-3: wait for etcd") < at("demo-control-plane-1: start the kubelet"), "{points:?}");
}

#[tokio::test]
async fn members_that_have_all_stopped_come_back_together() {
    let mut lab = up(EXTERNAL).await;
    for name in ["demo-etcd-1", "demo-etcd-2", "demo-etcd-3"] {
        lab.world.stop_service(name, "etcd");
    }
    let plan = lab.up(Faults::None, 0).await.plan();
    let steps = configured(&plan, "-etcd-");
    assert_eq!(steps.len(), 3);
    for step in steps {
        assert_eq!((step.action, step.reason.as_str()), (Action::InPlace, "its etcd does not run"));
        assert!(!step.after.iter().any(|before| before.contains("-etcd-")), "it waits for another member: {plan}");
    }
    assert!(lab.up(Faults::None, 0).await.plan().is_empty());
}
