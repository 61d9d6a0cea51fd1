//! A machine that does not answer is not one that has nothing: it is waited for, and nothing is decided for it.

use super::ids;
use crate::exit::{Exit, classify, hint};
use crate::lifecycle::{Phase, UP, plan};
use crate::phases::{configure_host, install_components};
use crate::plan::Action;
use crate::world::simulated::{Faults, Lab};

const TAG: &str = "v0.1.0-one";
const FIRST: &str = "demo-control-plane-1";

fn ha(workers: u32) -> String {
    format!("{{controlPlane: {{replicas: 3}}, loadBalancer: {{}}, workers: [{{name: w, replicas: {workers}}}]}}")
}

async fn up(spec: &str) -> Lab {
    let mut lab = Lab::new(spec);
    lab.up(Faults::None, 0).await.plan();
    lab
}

/// What was changed on machines of this role since there were so many changes.
fn done_to(lab: &Lab, role: &str, since: usize) -> Vec<String> {
    let changes = lab.world.snapshot_of_changes();
    let of_role = |change: &&String| change.starts_with(&format!("demo-{role}"));
    changes[since..].iter().filter(of_role).cloned().collect()
}

/// Runs until a run ends well: who does not answer in time fails one, and the next finishes it.
async fn insist(lab: &mut Lab) {
    for _ in 0..2 {
        if lab.up(Faults::None, 0).await.into_result().is_ok() {
            return;
        }
    }
    lab.up(Faults::None, 0).await.plan();
}

#[tokio::test]
async fn nothing_is_done_to_a_control_plane_that_is_slow_while_workers_come_and_go() {
    for (times, number) in [(1, 1), (2, 3), (3, 1), (4, 2)] {
        let mut lab = up(&ha(2)).await;
        let since = lab.world.changes();
        for workers in [3, 1] {
            lab.world.slow_down(&format!("demo-control-plane-{number}"), times);
            lab.ask_for(&ha(workers), TAG);
            insist(&mut lab).await;
        }
        assert_eq!(done_to(&lab, "control-plane", since), [""; 0], "{times} times");
        assert!(lab.up(Faults::None, 0).await.plan().is_empty());
        assert_eq!(lab.world.machine_names().len(), 5);
    }
}

#[tokio::test]
async fn a_machine_that_does_not_answer_is_named_and_left_alone_and_the_rest_is_done() {
    let mut lab = up(&ha(2)).await;
    lab.world.mute(FIRST);
    let since = lab.world.changes();
    lab.ask_for(&ha(3), TAG);
    let seen = lab.look().await;
    let context = lab.context();
    let plan = plan(UP, &context, &seen);
    let about: Vec<_> = plan.steps.iter().filter(|step| step.subject == FIRST).collect();
    assert_eq!(about.len(), 1, "{plan}");
    assert_eq!((about[0].phase, about[0].action), ("connect-host", Action::Wait));
    assert!(about[0].reason.contains("does not answer"), "{plan}");
    let error = lab.up(Faults::None, 0).await.error();
    assert_eq!(classify(&error), Exit::Failed);
    assert!(format!("{error:#}").contains(&format!("{FIRST} does not answer on port 22")), "{error:#}");
    assert!(hint(&error).unwrap().contains("nothing of it was changed"));
    assert!(lab.world.node_names().contains("demo-w-3"), "the new worker needs nothing of it");
    assert_eq!(done_to(&lab, "control-plane", since), [""; 0]);
    lab.world.unmute(FIRST);
    assert!(lab.up(Faults::None, 0).await.plan().is_empty());
}

#[tokio::test]
async fn a_worker_that_does_not_answer_keeps_no_other_from_going() {
    let mut lab = up(&ha(3)).await;
    lab.world.mute("demo-w-1");
    lab.ask_for(&ha(2), TAG);
    let error = lab.up(Faults::None, 0).await.error();
    assert!(format!("{error:#}").contains("demo-w-1 does not answer"), "{error:#}");
    assert!(!lab.world.machine_names().contains("demo-w-3"), "its Node is Ready, so it is not the one that goes");
}

#[tokio::test]
async fn no_member_is_interrupted_while_another_does_not_say_whether_it_works() {
    let external = "{etcd: {mode: external, replicas: 3}}";
    for (spec, role) in [(ha(1), "control-plane"), (external.to_owned(), "etcd")] {
        let mut lab = up(&spec).await;
        for number in 1..4 {
            lab.world.change_behind_our_back(&format!("demo-{role}-{number}"));
        }
        lab.world.mute(&format!("demo-{role}-3"));
        let since = lab.world.changes();
        lab.up(Faults::None, 0).await.error();
        assert_eq!(done_to(&lab, role, since), [""; 0]);
        lab.world.unmute(&format!("demo-{role}-3"));
        lab.up(Faults::None, 0).await.plan();
        assert!(lab.up(Faults::None, 0).await.plan().is_empty());
    }
}

#[tokio::test]
async fn a_machine_that_is_off_is_started_and_needs_nothing_else() {
    let mut lab = up(&ha(1)).await;
    let since = lab.world.changes();
    lab.world.switch_off(FIRST);
    let plan = lab.up(Faults::None, 0).await.plan();
    assert_eq!(ids(&plan), [format!("create-machine/{FIRST}"), format!("connect-host/{FIRST}")], "{plan}");
    let done = done_to(&lab, "control-plane", since);
    assert!(done.iter().all(|change| !change.contains("mark") && !change.contains("kubelet")), "{done:?}");
}

#[tokio::test]
async fn a_step_on_a_machine_that_is_as_it_should_be_changes_nothing() {
    let mut lab = up(&ha(1)).await;
    let context = lab.context();
    let since = lab.world.changes();
    let phases: [&dyn Phase; 2] = [&install_components::InstallComponents, &configure_host::ConfigureHost];
    for (phase, action) in phases.into_iter().zip([Action::Create, Action::Restart]) {
        let step = super::Step::new(phase.name(), FIRST, action, "it could not be asked");
        phase.carry_out(&context, &step).await.unwrap();
    }
    assert_eq!(lab.world.changes(), since);
    lab.world.change_behind_our_back(FIRST);
    let step = super::Step::new(configure_host::NAME, FIRST, Action::Restart, "its files are others");
    configure_host::ConfigureHost.carry_out(&context, &step).await.unwrap();
    assert!(lab.world.changes() > since);
}
